import math

import pandas as pd
import pytest

from xright.analysis.numbers.claims import claims
from xright.analysis.numbers.statistics import Mean
from xright.analysis.numbers.verdicts import Claim, claim_verdicts
from xright.analysis.read.runs import read_runs
from xright.errors import UserError

T_3 = 4.302653  # t_{2, 0.975}
NAN = math.nan


def one(folder, start: str) -> Claim:
    """The only statement whose text begins so."""
    (found,) = starting(folder, start)
    return found


def starting(folder, start: str) -> list[Claim]:
    return [found for found in claims(read_runs([folder])) if found.text.startswith(start)]


def of(folder, heading: str) -> list[Claim]:
    return [found for found in claims(read_runs([folder])) if found.heading == heading]


@pytest.mark.parametrize(
    ("found", "above", "verdict"),
    [
        (Mean(1.0, 0.5, 3), True, "holds"),
        (Mean(1.0, 0.5, 3), False, "does not hold"),
        (Mean(-1.0, 0.5, 3), True, "does not hold"),
        (Mean(-1.0, 0.5, 3), False, "holds"),
        (Mean(0.3, 0.5, 3), True, "cannot tell"),
        (Mean(0.3, 0.5, 3), False, "cannot tell"),
    ],
)
def test_with_seeds_the_verdict_is_the_place_of_the_interval(found, above, verdict):
    assert Claim("", "", "", found, 0.0, above).verdict == verdict
    assert Claim("", "", "", found._replace(mean=found.mean + 7), 7.0, above).verdict == verdict


def test_of_one_seed_the_verdict_follows_from_the_count():
    counts = [(3, 3), (2, 3), (1, 2), (0, 3), (0, 0)]
    expected = ["holds", "holds in part", "does not hold", "does not hold", "cannot tell"]
    found = [Claim("", "", "", Mean(1.0, NAN, 1), wins=wins, cases=cases).verdict for wins, cases in counts]
    assert found == expected


def test_a_claim_of_the_paper_is_as_strong_as_its_weakest_statement():
    holds, open_, fails = (Claim("x", "", "", Mean(mean, 1.0, 3)) for mean in (-2.0, 0.0, 2.0))
    part = Claim("x", "", "", Mean(-1.0, NAN, 1), wins=2, cases=3)
    told = Claim("", "", "", Mean(2.0, 1.0, 3))
    assert claim_verdicts([holds, told]) == {"x": "holds"}
    assert claim_verdicts([holds, part]) == {"x": "holds in part"}
    assert claim_verdicts([holds, part, open_]) == {"x": "cannot tell"}
    assert claim_verdicts([holds, open_, fails]) == {"x": "does not hold"}


def test_forgetting_is_the_gap_beyond_every_joint_run(study):
    found = one(study, "Sequential DPO→SFT ends")
    assert found.verdict == "holds"
    # DPO gaps: Sequential 2.036; joint .002 .004 .013 .030 .061 .151: median .0215, mean .0435, worst .151
    assert (found.wins, found.cases, found.found.mean) == (6, 6, pytest.approx(2.036 - 0.0435))
    assert found.evidence == (
        "True in 6 of 6 cases; DPO gap of Sequential DPO→SFT minus that of the joint methods (means over splits and λ)"
        ": 2.01 (1.89 to 2.03)."
    )
    assert starting(study, "Sequential SFT→DPO") == []  # no such run


def test_a_sequential_run_that_keeps_its_first_objective_counts_against_it(study, make):
    make("sequential", 0.4, 0.059, epochs=(1, 5))  # gap .074: more than five of the joint ones, less than .151
    found = one(study, "Sequential DPO→SFT ends")
    assert (found.verdict, found.wins, found.cases) == ("holds in part", 11, 12)


def test_forgetting_over_seeds_is_a_mean_with_an_interval(make, tmp_path):
    # DPO gaps: Sequential 1.0, 1.1, 1.2; joint means (.1 + .3) / 2 = .2, then .2 and .2: differences .8, .9, 1.0
    for seed in range(3):
        make("sequential", 0.326 + 1.0 + 0.1 * seed, 0.1, seed=seed)
        make("mix", 0.326 + 0.1, 0.1, lam=0.5, seed=seed)
        make("alright", 0.326 + 0.3, 0.1, lam=0.5, seed=seed)
    found = one(tmp_path, "Sequential DPO→SFT ends")
    assert found.found == pytest.approx((0.9, T_3 * 0.1 / math.sqrt(3), 3), abs=1e-6)
    assert (found.verdict, found.heading) == ("holds", "Sequential forgets")
    assert found.evidence.endswith("0.900 ± 0.248 over 3 seeds; true in 6 of 6 cases.")


