"""Bounds of a gap, by hand, and how often they hold where the truth is known."""

import numpy as np
import pytest
from scipy.stats import t as student

from xright.evaluation.certificate import Certificate, certify, straightened


def certificate(lower, upper, epsilon=0.1):
    return Certificate(epsilon, 0.05, lower, upper, rows=40, prompts=40, paired=True)


def test_given_a_number_the_losses_alone_vary():
    losses = np.array([0.0, 2.0] * 20)  # no skewness; mean 1, Σ e² = 40, s = √(40/39 · 40) / 40
    found = certify(0.1, losses, np.ones(40), 0.75, rows=40)
    half = student.ppf(0.95, 39) / 39**0.5
    assert found.gap == 0.25
    assert (found.lower, found.upper) == pytest.approx((0.25 - half, 0.25 + half), abs=1e-12)
    assert not found.paired


def test_paired_only_differences_count():
    hard = np.exp(np.arange(40.0) / 8)  # far more spread than what the models differ by
    losses = hard + np.array([0.0, 0.2] * 20)
    found = certify(0.1, losses, np.ones(40), hard.mean(), optimum_losses_C=hard, rows=40)
    half = student.ppf(0.95, 39) * 0.1 / 39**0.5
    assert found.gap == pytest.approx(0.1)
    assert (found.lower, found.upper) == pytest.approx((0.1 - half, 0.1 + half), abs=1e-9)


def test_an_optimum_that_was_lower_before_its_end_adds_to_the_gap_and_its_bounds():
    losses, other = np.array([0.0, 2.0] * 20), np.array([0.0, 1.0] * 20)
    at_the_end = certify(0.1, losses, np.ones(40), 0.5, optimum_losses_C=other, rows=40)
    before = certify(0.1, losses, np.ones(40), 0.4, optimum_losses_C=other, rows=40)
    for key in ("gap", "lower", "upper"):
        assert getattr(before, key) == pytest.approx(getattr(at_the_end, key) + 0.1)


def test_a_token_mean_is_a_ratio_of_sums():
    losses, units = np.array([1.0, 6.0, 1.0, 4.0] * 10), np.array([1.0, 3.0, 1.0, 3.0] * 10)
    found = certify(0.1, losses, units, 1.0, rows=40)
    # f = 120/80 = 1.5; e = (−.5, 1.5, −.5, −.5) = a mean of 0; Σ e² = 10 · 3, Σ e³ = 10 · 3
    assert found.gap == 0.5
    deviation = (40 / 39 * 30) ** 0.5 / 80
    skewness = (40 * 39) ** 0.5 / 38 * (30 / 40) / (30 / 40) ** 1.5
    q, d = student.ppf(0.95, 39), skewness / 40**0.5
    assert found.upper == pytest.approx(0.5 - deviation * 3 / d * ((1 + d * (-q - d / 6)) ** (1 / 3) - 1), rel=1e-9)
    assert found.lower == pytest.approx(0.5 - deviation * 3 / d * ((1 + d * (q - d / 6)) ** (1 / 3) - 1), rel=1e-9)
    assert found.upper - 0.5 > 0.5 - found.lower  # large losses are rare: there may be more of them


def test_several_certificates_share_the_five_per_cent():
    losses = np.array([0.0, 2.0] * 20)
    alone, one_of_two = (certify(0.1, losses, np.ones(40), 1.0, rows=40, among=k) for k in (1, 2))
    assert one_of_two.upper / alone.upper == pytest.approx(student.ppf(0.975, 39) / student.ppf(0.95, 39))


def test_equal_models_have_no_gap_for_certain():
    losses = np.arange(40.0)
    found = certify(0.0, losses, np.ones(40), losses.mean(), optimum_losses_C=losses, rows=40)
    assert (found.lower, found.gap, found.upper, found.verdict) == (0.0, 0.0, 0.0, "met")


def test_few_prompts_give_no_bound():
    few = certify(0.1, np.zeros(29), np.ones(29), 0.0, rows=90)
    assert (few.lower, few.upper, few.verdict) == (None, None, "undecided")
    assert few.evidence == "gap 0.0000 on 29 held-out prompts: fewer than 30 give no bound"
    assert certify(0.1, np.zeros(30), np.ones(30), 0.0, rows=90).verdict == "met"


@pytest.mark.parametrize(
    ("lower", "upper", "verdict", "words"),
    [
        (-0.1, 0.1, "met", "at most 0.1000 with"),
        (0.09, 0.11, "undecided", "between 0.0900 and 0.1100 with"),
        (0.1, 0.2, "undecided", "between"),
        (0.11, 0.2, "not met", "at least 0.1100 with 95% confidence (40 held-out rows)"),
    ],
)
def test_the_verdict_is_where_epsilon_lies(lower, upper, verdict, words):
    found = certificate(lower, upper)
    assert found.verdict == found.as_data()["verdict"] == verdict
    assert words in found.evidence


def test_without_skewness_h_is_the_identity():
    assert straightened(-1.7, 0.0) == -1.7
    assert straightened(-1.7, 1e-6) == pytest.approx(-1.7, abs=1e-5)
    assert straightened(-1.7, 0.3) < -1.7 < straightened(-1.7, -0.3)  # a long right tail needs a higher upper bound


@pytest.mark.parametrize("paired", [True, False])
def test_bounds_of_skewed_losses_hold_about_as_often_as_they_say(paired):
    """Answers of 1 to 12 tokens, an excess that is exponential: mean .1 per token. (Student's t alone: 90.7 and 97.5 %;
    with the correction 93.4 and 94.3.)"""
    draw, below, above = np.random.default_rng(0), 0, 0
    for _ in range(2000):
        units = draw.integers(1, 13, 60).astype(float)
        hard = draw.exponential(2.0, 60) * units
        losses = (hard if paired else 2.0 * units) + draw.exponential(0.1, 60) * units
        optimum = hard.sum() / units.sum() if paired else 2.0
        found = certify(0.1, losses, units, optimum, optimum_losses_C=hard if paired else None, rows=60)
        below, above = below + (found.upper >= 0.1), above + (found.lower <= 0.1)
    assert 0.93 < below / 2000 < 0.965
    assert 0.93 < above / 2000 < 0.965
