"""ALRIGHT's expected gap: both ways, by hand, and against drawn runs."""

import numpy as np
import pytest

from xright.theory.expectation import by_enumeration, expected_gap
from xright.theory.forgetting import alright


@pytest.mark.parametrize(
    ("alpha_0", "horizon", "published"),
    [(1, 2, 0.2615266273), (1, 3, 0.2554317494), (10, 2, 0.2786387314), (10, 3, 0.2479050200)],
)
def test_published_digits(alpha_0, horizon, published):
    assert by_enumeration(alpha_0, horizon) == pytest.approx(published, abs=6e-11)


def test_one_update_by_hand():
    """T = 2, α = 1/√2: DPO leads to −α/2 σ(5), SFT to +α/2 σ(0), either with probability ½."""

    def g(theta):
        return 0.5 * np.log1p(np.exp(theta / 2 + 5)) + 0.5 * np.log1p(np.exp(-theta / 2)) - np.log1p(np.exp(2.5))

    alpha = 1 / np.sqrt(2)
    left, right = -alpha / 2 / (1 + np.exp(-5)), alpha / 4
    assert by_enumeration(1.0, 2) == pytest.approx((g(left) + g(right)) / 2, abs=1e-14)


@pytest.mark.parametrize("alpha_0", [0.01, 1.0, 10.0])
@pytest.mark.parametrize("horizon", [2, 3, 7, 11])
def test_powers_of_the_update_count_every_path(alpha_0, horizon):
    assert expected_gap(alpha_0, horizon) == pytest.approx(by_enumeration(alpha_0, horizon), abs=1e-13)


@pytest.mark.parametrize("horizon", [11, 300])
def test_drawn_runs_have_this_mean(horizon):
    gaps = alright(horizon, (1.0, 10.0), range(300))
    errors = gaps.std(0, ddof=1) / np.sqrt(len(gaps))
    expected = [expected_gap(alpha_0, horizon) for alpha_0 in (1.0, 10.0)]
    assert (np.abs(gaps.mean(0) - expected) < 3.5 * errors).all()
    assert (errors < 0.1 * np.array(expected)).all()  # so that the line above says something


def test_slope_over_three_decades():
    gaps = [expected_gap(10.0, horizon) for horizon in (100, 1_000, 10_000, 100_000)]
    slope = np.polyfit([2, 3, 4, 5], np.log10(gaps), 1)[0]
    assert slope == pytest.approx(-0.46, abs=0.03)