def test_each_order_forgets_its_first_objective_of_any_number(make, tmp_path):
    more = {"safety": 0.3}
    for first, own in (("dpo", {"f_dpo": 1.326, "f_sft": 0.1}), ("sft", {"f_dpo": 0.4, "f_sft": 0.626})):
        make("sequential", **own, more=more, first=first, epochs=(2, 2, 2))
    make("mix", 0.426, 0.126, more=more, weights={"dpo": 0.5, "sft": 0.3, "safety": 0.2})
    make("tilt", 0.526, 0.226, more=more, weights={"dpo": 0.5, "sft": 0.3, "safety": 0.2})  # a rule of the user's own
    dpo, sft = of(tmp_path, "Sequential forgets")
    assert dpo.text.startswith("Sequential DPO→SFT→Safety ends with a larger DPO gap")
    assert sft.text.startswith("Sequential SFT→DPO→Safety ends with a larger SFT gap")
    assert (dpo.cases, sft.cases) == (2, 2)  # the new rule is one of the joint runs
    assert dpo.found.mean == pytest.approx(1.0 - (0.1 + 0.2) / 2)
    assert sft.found.mean == pytest.approx(0.6 - (0.1 + 0.2) / 2)


def test_refusals_are_compared_where_they_were_checked(study, make):
    found = one(study, "Sequential DPO→SFT refuses")
    assert (found.verdict, found.found.mean, found.cases) == ("holds", -1.0, 6)
    make("mix", 0.34, 0.11, lam=0.5, behaviour={"refuses_harmful": 0.0})
    assert one(study, "Sequential DPO→SFT refuses").verdict == "holds in part"


def test_joint_runs_against_sequential_ones(study, make):
    text = "The joint runs end closer"
    assert one(study, text).verdict == "holds"
    make("sequential", 0.4, 0.059, epochs=(1, 5))  # distance .081: closer than MAXRIGHT's .0845 and .0929
    found = one(study, text)
    assert found.cases == 12
    assert found.wins == 6 + sum(far < math.hypot(0.074, 0.033) for far in DISTANCES)
    assert found.verdict == ("holds in part" if found.wins > 6 else "does not hold")


DISTANCES = [  # of the study's joint runs
    math.hypot(dpo - 0.326, sft - 0.026)
    for dpo, sft in ((0.387, 0.093), (0.328, 0.127), (0.477, 0.073), (0.330, 0.135), (0.356, 0.105), (0.339, 0.118))
]


def test_only_equal_seed_and_lambda_are_paired(study, make):
    text = "MAXRIGHT ends closer to the ideal point than ALRIGHT"
    # distances: MAXRIGHT .0845, .0929; ALRIGHT .1581, .1091
    found = one(study, text)
    assert (found.verdict, found.wins, found.cases) == ("holds", 2, 2)
    make("alright", 0.33, 0.03, lam=0.5)  # no MAXRIGHT at this λ
    make("alright", 0.33, 0.03, lam=0.25, seed=1)  # no MAXRIGHT with this seed
    assert one(study, text).cases == 2
    make("maxright", 0.40, 0.10, lam=0.25, seed=1)  # loses to the ALRIGHT run above
    found = one(study, text)
    assert (found.verdict, found.wins, found.cases) == ("cannot tell", 2, 3)  # two seeds that disagree


def test_other_data_seeds_are_not_compared_and_other_settings_refused(make, tmp_path):
    make("maxright", 0.33, 0.03, lam=0.5)
    make("alright", 0.40, 0.10, lam=0.5, config={"data": {"source": {"conflict": 0.1, "seed": 1}}})
    assert claims(read_runs([tmp_path])) == []
    make("mix", 0.40, 0.10, lam=0.5, config={"data": {"source": {"conflict": 0.3, "seed": 0}}})
    with pytest.raises(UserError, match="conflict"):
        claims(read_runs([tmp_path]))


