"""The one-parameter example: the numbers of theorems 3.3 and 4.1, recomputed, and by hand where a hand suffices."""

import math
from itertools import product

import numpy as np
import pytest

from xright.strategies import ALRIGHT, Mix, Sequential
from xright.theory import forgetting
from xright.theory.descent import descend, inverse_sqrt
from xright.theory.expectation import by_enumeration, expected_gap
from xright.theory.problems import NAMES, table_1, trade_off

FLOOR = 0.271042  # G(θ = 0)


def sigma(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def even_gap(theta: float) -> float:
    """G at λ = .5: the mean of both losses less log(1 + e^2.5)."""
    dpo, sft = math.log1p(math.exp(theta / 2 + 5)), math.log1p(math.exp(-theta / 2))
    return (dpo + sft) / 2 - math.log(1 + math.exp(2.5))


def after(name: str, theta: float, size: float) -> float:
    """One step on one objective."""
    return theta - size * (sigma(theta / 2 + 5) / 2 if name == "dpo" else -sigma(-theta / 2) / 2)


def test_gaps_are_zero_at_the_optimum_and_known_at_zero():
    thetas = np.array([[-5.0], [0.0], [-10.0], [3.0]])
    assert forgetting.gaps(thetas) == pytest.approx([even_gap(theta) for theta in thetas[:, 0]], abs=1e-14)
    assert forgetting.gaps(thetas)[:3] == pytest.approx([0, FLOOR, FLOOR], abs=5e-7)
    assert float(forgetting.gaps(np.zeros(1), lam=0.25)) == pytest.approx(0.043315, abs=5e-7)
    grid = np.linspace(-30, 30, 601)[:, None]
    assert all(forgetting.gaps(grid, lam).min() >= -1e-12 for lam in (0.1, 0.25, 0.5, 0.75, 0.9))


@pytest.mark.parametrize(
    ("lam", "theta", "value", "gap_at_zero"),
    [(0.25, 1.396326, 1.728224, 0.043315), (0.5, -5, 2.578890, FLOOR), (0.75, -11.396326, 1.728224, 2.200099)],
)
def test_lower_bound(lam, theta, value, gap_at_zero):
    expected = {"theta_star": theta, "f_star": value, "gap_at_zero": gap_at_zero}
    assert forgetting.lower_bound(lam) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("horizon", "constant", "inverse_root"),
    [(100, 0.17007, 0.17007), (1_000, 1.29152, 0.40933), (10_000, 2.65115, 1.29129)],
)  # T = 100,000 takes five seconds: test_main.py, slow
def test_sequential_ends_where_the_paper_has_it(horizon, constant, inverse_root):
    rows = forgetting.sequential(horizon)
    assert rows["const 0.1"]["gap"] == pytest.approx(constant, abs=1e-5)
    assert rows["1/sqrt(T)"]["gap"] == pytest.approx(inverse_root, abs=1e-5)
    for row in rows.values():
        assert row["gap"] == pytest.approx(even_gap(row["theta_seq"]), abs=1e-12)


def test_sequential_by_hand_at_three_iterates():
    # two updates of each kind; 10/√3 = 5.7735 for the last schedule
    sizes = {"const 0.1": 0.1, "const 1": 1.0, "1/sqrt(T)": 1 / math.sqrt(3), "10/sqrt(T)": 10 / math.sqrt(3)}
    rows = forgetting.sequential(3)
    assert list(rows) == list(sizes)
    for name, size in sizes.items():
        theta_dpo = after("dpo", after("dpo", 0.0, size), size)
        theta_seq = after("sft", after("sft", theta_dpo, size), size)
        expected = {"theta_dpo": theta_dpo, "theta_seq": theta_seq, "gap": even_gap(theta_seq)}
        assert rows[name] == pytest.approx(expected, abs=1e-13)


def test_sequential_dips_then_never_comes_near_the_optimum_again():
    # from steps so small that descent is a flow, to steps of 3
    sizes = np.geomspace(1e-3, 3, 200)[:, None]
    rows = [row for horizon in range(2, 120) for row in forgetting.sequential(horizon).values()]
    for updates in (500, 2_000):
        path = descend(table_1(), Sequential("dpo", (1, 1), NAMES), updates, sizes, visit=[updates])
        columns = zip(path.visited[updates][:, 0], path.theta[:, 0], forgetting.gaps(path.theta), strict=True)
        rows += [{"theta_dpo": dpo, "theta_seq": seq, "gap": gap} for dpo, seq, gap in columns]
    dips = min(row["gap"] for row in rows)
    assert 0.1695 <= dips < 0.1702
    beyond = [row for row in rows if row["theta_dpo"] <= -10]
    assert 100 < len(beyond) < len(rows) - 100
    assert all(row["theta_seq"] >= 0 and row["gap"] >= 0.27104 for row in beyond)


def test_sequential_forgets_more_the_longer_it_trains():
    gaps = [forgetting.sequential(horizon)["const 1"]["gap"] for horizon in (100, 1_000, 10_000)]
    growth = np.diff(gaps) / math.log(10)  # like ½ log Σα
    assert gaps[0] > FLOOR
    assert growth == pytest.approx([0.5, 0.5], abs=0.1)


def test_mix_takes_every_step_on_the_mean():
    theta, size = 0.0, 1.0  # 10/√100
    for _ in range(99):
        theta -= size * (sigma(theta / 2 + 5) - sigma(-theta / 2)) / 4
    first, second = forgetting.mix(100, [1.0, 10.0])
    assert second == pytest.approx({"theta": theta, "gap": even_gap(theta)}, abs=1e-12)
    assert first["gap"] == pytest.approx(even_gap(first["theta"]), abs=1e-12)
    assert first["theta"] == pytest.approx(descend(table_1(), Mix(trade_off(0.5)), 99, 0.1).theta.item(), abs=1e-13)


