import json

import pytest

from xright.callbacks.samples import Samples
from xright.callbacks.stop import StoppingRule
from xright.errors import UserError
from xright.objectives import DPO, SFT
from xright.strategies import Mix, Sequential
from xright.theory.problems import NAMES, trade_off
from xright.tracking.trajectory import Trajectory

OPTIMA = {"dpo": 0.2, "sft": 1.0}
POINT = [{"sft": 1.5, "dpo": 0.5}]


@pytest.mark.parametrize(
    ("dpo", "sft", "verdict"),
    [
        (0.6, 1.0625, None),
        (0.3, 9.0, None),
        (0.2, 9.0, "dpo_optimum"),
        (0.1, 9.0, "dpo_optimum"),
        (0.225, 9.0, "dpo_optimum"),  # within ε
        (9.0, 1.025, "sft_optimum"),
        (9.0, 1.026, None),
        (0.5, 1.5, "front"),  # on the point of (f_SFT, f_DPO) = (1.5, 0.5)
        (0.525, 1.525, "front"),  # within ε of it
        (0.525, 1.526, None),
        (0.526, 1.525, None),
        (0.4, 1.2, "front"),
        (0.3, 2.0, "front"),  # on the second point
        (0.4, 1.6, None),  # between the points: neither is reached
    ],
)
def test_each_branch(dpo, sft, verdict):
    rule = StoppingRule(OPTIMA, front=[{"sft": 1.5, "dpo": 0.5}, {"sft": 2.0, "dpo": 0.275}], epsilon=0.0250001)
    assert rule.verdict({"dpo": dpo, "sft": sft}) == verdict


def test_optima_or_front_alone():
    assert StoppingRule(None, front=POINT).verdict({"dpo": 0.1, "sft": 1.0}) == "front"
    assert StoppingRule(None, front=POINT).verdict({"dpo": 0.1, "sft": 1.6}) is None
    assert StoppingRule(OPTIMA).verdict({"dpo": 0.5, "sft": 1.5}) is None


def test_a_point_of_three_must_be_reached_in_all():
    rule = StoppingRule(None, front=[{"dpo": 0.5, "safety": 1.0, "sft": 1.5}])
    assert rule.verdict({"dpo": 0.5, "safety": 1.0, "sft": 1.5}) == "front"
    for name in ("dpo", "safety", "sft"):
        assert rule.verdict({"dpo": 0.5, "safety": 1.0, "sft": 1.5} | {name: 1.6}) is None
    alone = StoppingRule({"dpo": 0.1, "safety": 0.2, "sft": 0.3})
    assert alone.verdict({"dpo": 9.0, "safety": 0.2, "sft": 9.0}) == "safety_optimum"


@pytest.mark.parametrize("point", [[1.5, 0.5], 1.5, None])
def test_a_point_is_by_objective(point):
    told = r"a point of callbacks\.stop\.front is .*, but must be by objective: \{objective: f, …\}"
    with pytest.raises(UserError, match=told):
        StoppingRule(OPTIMA, front=[point])


def test_a_point_holds_numbers():
    with pytest.raises(UserError, match=r"callbacks\.stop\.front: dpo='low' must be a number"):
        StoppingRule(OPTIMA, front=[{"sft": 1.5, "dpo": "low"}])


@pytest.mark.parametrize("optima", [None, {}, {"dpo": None}])
def test_nothing_to_compare_with(optima):
    with pytest.raises(UserError, match="needs optima or a reference front"):
        StoppingRule(optima)


def finished(folder, strategy, f_sft, f_dpo):
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps({"strategy": strategy, "f_sft": f_sft, "f_dpo": f_dpo}))


def test_front_of_a_study(tmp_path):
    finished(tmp_path / "a", "alright", 1.5, 0.5)
    finished(tmp_path / "b", "alright", 2.0, 0.25)
    finished(tmp_path / "c", "alright", 2.0, 0.75)  # dominated by a
    finished(tmp_path / "d", "mix", 1.0, 0.1)  # would dominate all, but is no ALRIGHT run
    (tmp_path / "unfinished").mkdir()
    rule = StoppingRule(None, front=str(tmp_path), of="alright")
    assert rule.front == [{"sft": 1.5, "dpo": 0.5}, {"sft": 2.0, "dpo": 0.25}]
    assert rule.verdict({"sft": 1.5, "dpo": 0.5}) == "front"
    assert rule.verdict({"sft": 2.0, "dpo": 0.75}) is None
    assert StoppingRule(None, front=str(tmp_path)).front == [{"sft": 1.0, "dpo": 0.1}]  # of all strategies


def test_the_front_of_a_study_takes_losses_alone(tmp_path):
    folder = tmp_path / "a"
    folder.mkdir()
    told = {"f_dpo": 0.5, "f_terse": 1.0, "f_sft": 1.5, "f_dpo_opt": 0.1, "f_sft_opt": 1.0, "gap_dpo": 0.4}
    (folder / "result.json").write_text(json.dumps({"strategy": "mix", **told, "f_orpo": None, "f_orpo_opt": None}))
    assert StoppingRule(None, front=str(tmp_path), of="mix").front == [{"dpo": 0.5, "terse": 1.0, "sft": 1.5}]


def test_a_study_without_alright_runs(tmp_path):
    finished(tmp_path / "d", "mix", 1.0, 0.1)
    with pytest.raises(UserError, match=f"callbacks.stop.front='{tmp_path}' holds no finished alright run"):
        StoppingRule(None, front=str(tmp_path), of="alright")


def test_ends_a_run_at_an_evaluation_and_the_others_see_the_end(train_tiny, tmp_path):
    rule = StoppingRule({"dpo": -1.0, "sft": 5.3})  # an untrained model is at log(vocabulary) = 5.3…
    trajectory = Trajectory(tmp_path, {"dpo": DPO(), "sft": SFT()}, {}, 5)
    samples = Samples(every=100, max_new_tokens=2)
    showcase = [{"prompt": "<user> what is", "kind": "task"}]
    train_tiny(Mix(trade_off(0.1)), [rule, trajectory, samples], steps=60, eval_every=4, lr=3e-3, showcase=showcase)
    rows = trajectory.file.read()
    values = [float(row["f_sft"]) for row in rows]
    assert all(value > 5.3001 for value in values[:-1])
    assert values[-1] <= 5.3001
    assert 1 < len(values) < 16
    assert int(rows[-1]["step"]) % 4 == 0
    assert rule.summary() == {"stopped_by": "sft_optimum"}
    steps = [json.loads(line)["step"] for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    assert steps == [1, int(rows[-1]["step"])]


def test_sequential_never_stops(train_tiny, tmp_path):
    rule = StoppingRule({"dpo": 99.0, "sft": 99.0})
    trajectory = Trajectory(tmp_path, {"dpo": DPO(), "sft": SFT()}, {}, 2)
    train_tiny(Sequential("dpo", (1, 1), NAMES), [rule, trajectory], steps=2)
    assert trajectory.summary()["steps"] == 4
    assert rule.summary() == {}


def test_budget_is_no_stop(train_tiny):
    rule = StoppingRule({"dpo": -1.0, "sft": -1.0})
    train_tiny(Mix(trade_off(0.5)), [rule], steps=2)
    assert rule.summary() == {}
