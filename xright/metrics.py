"""How good a finished model is when two or more objectives pull at it: pure functions of a few numbers.

Source: arXiv 2410.15483, section 3 (optimality gap, ideal distance) and appendix B.5 (eq 52, Δm).

    gap_i          = f_i(θ) − f_i*                       in the loss's own unit (nats)
    ideal distance = sqrt(Σ_i gap_i²)                    0 at the ideal point (f_1*, f_2*, …)
    Δm(A, B)       = mean_m (−1)^l_m (A_m − B_m) / B_m   l_m = 1 where lower is better, else 0

Every objective is minimised. f_i* is the lowest value *seen* when objective i is trained alone, so a gap
may be slightly negative; nothing here clips it.

>>> ideal_distance({"dpo": gap(3.5, 0.5), "sft": gap(5.0, 1.0)})
5.0
"""

import math
from collections.abc import Mapping, Sequence

import moocore
import numpy as np
from numpy.typing import ArrayLike


def gap(value: float, optimum: float) -> float:
    """Optimality gap f_i(θ) − f_i*; negative where θ beats the best single-objective run."""
    return value - optimum


def ideal_distance(gaps: Mapping[str, float]) -> float:
    """Euclidean length of the gaps, keyed by objective name ("dpo", "sft", …); any number of objectives."""
    return math.hypot(*gaps.values())


def pareto_front(points: ArrayLike) -> list[int]:
    """Indices, in ascending order, of the points that no other point dominates (minimisation).

    `points` has shape (points, objectives). p dominates q when p ≤ q everywhere and p < q somewhere, so equal points do
    not dominate each other and both stay. A point with a missing coordinate (NaN) is not on the front.
    """
    values = _as_points(points)
    known = np.flatnonzero(~np.isnan(values).any(axis=1))
    return known[moocore.is_nondominated(values[known], keep_weakly=True)].tolist() if known.size else []


def hypervolume(points: ArrayLike, reference_point: Sequence[float]) -> float:
    """Volume that `points` (shape (points, objectives)) dominate up to `reference_point`, exactly (minimisation).

    A point that is not below the reference point in all objectives adds nothing. Raises ValueError where the reference
    point has another number of objectives.
    """
    values = _as_points(points)
    return float(moocore.hypervolume(values, ref=list(reference_point))) if values.size else 0.0


def delta_m(values: Sequence[float], baseline: Sequence[float], lower_is_better: Sequence[bool]) -> float:
    """Δm of eq 52: the mean relative improvement of `values` (A) over `baseline` (B); positive is better.

    All three run over the same metrics in the same order. Raises ValueError for unequal lengths, for no
    metric at all, and for a baseline of 0, where a relative change has no meaning.
    """
    if not len(values) == len(baseline) == len(lower_is_better) > 0:
        raise ValueError(
            f"delta_m needs the same metrics three times, got {len(values)} values, "
            f"{len(baseline)} baselines and {len(lower_is_better)} directions"
        )
    if 0 in baseline:
        raise ValueError(f"delta_m is relative to the baseline, which must not be 0: {list(baseline)}")
    changes = [
        (-1 if lower else 1) * (a - b) / b for a, b, lower in zip(values, baseline, lower_is_better, strict=True)
    ]
    return math.fsum(changes) / len(changes)


def _as_points(points: ArrayLike) -> np.ndarray:
    """An array of shape (points, objectives), also for an empty list."""
    values = np.asarray(points, dtype=float)
    if values.size == 0:
        return values.reshape(0, 0)
    if values.ndim != 2:
        raise ValueError(f"points must have shape (points, objectives), got {values.shape}")
    return values