def test_maxright_is_set_against_equal_weights_and_the_best_sequential(make, tmp_path):
    for seed in range(3):
        noise = 0.01 * seed
        for lam, distance in ((0.25, 0.3), (0.5, 0.1)):
            make("maxright", 0.326, 0.026 + distance + noise, lam=lam, seed=seed)
        make("maxright", 9.0, 9.0, lam=0.5, seed=seed, k=1)  # not as usual: in none of these
        make("mix", 0.326, 0.026 + 0.15, lam=0.5, seed=seed)  # λ = .25 is missing: only .1 against .15
        make("model_average", 0.326, 0.026 + 0.5, lam=0.25, seed=seed)  # .3 against .5
        for split, distance in (((2, 4), 0.1), ((4, 2), 0.9)):  # mean of MAXRIGHT .2 against the better, .1
            make("sequential", 0.326, 0.026 + distance, epochs=split, seed=seed)
    mix, average, sequential = of(tmp_path, "MAXRIGHT is closest to the ideal point")
    assert mix.quantity == "ideal distance of MAXRIGHT (mean over λ) minus Mix's at the same λ"
    assert (mix.found.mean, mix.verdict) == (pytest.approx(-0.04), "holds")
    assert (average.found.mean, average.verdict) == (pytest.approx(-0.19), "holds")
    assert (sequential.found.mean, sequential.verdict) == (pytest.approx(0.11), "does not hold")
    assert claim_verdicts([mix, average, sequential]) == {"MAXRIGHT is closest to the ideal point": "does not hold"}


def test_a_variant_alone_is_its_method(make, tmp_path):
    make("maxright", 0.326, 0.126, lam=0.5, k=1)
    make("mix", 0.326, 0.226, lam=0.5)
    assert one(tmp_path, "MAXRIGHT ends closer to the ideal point than Mix").verdict == "holds"


def test_each_step_of_the_weight_must_order_its_objective(study, make):
    dpo, sft = of(study, "λ controls ALRIGHT")
    assert (dpo.verdict, sft.verdict) == ("holds", "holds")
    make("alright", 0.5, 0.08, lam=0.5)  # f_DPO .477, .5, .33: rises once, falls once; f_SFT .073, .08, .135
    dpo, sft = of(study, "λ controls ALRIGHT")
    assert (dpo.verdict, dpo.wins, dpo.cases) == ("does not hold", 1, 2)
    assert (sft.verdict, sft.wins, sft.cases) == ("holds", 2, 2)
    assert dpo.found.mean == pytest.approx(0.33 - 0.477)
    assert dpo.quantity == "f_DPO of ALRIGHT at λ=0.75 minus that at λ=0.25"
    assert sft.quantity == "f_SFT of ALRIGHT at λ=0.25 minus that at λ=0.75"  # more weight on SFT first


def test_lam_controls_only_if_both_losses_obey(make, tmp_path):
    for seed in range(3):
        make("alright", 0.6 + 0.01 * seed, 0.1, lam=0.25, seed=seed)
        make("alright", 0.4, 0.1 + 0.01 * (seed - 1), lam=0.75, seed=seed)
    dpo, sft = of(tmp_path, "λ controls ALRIGHT")
    assert dpo.found.mean == pytest.approx(-0.21)
    assert (dpo.verdict, sft.verdict) == ("holds", "cannot tell")
    assert sft.found.mean == pytest.approx(0)
    assert claim_verdicts([dpo, sft]) == {"λ controls ALRIGHT": "cannot tell"}


def test_with_many_weights_the_inner_ones_must_obey_too(make, tmp_path):
    for seed in range(3):
        for lam, f_dpo in ((0.01, 2.0), (0.25, 0.3 + 0.1 * seed), (0.75, 0.4), (0.99, 0.3)):
            make("alright", f_dpo, lam + 0.001 * seed, lam=lam, seed=seed)
    statements = of(tmp_path, "λ controls ALRIGHT")
    assert [found.quantity.split(" minus ")[1] for found in statements] == [
        *("that at λ=0.01", "that at λ=0.25", "that at λ=0.99", "that at λ=0.75"),
    ]
    assert [found.verdict for found in statements] == ["holds", "cannot tell", "holds", "holds"]


