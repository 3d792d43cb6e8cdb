"""The one-parameter example of arXiv 2410.15483 (table 1, fig 6, theorems 3.3 and 4.1), recomputed.

    G_λ(θ) = λ f_DPO(θ) + (1−λ) f_SFT(θ) − min_θ of the same              the optimality gap of the mixture, in nats

T counts iterates: T − 1 updates, as in the paper; Sequential makes T − 1 of each kind. θ_1 = 0. The last iterate is
judged, as theorem 4.1 does. Every function returns plain numbers, ready for `theory.json`.
"""

from collections.abc import Sequence

import numpy as np

from xright.strategies import ALRIGHT, MAXRIGHT, Mix, Sequential
from xright.theory.descent import descend, descend_side_by_side, inverse_sqrt
from xright.theory.objectives import Array
from xright.theory.problems import NAMES, table_1, table_1_equal_gap, table_1_minimiser, trade_off

LAM = 0.5
SCHEDULES = {  # name: step size α of a run with T iterates
    "const 0.1": lambda horizon: 0.1,
    "const 1": lambda horizon: 1.0,
    "1/sqrt(T)": lambda horizon: inverse_sqrt(1.0, horizon),
    "10/sqrt(T)": lambda horizon: inverse_sqrt(10.0, horizon),
}


def gaps(theta: Array, lam: float = LAM) -> Array:
    """G_λ(θ) of table 1; θ (*runs, 1) to (*runs,)."""
    mixture = table_1().mixture({"dpo": lam, "sft": 1 - lam})
    return mixture.loss(theta) - mixture.loss(np.array([table_1_minimiser(lam)]))


def lower_bound(lam: float) -> dict[str, float]:
    """Return where the mixture's optimum lies, its value, and G at θ = 0, beyond which Sequential ends (theorem
    3.3)."""
    theta = table_1_minimiser(lam)
    best = table_1().mixture({"dpo": lam, "sft": 1 - lam}).loss(np.array([theta]))
    return {"theta_star": theta, "f_star": float(best), "gap_at_zero": float(gaps(np.zeros(1), lam))}


def sequential(horizon: int) -> dict[str, dict[str, float]]:
    """DPO then SFT, T − 1 updates each, for every schedule: θ after each stage, and the final gap."""
    sizes = np.array([[size(horizon)] for size in SCHEDULES.values()])
    selector, updates = Sequential("dpo", (1, 1), NAMES), horizon - 1
    path = descend(table_1(), selector, updates, sizes, visit={updates})
    columns = zip(SCHEDULES, path.visited[updates][:, 0], path.theta[:, 0], gaps(path.theta), strict=True)
    return {name: {"theta_dpo": float(a), "theta_seq": float(b), "gap": float(g)} for name, a, b, g in columns}


def mix(horizon: int, alphas: Sequence[float]) -> list[dict[str, float]]:
    """Mix with α = α0/√T for every α0: two gradients per update."""
    end = descend(table_1(), Mix(trade_off(LAM)), horizon - 1, _sizes(alphas, horizon)).theta
    return [{"theta": float(theta), "gap": float(gap)} for theta, gap in zip(end[:, 0], gaps(end), strict=True)]


def alright(horizon: int, alphas: Sequence[float], seeds: Sequence[int]) -> Array:
    """G at the end of ALRIGHT's run for every seed and every α0 (α = α0/√T), shape (seeds, alphas)."""
    coins = [ALRIGHT(trade_off(LAM), seed) for seed in seeds]
    return gaps(descend_side_by_side(table_1(), coins, horizon - 1, _sizes(alphas, horizon)))


def bound(alpha_0: float, horizon: int, lam: float = LAM) -> float:
    """Theorem 4.1 (A.8), corrected: E[G(θ_T)] ≤ ‖θ_1 − θ*‖²/(2 α0 √T) + (2 + log(T−1)) M_λ² α0/(2√T).

    M_λ² = λ M1² + (1−λ) M2², M1 = 2βΦ, M2 = 2Φ. The printed first term multiplies by α0 instead of dividing.
    """
    problem = table_1()
    m_squared = lam * (2 * problem.feature_norm) ** 2 + (1 - lam) * (2 * problem.feature_norm) ** 2  # β = 1
    distance = float(problem.start[0]) - table_1_minimiser(lam)
    noise = (2 + np.log(horizon - 1)) * m_squared * alpha_0 / 2
    return float((distance**2 / (2 * alpha_0) + noise) / np.sqrt(horizon))


def maxright_limit(lam: float, updates: int = 50_000) -> dict[str, float]:
    """Return where exact MAXRIGHT (k = 1) ends under α_t = 10/(t+1), the point of equal weighted gaps, and G there."""
    selector = MAXRIGHT(trade_off(lam), optima={"dpo": 0.0, "sft": 0.0}, k=1)
    end = descend(table_1(), selector, updates, lambda step: 10.0 / (step + 1)).theta
    limit = table_1_equal_gap(lam)
    return {
        "theta": float(end[0]),
        "equal_gap": limit,
        "mix_optimum": table_1_minimiser(lam),
        "gap": float(gaps(end, lam)),
    }


def slope(horizons: Sequence[int], gaps: Sequence[float]) -> float:
    """Return the least-squares slope of log G against log T."""
    return float(np.polyfit(np.log(horizons), np.log(gaps), 1)[0])


def _sizes(alphas: Sequence[float], horizon: int) -> Array:
    """Return α0/√T for every α0, shape (alphas, 1)."""
    return np.array([[inverse_sqrt(alpha, horizon)] for alpha in alphas])