def test_alright_is_one_run_per_seed_and_step_size():
    drawn = forgetting.alright(50, [1.0, 10.0], seeds=[3, 8, 5])
    assert drawn.shape == (3, 2)
    for row, seed in zip(drawn, [3, 8, 5], strict=True):
        ends = [
            descend(table_1(), ALRIGHT(trade_off(0.5), seed), 49, inverse_sqrt(alpha, 50)).theta
            for alpha in (1.0, 10.0)
        ]
        assert row == pytest.approx([even_gap(end.item()) for end in ends], abs=1e-12)


@pytest.mark.parametrize(("horizon", "seeds"), [(2, 200), (11, 200), (100, 256)])
def test_alright_has_the_mean_that_it_must_have(horizon, seeds):
    drawn = forgetting.alright(horizon, [1.0, 10.0], range(seeds))
    error = drawn.std(0, ddof=1) / math.sqrt(seeds)
    expected = [expected_gap(alpha, horizon) for alpha in (1.0, 10.0)]
    assert (np.abs(drawn.mean(0) - expected) < 4 * error).all()


def test_bound_by_hand():
    # ‖0 − (−5)‖² = 25, M² = 4: (25/(2 · 10) + (2 + log 99) · 4 · 10/2)/10 = (1.25 + 131.9024)/10
    assert forgetting.bound(10.0, 100) == pytest.approx(13.31524, abs=1e-5)
    assert forgetting.bound(0.5, 2) == pytest.approx((25 + 2 * 4 * 0.25) / math.sqrt(2))
    assert forgetting.bound(1.0, 4, lam=0.25) == pytest.approx((1.3963255**2 / 2 + (2 + math.log(3)) * 2) / 2)


CELLS = [(alpha, horizon) for alpha in (0.1, 0.3, 1.0, 3.0, 10.0) for horizon in (2, 3, 5, 11, 100, 1_000, 10_000)]


def test_bound_holds_with_room():
    ratios = {cell: forgetting.bound(*cell) / expected_gap(*cell) for cell in [*CELLS, (0.1, 100_000)]}
    assert min(ratios.values()) >= 6.7
    assert min(ratios, key=ratios.get) == (0.1, 100_000)


def test_bound_as_printed_is_violated():
    def printed(alpha_0: float, horizon: int) -> float:  # the first term multiplied by α0
        return (25 * alpha_0 / 2 + (2 + math.log(horizon - 1)) * 4 * alpha_0 / 2) / math.sqrt(horizon)

    # α0 = .01: θ hardly moves, so E[G] stays near G(0) = .271, while the printed bound is 13 α0 and less
    for horizon, value in ((2, 0.1167), (11, 0.0636), (1_000, 0.0096)):
        assert printed(0.01, horizon) == pytest.approx(value, abs=1e-4)
        assert expected_gap(0.01, horizon) > 2 * printed(0.01, horizon)
        assert expected_gap(0.01, horizon) < forgetting.bound(0.01, horizon)


@pytest.mark.parametrize(("lam", "limit"), [(0.25, -2.04925), (0.5, -5.0), (0.75, -7.95075)])
def test_maxright_goes_to_equal_weighted_gaps(lam, limit):
    result = forgetting.maxright_limit(lam, updates=5_000)
    assert result["theta"] == pytest.approx(limit, abs=2e-3)
    assert result["equal_gap"] == pytest.approx(limit, abs=5e-6)
    assert result["mix_optimum"] == pytest.approx({0.25: 1.396326, 0.5: -5.0, 0.75: -11.396326}[lam], abs=5e-7)
    assert result["gap"] == pytest.approx(float(forgetting.gaps(np.array([result["theta"]]), lam)))
    assert (result["gap"] < 1e-6) == (lam == 0.5)  # at the optimum of Mix only for λ = .5


def test_slope_of_a_power_law_is_its_exponent():
    horizons = [10, 100, 1_000, 20_000]
    assert forgetting.slope(horizons, [3 * horizon**-0.5 for horizon in horizons]) == pytest.approx(-0.5)
    # through (0, 0), (1, 1), (2, 0) in decades the least-squares line is level
    assert forgetting.slope([1, 10, 100], [1, math.e, 1]) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("alpha_0", [1.0, 10.0])
def test_two_and_three_iterates_by_hand(alpha_0):
    size = alpha_0 / math.sqrt(2)
    two = even_gap(-size * sigma(5) / 2) / 2 + even_gap(size * 0.5 / 2) / 2  # ∇f_DPO(0) = ½ σ(5), ∇f_SFT(0) = −½ · ½
    assert by_enumeration(alpha_0, 2) == pytest.approx(two, abs=1e-14)
    size = alpha_0 / math.sqrt(3)
    ends = [after(second, after(first, 0.0, size), size) for first, second in product(("dpo", "sft"), repeat=2)]
    assert by_enumeration(alpha_0, 3) == pytest.approx(sum(map(even_gap, ends)) / 4, abs=1e-14)


def test_the_expected_gap_shrinks_like_the_inverse_root():
    horizons = (100, 1_000, 10_000, 100_000)
    gaps = [expected_gap(10.0, horizon) for horizon in horizons]
    assert gaps == pytest.approx([0.04729, 0.01573, 0.00519, 0.00167], abs=5e-6)
    assert forgetting.slope(horizons, gaps) == pytest.approx(-0.46, abs=0.03)
