import math

import pytest

from xright.analysis.paper_claims import Statement, claim_verdicts, closest_by_lam, paper_claims
from xright.analysis.runs import read_runs
from xright.analysis.statistics import Mean
from xright.errors import UserError

T_3 = 4.302653  # t_{2, 0.975}


def found(folder, claim: str) -> dict[str, Statement]:
    """{text: statement} of a claim."""
    return {one.text: one for one in paper_claims(read_runs([folder])) if one.claim == claim}


def test_forgetting_is_the_gap_beyond_the_joint_methods(make, tmp_path):
    # DPO gaps: Sequential 1.0, 1.1, 1.2; joint means (.1 + .3) / 2 = .2, then .2 and .2: differences .8, .9, 1.0
    for seed in range(3):
        make("sequential", 0.326 + 1.0 + 0.1 * seed, 0.1, epochs=(3, 3), seed=seed)
        make("mix", 0.326 + 0.1, 0.1, lam=0.5, seed=seed)
        make("alright", 0.326 + 0.3, 0.1, lam=0.5, seed=seed)
    (statement,) = found(tmp_path, "Sequential forgets").values()
    assert statement.found == pytest.approx((0.9, T_3 * 0.1 / math.sqrt(3), 3), abs=1e-6)
    assert statement.verdict == "holds"


def test_lam_controls_alright_only_if_both_losses_obey(make, tmp_path):
    for seed in range(3):
        make("alright", 0.6 + 0.01 * seed, 0.1, lam=0.25, seed=seed)
        make("alright", 0.4, 0.1 + 0.01 * (seed - 1), lam=0.75, seed=seed)
    dpo, sft = found(tmp_path, "λ controls ALRIGHT").values()
    assert dpo.found.mean == pytest.approx(-0.21)
    assert (dpo.verdict, sft.verdict) == ("holds", "cannot tell")
    assert sft.found.mean == pytest.approx(0)
    assert claim_verdicts([dpo, sft]) == {"λ controls ALRIGHT": "cannot tell"}


def test_with_many_lambdas_the_inner_ones_must_obey_too(make, tmp_path):
    for seed in range(3):
        for lam, f_dpo in ((0.01, 2.0), (0.25, 0.3 + 0.1 * seed), (0.75, 0.4), (0.99, 0.3)):
            make("alright", f_dpo, lam + 0.001 * seed, lam=lam, seed=seed)
    statements = found(tmp_path, "λ controls ALRIGHT")
    assert [text.split(" minus ")[1] for text in statements] == ["that at λ=0.01"] * 2 + ["that at λ=0.25"] * 2
    assert [one.verdict for one in statements.values()] == ["holds", "holds", "cannot tell", "holds"]


def test_maxright_is_set_against_equal_lambdas_and_the_best_sequential(make, tmp_path):
    for seed in range(3):
        noise = 0.01 * seed
        for lam, distance in ((0.25, 0.3), (0.5, 0.1)):
            make("maxright", 0.326, 0.026 + distance + noise, lam=lam, seed=seed, k=10)
        make("mix", 0.326, 0.026 + 0.15, lam=0.5, seed=seed)  # λ = .25 is missing: only .1 against .15
        for split, distance in (((2, 4), 0.1), ((4, 2), 0.9)):  # mean of MAXRIGHT .2 against the better, .1
            make("sequential", 0.326, 0.026 + distance, epochs=split, seed=seed)
    statements = found(tmp_path, "MAXRIGHT is closest to the ideal point")
    means = {text.split(" minus ")[1]: one for text, one in statements.items()}
    mix, sequential = means["Mix's at the same λ"], means["the best Sequential run's"]
    assert (mix.found.mean, mix.verdict) == (pytest.approx(-0.04), "holds")
    assert (sequential.found.mean, sequential.verdict) == (pytest.approx(0.11), "does not hold")
    assert claim_verdicts([mix, sequential]) == {"MAXRIGHT is closest to the ideal point": "does not hold"}
    (at_half,) = closest_by_lam(read_runs([tmp_path]))
    assert at_half.text.endswith("minus Mix's, both at λ=0.5")
    assert at_half.found.mean == pytest.approx(-0.04)


def test_costs_are_ratios_to_the_even_sequential_run(make, tmp_path):
    # milliseconds per step: Sequential 30; ALRIGHT 30, 30.6, 30.3: +0, +2, +1 %; Mix 60: +100 %
    for seed, extra in enumerate((0.0, 0.02, 0.01)):
        make("sequential", 1.0, 0.1, epochs=(3, 3), seed=seed)
        make("sequential", 1.0, 0.1, epochs=(2, 4), seed=seed, train_seconds=9.0)
        make("alright", 0.4, 0.1, lam=0.5, seed=seed, train_seconds=0.03 * 40 * (1 + extra))
        make("mix", 0.4, 0.1, lam=0.5, seed=seed)
    alright, mix = found(tmp_path, "joint training costs about nothing, Mix costs much").values()
    assert alright.found == pytest.approx((0.01, T_3 * 0.01 / math.sqrt(3), 3), abs=1e-6)
    assert (alright.verdict, alright.bound) == ("holds", 0.1)  # .01 + .025 < .1
    assert (mix.verdict, mix.found.mean) == ("holds", pytest.approx(1.0))


def test_a_large_k_is_compared_with_the_exact_algorithm_at_the_same_lam(make, tmp_path):
    for seed in range(3):
        for k, f_dpo in ((1, 0.4), (10, 0.4), (1000, 0.4 + 0.01 * seed)):
            folder = make("maxright", f_dpo, 0.1, lam=0.5, seed=seed, k=k)
            if k == 1000:  # one more evaluation, 1 + seed / 10 nats above the last
                path = folder / "trajectory.csv"
                path.write_text(path.read_text() + f"41,0,{f_dpo + 1 + seed / 10},0.1,0,0,0,0,0,1,1\n")
    (statement,) = found(tmp_path, "a large k oscillates").values()
    assert statement.text.startswith("rise (what is lost and regained between evaluations) of MAXRIGHT k=1000")
    assert statement.found.mean == pytest.approx(1.1)
    assert statement.verdict == "holds"


@pytest.mark.parametrize(
    ("found", "above", "verdict"),
    [
        (Mean(1.0, 0.5, 3), True, "holds"),
        (Mean(1.0, 0.5, 3), False, "does not hold"),
        (Mean(-1.0, 0.5, 3), True, "does not hold"),
        (Mean(-1.0, 0.5, 3), False, "holds"),
        (Mean(0.3, 0.5, 3), True, "cannot tell"),
        (Mean(0.3, 0.5, 3), False, "cannot tell"),
        (Mean(1.0, math.nan, 1), True, "cannot tell"),
    ],
)
def test_the_verdict_is_the_place_of_the_interval(found, above, verdict):
    assert Statement("", "", found, 0.0, above).verdict == verdict
    assert Statement("", "", Mean(found.mean + 7, found.half, found.n), 7.0, above).verdict == verdict


def test_what_has_no_runs_is_not_stated_and_two_studies_are_refused(make, tmp_path):
    make("mix", 0.4, 0.1, lam=0.5)
    assert paper_claims(read_runs([tmp_path])) == []
    make("mix", 0.4, 0.1, lam=0.25, config={"data": {"source": {"conflict": 0.3, "seed": 0}}})
    with pytest.raises(UserError, match="conflict"):
        paper_claims(read_runs([tmp_path]))