def test_weights_of_three_objectives_each_order_theirs(make, tmp_path):
    for dpo, f_dpo in ((0.2, 0.9), (0.6, 0.4)):
        weights = {"dpo": dpo, "sft": 0.3, "safety": 0.7 - dpo}
        make("mix", f_dpo, 0.1, more={"safety": 0.3 + dpo}, weights=weights)
    dpo, safety = starting(tmp_path, "With Mix")  # one weight of SFT orders nothing
    assert dpo.text == "With Mix, a larger weight on DPO gives a lower f_DPO, from dpo=0.2 to dpo=0.6"
    assert safety.quantity == "f_Safety of Mix at safety=0.5 minus that at safety=0.1"
    assert (dpo.found.mean, safety.found.mean) == (pytest.approx(-0.5), pytest.approx(-0.4))


def test_step_times_are_ratios(study):
    found = one(study, "An optimizer step of Mix takes longer than one of ALRIGHT")
    assert (found.verdict, found.found.mean) == ("holds", pytest.approx(1.0))  # 60 ms over 30, minus 1
    found = one(study, "An optimizer step of MAXRIGHT takes longer than one of ALRIGHT")
    assert found.verdict == "does not hold"  # equal is not longer


def test_a_step_on_all_objectives_costs_their_sum(study, make):
    text = "A step of Mix takes as long as a step of ALRIGHT on each objective"
    found = one(study, text)
    assert (found.verdict, found.found.mean) == ("holds", pytest.approx(abs(0.06 / (0.02 + 0.04) - 1)))
    make("alright", 0.35, 0.1, lam=0.5, seed=1)
    make("mix", 0.35, 0.1, lam=0.5, seed=1, mix_seconds=0.08)  # 0.08 / 0.06 = 1.33: beyond 15 %
    found = one(study, text)
    assert (found.wins, found.cases, found.verdict) == (1, 2, "cannot tell")


def test_costs_are_ratios_to_the_even_sequential_run(make, tmp_path):
    # milliseconds per step: Sequential 30; ALRIGHT 30, 30.6, 30.3: +0, +2, +1 %; Mix 60: +100 %
    for seed, extra in enumerate((0.0, 0.02, 0.01)):
        make("sequential", 1.0, 0.1, seed=seed)
        make("sequential", 1.0, 0.1, epochs=(2, 4), seed=seed, train_seconds=9.0)
        make("alright", 0.4, 0.1, lam=0.5, seed=seed, train_seconds=0.03 * 40 * (1 + extra))
        make("alright", 0.4, 0.1, lam=0.25, seed=seed, train_seconds=9.0)  # no equal weights
        make("mix", 0.4, 0.1, lam=0.5, seed=seed)
    mix, alright = of(tmp_path, "joint training costs about nothing, Mix costs much")
    assert alright.quantity == "time per step of ALRIGHT λ=0.5 over that of Sequential with equal shares, minus 1"
    assert alright.found == pytest.approx((0.01, T_3 * 0.01 / math.sqrt(3), 3), abs=1e-6)
    assert (alright.verdict, alright.bound, alright.above) == ("holds", 0.1, False)  # .01 + .025 < .1
    assert (mix.verdict, mix.found.mean, mix.bound, mix.above) == ("holds", pytest.approx(1.0), 0.25, True)


def test_times_may_come_from_other_runs(make, tmp_path):
    for name, seconds in (("results", 9.0), ("timed", 1.2)):
        for strategy in ("sequential", "alright"):
            run = make(strategy, 0.4, 0.1, lam=None if strategy == "sequential" else 0.5,
                       train_seconds=seconds if strategy == "alright" else 1.2)  # fmt: skip
            (tmp_path / name).mkdir(exist_ok=True)
            run.rename(tmp_path / name / run.name)
    runs, timed = (read_runs([tmp_path / name]) for name in ("results", "timed"))
    (cost,) = (found for found in claims(runs, timed) if found.heading.startswith("joint training"))
    assert cost.found.mean == pytest.approx(0)


