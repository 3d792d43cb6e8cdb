import pytest

from xright.analysis.claims import Claim, claims, verdict
from xright.analysis.runs import read_runs


def claim(folder, start: str) -> Claim:
    return next(found for found in claims(read_runs([folder])) if found.text.startswith(start))


def test_the_verdict_follows_from_the_count():
    counts = [(3, 3), (2, 3), (1, 2), (0, 3), (0, 0)]
    expected = ["holds", "holds in part", "does not hold", "does not hold", "cannot tell"]
    assert [verdict(*count) for count in counts] == expected


def test_forgetting_is_measured_against_the_joint_runs(study):
    found = claim(study, "Sequential DPO→SFT ends")
    assert found.verdict == "holds"
    # DPO gaps: Sequential 2.036; joint .002 .004 .013 .030 .061 .151, so worst .151, median .0215
    assert found.figures["sequential"] == pytest.approx(2.036)
    assert found.figures["worst_joint"] == pytest.approx(0.151)
    assert found.figures["median_joint"] == pytest.approx(0.0215)
    assert found.figures["ratio"] == pytest.approx(2.036 / 0.0215)
    assert found.evidence.startswith("1 of 1 runs; its DPO gap is 2.036, the worst joint gap per seed 0.151")
    assert claim(study, "Sequential SFT→DPO ends").verdict == "cannot tell"


def test_a_sequential_run_that_keeps_its_first_objective_refutes_forgetting(study, make):
    make("sequential", 0.4, 0.059, epochs=(1, 5))  # gap .074, less than the worst joint .151
    found = claim(study, "Sequential DPO→SFT ends")
    assert (found.verdict, found.figures["wins"], found.figures["cases"]) == ("does not hold", 1, 2)
    assert claim(study, "Every joint run ends closer").verdict == "does not hold"


def test_no_ratio_to_a_gap_below_zero(make, tmp_path):
    make("sequential", 2.3, 0.059, epochs=(5, 1))
    make("mix", 0.320, 0.1, lam=0.75)  # gap −0.006
    found = claim(tmp_path, "Sequential DPO→SFT ends")
    assert found.verdict == "holds"
    assert "ratio" not in found.figures
    assert "times" not in found.evidence


def test_refusals_are_compared_where_they_were_checked(study, make):
    found = claim(study, "Sequential DPO→SFT refuses")
    assert (found.verdict, found.figures["sequential"], found.figures["joint"]) == ("holds", 0.0, 1.0)
    make("mix", 0.34, 0.11, lam=0.5, behaviour={"refuses_harmful": 0.0})
    assert claim(study, "Sequential DPO→SFT refuses").verdict == "does not hold"


def test_only_equal_seed_and_lambda_are_paired(study, make):
    # distances: MAXRIGHT .0845, .0929; ALRIGHT .1581, .1091
    found = claim(study, "MAXRIGHT ends closer to the ideal point than ALRIGHT")
    assert (found.verdict, found.figures["wins"], found.figures["cases"]) == ("holds", 2, 2)
    make("alright", 0.33, 0.03, lam=0.5)  # no MAXRIGHT at this λ
    make("alright", 0.33, 0.03, lam=0.25, seed=1)  # no MAXRIGHT with this seed
    assert claim(study, "MAXRIGHT ends closer to the ideal point than ALRIGHT").figures["cases"] == 2
    make("maxright", 0.40, 0.10, lam=0.25, seed=1)  # loses to the ALRIGHT run above
    found = claim(study, "MAXRIGHT ends closer to the ideal point than ALRIGHT")
    assert (found.verdict, found.evidence[:6]) == ("holds in part", "2 of 3")


def test_other_settings_and_data_seeds_are_not_compared(make, tmp_path):
    make("maxright", 0.33, 0.03, lam=0.5)
    make("alright", 0.40, 0.10, lam=0.5, config={"data": {"source": {"conflict": 0.1, "seed": 1}}})
    make("mix", 0.40, 0.10, lam=0.5, config={"data": {"source": {"conflict": 0.3, "seed": 0}}})
    assert claim(tmp_path, "MAXRIGHT ends closer to the ideal point than ALRIGHT").verdict == "cannot tell"
    assert claim(tmp_path, "MAXRIGHT ends closer to the ideal point than Mix").verdict == "cannot tell"


def test_lambda_must_order_both_objectives(study, make):
    assert claim(study, "With ALRIGHT").verdict == "holds"
    make("alright", 0.5, 0.08, lam=0.5)  # f_DPO .477, .5, .33: not falling
    found = claim(study, "With ALRIGHT")
    assert (found.verdict, found.evidence) == ("does not hold", "0 of 1 seeds, λ = 0.25, 0.5, 0.75.")


def test_step_times_are_ratios(study):
    found = claim(study, "An optimizer step of Mix")
    assert found.verdict == "holds"
    assert found.figures["ratio"] == pytest.approx(2.0)
    assert claim(study, "An optimizer step of MAXRIGHT").verdict == "does not hold"  # equal is not longer


def test_a_mix_step_costs_the_sum_of_both_kinds(study, make):
    found = claim(study, "A step of Mix takes as long")
    assert found.verdict == "holds"
    assert found.figures["ratio"] == pytest.approx(0.06 / (0.02 + 0.04))
    make("alright", 0.35, 0.1, lam=0.5, seed=1)
    make("mix", 0.35, 0.1, lam=0.5, seed=1, mix_seconds=0.08)  # 0.08 / 0.06 = 1.33: beyond 15 %
    assert claim(study, "A step of Mix takes as long").evidence.startswith("1 of 2 seeds")


def test_one_run_alone_supports_no_claim(make, tmp_path):
    make("mix", 0.35, 0.1, lam=0.5)
    assert {found.verdict for found in claims(read_runs([tmp_path]))} == {"cannot tell"}
