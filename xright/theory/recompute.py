"""Every number of `theory.json` as a list of independent tasks, computed on all cores.

    lower_bound.{lam}            theta_star, f_star, gap_at_zero
    sequential.{schedule}.{T}    theta_dpo, theta_seq, gap
    mix.{alpha0}.{T}             theta, gap
    alright.{alpha0}.{T}         mean_gap, standard_error, seeds, bound
    alright_exact.{alpha0}.{T}   E[G] over all 2^(T−1) paths
    alright_expected.{alpha0}.{T}, alright_slope.10    E[G] without drawing for any T; slope of its log over 10² … 10⁵
    maxright_limit.{lam}         theta, equal_gap, mix_optimum, gap
    toy.{variant}.{method}       theta, f_dpo, f_sft, ideal_distance (ALRIGHT: means, and …_sd over seeds)
    toy_lam.{lam}.{method}, toy_k.{k}    the same on the swapped variant, for other λ, and for MAXRIGHT's k

Gaps and losses in nats; λ = 0.5 where it is not a key; keys are strings, as in JSON.
"""

import os
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from xright.theory import expectation, forgetting, toy

LAMS = (0.25, 0.5, 0.75)
ALPHAS = (1.0, 10.0)
HORIZONS = (100, 1_000, 10_000, 100_000)  # of ALRIGHT's drawn runs
FINE_HORIZONS = (10, 32, 100, 316, 1_000, 3_162, 10_000, 31_623, 100_000)  # of everything that is not drawn
EXACT_HORIZONS = range(2, 12)
KS = (1, 10, 100, 1_000)
TOY_SEEDS = range(20)
CHUNK = 1_600_000  # ALRIGHT's draws per task


class Task(NamedTuple):
    """function(*arguments) is the value at `key`; cost in selector steps, for the bar."""

    key: tuple[str, ...]
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    cost: int


def recompute(seeds: int, processes: int | None = None) -> dict[str, Any]:
    """All sections above. seeds: of ALRIGHT's runs; an eighth of them at T = 10⁵."""
    tasks = sorted(_tasks(seeds), key=lambda task: -task.cost)
    found: dict[tuple[str, ...], Any] = {}
    bar = tqdm(total=sum(task.cost for task in tasks), desc="theory", unit="step", unit_scale=True, dynamic_ncols=True)
    with bar, ProcessPoolExecutor(processes or os.cpu_count()) as pool:
        running = {pool.submit(task.function, *task.arguments): task for task in tasks}
        pending = set(running)
        while pending:
            done, pending = wait(pending, timeout=1, return_when=FIRST_COMPLETED)
            for future in done:
                found[running[future].key] = future.result()
                bar.update(running[future].cost)
            bar.refresh()  # the clock goes on while the long tasks run
    return _sections(found)


def _tasks(seeds: int) -> Iterable[Task]:
    """Keys are those of the result; "sequential" is all schedules at once, "mix" all α0, "alright" both, in chunks."""
    for lam in LAMS:
        yield Task(("lower_bound", f"{lam:g}"), forgetting.lower_bound, (lam,), 1)
        yield Task(("maxright_limit", f"{lam:g}"), forgetting.maxright_limit, (lam,), 200_000)
    for horizon in FINE_HORIZONS:
        yield Task(("sequential", str(horizon)), forgetting.sequential, (horizon,), 4 * horizon)
        yield Task(("mix", str(horizon)), forgetting.mix, (horizon, ALPHAS), 3 * horizon)
    for horizon in HORIZONS:
        count = seeds if horizon < HORIZONS[-1] else max(2, seeds // 8)
        chunk = max(1, CHUNK // horizon)
        for first in range(0, count, chunk):
            some = range(first, min(first + chunk, count))
            cost = (len(some) + 4) * horizon
            yield Task(("alright", str(horizon), str(first)), forgetting.alright, (horizon, ALPHAS, some), cost)
    for alpha in ALPHAS:
        for horizon in EXACT_HORIZONS:
            yield Task(("alright_exact", f"{alpha:g}", str(horizon)), expectation.by_enumeration, (alpha, horizon), 1)
        for horizon in FINE_HORIZONS:
            yield Task(("alright_expected", f"{alpha:g}", str(horizon)), expectation.expected_gap, (alpha, horizon), 1)
    yield from _toy_tasks()


def _toy_tasks() -> Iterable[Task]:
    """Yield the tasks of the two-parameter example."""
    cost, drawn_cost = 5 * toy.STAGE, 2 * toy.STAGE * (len(TOY_SEEDS) + 4)
    for variant in toy.VARIANTS:
        for method in ("sequential", "maxright", "mix"):
            yield Task(("toy", variant, method), toy.run, (variant, method), cost)
        yield Task(("toy", variant, "alright"), toy.run_alright, (variant, 0.5, TOY_SEEDS), drawn_cost)
    for lam in (0.25, 0.75):
        for method in ("maxright", "mix"):
            yield Task(("toy_lam", f"{lam:g}", method), toy.run, ("swapped", method, lam), cost)
        yield Task(("toy_lam", f"{lam:g}", "alright"), toy.run_alright, ("swapped", lam, TOY_SEEDS), drawn_cost)
    for k in KS:
        yield Task(("toy_k", str(k)), toy.run, ("swapped", "maxright", 0.5, k), cost)


def _sections(found: dict[tuple[str, ...], Any]) -> dict[str, Any]:
    """The nested result, in the order of the tasks' kinds and keys."""
    drawn: dict[str, list[np.ndarray]] = defaultdict(list)
    result: dict[str, Any] = {}
    for key in sorted(found, key=_natural):
        kind, value = key[0], found[key]
        if kind == "sequential":
            for schedule, row in value.items():
                _put(result, (kind, schedule, key[1]), row)
        elif kind == "mix":
            for alpha, row in zip(ALPHAS, value, strict=True):
                _put(result, (kind, f"{alpha:g}", key[1]), row)
        elif kind == "alright":
            drawn[key[1]].append(value)
        else:
            _put(result, key, value)
    for horizon, chunks in drawn.items():
        for alpha, gaps in zip(ALPHAS, np.concatenate(chunks).T, strict=True):
            _put(result, ("alright", f"{alpha:g}", horizon), _mean(gaps, alpha, int(horizon)))
    expected = [result["alright_expected"]["10"][str(horizon)] for horizon in HORIZONS]
    result["alright_slope"] = {"10": forgetting.slope(HORIZONS, expected)}
    return result


def _mean(gaps: np.ndarray, alpha: float, horizon: int) -> dict[str, float | int]:
    """Mean over seeds, its standard error, and the bound that it must not exceed."""
    error = float(gaps.std(ddof=1) / np.sqrt(len(gaps)))
    bound = forgetting.bound(alpha, horizon)
    return {"mean_gap": float(gaps.mean()), "standard_error": error, "seeds": len(gaps), "bound": bound}


def _put(result: dict[str, Any], key: tuple[str, ...], value: Any) -> None:
    """Set result[a][b][c] to the value, for the key (a, b, c)."""
    for name in key[:-1]:
        result = result.setdefault(name, {})
    result[key[-1]] = value


def _natural(key: tuple[str, ...]) -> list[tuple[float, str]]:
    """Return a key that sorts numbers by their size."""
    return [(float(part), "") if part.replace(".", "").isdigit() else (0.0, part) for part in key]