def test_a_large_k_is_compared_with_the_exact_algorithm_at_the_same_lam(make, tmp_path):
    for seed in range(3):
        for k, f_dpo in ((1, 0.4), (10, 0.4), (1000, 0.4 + 0.01 * seed)):
            folder = make("maxright", f_dpo, 0.1, lam=0.5, seed=seed, k=k)
            if k == 1000:  # one more evaluation, 1 + seed / 10 nats above the last
                path = folder / "trajectory.csv"
                path.write_text(path.read_text() + f"41,0,{f_dpo + 1 + seed / 10},0.1,0,0,0,0,0,1,1\n")
    (found,) = of(tmp_path, "a large k oscillates")
    assert found.quantity.startswith("rise (what is lost from one evaluation to the next) of MAXRIGHT k=1000")
    assert (found.found.mean, found.verdict) == (pytest.approx(1.1), "holds")


def test_alright_covers_the_front_if_its_outermost_ends_are_as_far_apart_as_those_of_mix(make, tmp_path):
    ends = {"mix": [(0.4, 0.5), (0.4, 0.3), (0.7, 0.1)], "alright": [(0.4, 0.34), (0.4, 0.3), (0.64, 0.02)]}
    for strategy, places in ends.items():  # .5 apart, and .4: a fifth less
        for lam, place in zip((0.75, 0.5, 0.25), places, strict=True):
            make(strategy, *place, lam=lam)
    make("alright", 9.0, 9.0, lam=0.9)  # where Mix has no run
    (found,) = of(tmp_path, "ALRIGHT covers the front as Mix does, Sequential does not")
    assert found.found.mean == pytest.approx(-0.2)
    assert found.quantity == "distance between the ends of ALRIGHT at λ=0.25 and λ=0.75 over Mix's, minus 1"
    assert (found.bound, found.verdict) == (-0.25, "holds")


def test_sequential_crowds_at_its_last_objective_if_it_does_at_the_split_that_forgets_least(make, tmp_path):
    make("sequential", 2.326, 0.126, epochs=(1, 5))  # gaps 2 and .1
    make("sequential", 0.626, 0.226, epochs=(5, 1))  # .3 and .2
    (found,) = of(tmp_path, "ALRIGHT covers the front as Mix does, Sequential does not")
    assert (found.verdict, found.cases, found.found.mean) == ("holds", 1, pytest.approx(0.1))
    make("sequential", 0.426, 0.226, epochs=(4, 2))
    (found,) = of(tmp_path, "ALRIGHT covers the front as Mix does, Sequential does not")
    assert (found.verdict, found.found.mean) == ("does not hold", pytest.approx(-0.1))


def test_sooner_is_when_a_joint_run_is_first_as_near_as_the_even_sequential_one_ends(make, tmp_path):
    make("sequential", 1.326, 0.026)  # 1 from the ideal point
    make("sequential", 0.4, 0.03, epochs=(5, 1))  # uneven
    make("mix", 0.326, 0.026, lam=0.5)  # 2.936·exp(−6 (step − 1) / 39) from it: 1.587 at step 5, .735 at step 10, of 40
    make("alright", 1.526, 0.026, lam=0.5)  # never
    found = {
        one.text.split(" is as near")[0]: one for one in of(tmp_path, "joint runs come near the ideal point sooner")
    }
    line = (5 + 5 * (1.5867 - 1) / (1.5867 - 0.7354)) / 40
    assert {method: one.found.mean for method, one in found.items()} == {
        "Mix": pytest.approx(line, abs=1e-4),
        "ALRIGHT": 1.0,
    }
    assert {method: one.verdict for method, one in found.items()} == {"Mix": "holds", "ALRIGHT": "does not hold"}


def test_without_optima_nothing_is_said_of_sooner(make, tmp_path):
    unknown = dict.fromkeys(["f_dpo_opt", "f_sft_opt", "gap_dpo", "gap_sft", "ideal_distance"])
    for run in (make("sequential", 1.326, 0.026, **unknown), make("mix", 0.326, 0.026, lam=0.5, **unknown)):
        way = pd.read_csv(run / "trajectory.csv").assign(gap_dpo=NAN, gap_sft=NAN, ideal_distance=NAN)
        way.to_csv(run / "trajectory.csv", index=False)
    assert of(tmp_path, "joint runs come near the ideal point sooner") == []


def test_one_run_alone_supports_no_statement(make, tmp_path):
    make("mix", 0.35, 0.1, lam=0.5)
    assert claims(read_runs([tmp_path])) == []
