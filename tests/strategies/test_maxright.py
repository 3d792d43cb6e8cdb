import math

import pytest

from xright.errors import UserError
from xright.strategies import MAXRIGHT
from xright.theory.problems import trade_off

OPTIMA = {"dpo": 0.1, "sft": 1.0}
LOSSES = [  # (f_DPO, f_SFT) of each step's batches; gaps (f − f*) beside them
    (0.70, 1.40),  # 0.60  0.40
    (0.30, 1.90),  # 0.20  0.90
    (0.50, 1.50),  # 0.40  0.50
    (0.90, 1.20),  # 0.80  0.20
    (0.25, 1.30),  # 0.15  0.30
    (0.40, 1.05),  # 0.30  0.05
]


def drive(selector, steps=range(6)):
    """The picks of the training loop: look, choose, update, observe the chosen loss."""
    picks = []
    for step in steps:
        losses = dict(zip(("dpo", "sft"), LOSSES[step], strict=True))
        if looked := selector.looks(step):
            selector.observe({name: losses[name] for name in looked})
        ((pick, weight),) = selector.weights(step).items()
        assert weight == 1.0
        selector.observe({pick: losses[pick]})
        picks.append(pick)
    return picks


def test_k_1_compares_the_step_s_own_gaps():
    selector = MAXRIGHT(trade_off(0.5), OPTIMA, k=1)
    assert drive(selector) == ["dpo", "sft", "sft", "dpo", "sft", "dpo"]


def test_lam_weighs_the_gaps():
    # 0.25·gap_DPO vs 0.75·gap_SFT: .15 .30 | .05 .675 | .10 .375 | .20 .15 | .0375 .225 | .075 .0375
    assert drive(MAXRIGHT(trade_off(0.25), OPTIMA, k=1)) == ["sft", "sft", "sft", "dpo", "sft", "dpo"]


def test_k_3_lives_on_last_seen_gaps():
    selector = MAXRIGHT(trade_off(0.5), OPTIMA, k=3)
    assert [selector.looks(step) for step in range(4)] == [("dpo", "sft"), (), (), ("dpo", "sft")]
    # t    seen (dpo, sft)      pick   then its own loss replaces the chosen gap
    # 0    .60 .40 (look)       dpo    .60
    # 1    .60 .40              dpo    .20
    # 2    .20 .40              sft    .50
    # 3    .80 .20 (look)       dpo    .80
    # 4    .80 .20              dpo    .15
    # 5    .15 .20              sft    .05
    assert drive(selector) == ["dpo", "dpo", "sft", "dpo", "dpo", "sft"]
    assert selector.gaps == pytest.approx({"dpo": 0.15, "sft": 0.05})


def test_three_compare_their_weighted_gaps_and_live_on_the_last_seen():
    """weights .5 .3 .2; f* 0; k = 2. The chosen one's own loss replaces its gap, and it falls by half each time."""
    weights, best = {"dpo": 0.5, "sft": 0.3, "safety": 0.2}, {"safety": 0.0, "dpo": 0.0, "sft": 0.0}
    selector, losses = MAXRIGHT(weights, best, k=2), {"dpo": 0.8, "sft": 1.0, "safety": 2.0}
    assert selector.looks(0) == selector.looks(2) == ("dpo", "sft", "safety")
    assert selector.looks(1) == ()
    picks = []
    for step in range(5):
        if looked := selector.looks(step):
            selector.observe({name: losses[name] for name in looked})
        ((pick, weight),) = selector.weights(step).items()
        assert weight == 1.0
        selector.observe({pick: losses[pick]})
        losses[pick] /= 2
        picks.append(pick)
    # t   loss before           seen (dpo, sft, safety)   weighted
    # 0   .8   1.0  2.0         .8  1.0  2.0 (look)       .40 .30 .40    a tie goes to the first
    # 1   .4   1.0  2.0         .8  1.0  2.0              .40 .30 .40    its loss of step 0 is remembered: dpo again
    # 2   .2   1.0  2.0         .2  1.0  2.0 (look)       .10 .30 .40    safety
    # 3   .2   1.0  1.0         .2  1.0  2.0              .10 .30 .40    safety
    # 4   .2   1.0  0.5         .2  1.0  0.5 (look)       .10 .30 .10    sft
    assert picks == ["dpo", "dpo", "safety", "safety", "sft"]
    assert selector.gaps == {"dpo": 0.2, "sft": 1.0, "safety": 0.5}


def test_what_people_are_told():
    assert MAXRIGHT(trade_off(0.5), OPTIMA).name == "MAXRIGHT"
    assert MAXRIGHT(trade_off(0.5), OPTIMA, k=3).settings == {"k": (3, 10)}  # 10 is usual


def test_a_tie_goes_to_dpo():
    selector = MAXRIGHT(trade_off(0.5), {"dpo": 0.0, "sft": 1.0}, k=1)
    selector.observe({"sft": 1.5, "dpo": 0.5})
    assert selector.weights(0) == {"dpo": 1.0}
    selector.observe({"sft": 1.5000001})
    assert selector.weights(0) == {"sft": 1.0}


def test_gaps_below_the_optimum_count_as_they_are():
    selector = MAXRIGHT(trade_off(0.5), OPTIMA)
    selector.observe({"dpo": 0.05, "sft": 0.99})  # −0.05 and −0.01
    assert selector.weights(0) == {"sft": 1.0}


@pytest.mark.parametrize("stop", range(1, 6))
def test_goes_on_from_its_state(stop):
    whole, first, second = (MAXRIGHT(trade_off(0.5), OPTIMA, k=3) for _ in range(3))
    expected = drive(whole)
    picks = drive(first, range(stop))
    second.load_state_dict(first.state_dict())
    assert picks + drive(second, range(stop, 6)) == expected
    assert second.state_dict() == whole.state_dict()


def test_the_saved_state_does_not_change_afterwards():
    selector = MAXRIGHT(trade_off(0.5), OPTIMA)
    selector.observe({"dpo": 0.3, "sft": 1.5})
    state = selector.state_dict()
    selector.observe({"dpo": 9.0})
    assert state == {"gaps": pytest.approx({"dpo": 0.2, "sft": 0.5})}


@pytest.mark.parametrize("k", [0, -1, 2.5, True, None])
def test_k_must_be_a_whole_number(k):
    with pytest.raises(UserError, match=r"strategy\.k="):
        MAXRIGHT(trade_off(0.5), OPTIMA, k=k)


@pytest.mark.parametrize(
    ("optima", "missing"),
    [(None, "dpo, sft"), ({}, "dpo, sft"), ({"dpo": 0.1}, "sft"), ({"dpo": 0.1, "sft": None}, "sft")],
)
def test_optima_must_be_known(optima, missing):
    with pytest.raises(UserError, match=f"needs the optima of its objectives, {missing} too, but optima="):
        MAXRIGHT(trade_off(0.5), optima)


@pytest.mark.parametrize("weight", [-0.1, math.nan])
def test_weights_must_be_numbers_from_0(weight):
    with pytest.raises(UserError, match=r"weights\.dpo="):
        MAXRIGHT({"dpo": weight, "sft": 1}, OPTIMA)
