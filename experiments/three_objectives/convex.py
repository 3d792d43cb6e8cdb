"""Three objectives whose optima and front are known: one prompt, four answers, three data sets.

Data set i has its own answer in 7 rows of 10 and every other in one: q_i = .7 on its own, .1 on the rest. SFT on it is

    f_i(θ) = −Σ_y q_i(y) log π(y),  π = softmax(θ);  f_i* = H(q_i) = .940448 nats, at π = q_i;  f_i − f_i* = KL(q_i ‖ π)

so Σ w_i f_i is the cross-entropy of Σ w_i q_i, and where each method should end has a formula:

    front            π = Σ w_i q_i with w on the simplex: the fourth answer, which no data set favours, has .1
    Mix, ALRIGHT     there with their own weights: π_i = .1 + .6 w_i
    MAXRIGHT         there, where all w_i (f_i − f_i*) are equal
    Sequential       π = q of the last objective, whose gap to another is KL = .6 log 7 = 1.167546 nats
    Model average    averaged logits: π ∝ Π q_i^w_i, where the fourth answer has more than .1: not on the front

Off the front, to give the fourth answer .1 and the others the rest in unchanged proportions lowers all three losses by
the same amount, kl(.1 ‖ π_4) = .1 log(.1/π_4) + .9 log(.9/(1 − π_4)): `above_front`.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from scipy.optimize import root

from xright.analysis.text.tables import Grid
from xright.strategies import ALRIGHT, MAXRIGHT, Mix, Schedule, Selector, Sequential
from xright.theory.descent import descend
from xright.theory.objectives import SFT, Array
from xright.theory.problems import Problem

NAMES = ("a", "b", "c")
SHARES = np.full((3, 4), 0.1) + 0.6 * np.eye(3, 4)  # q_i, a row each
OPTIMUM = float(-(0.7 * np.log(0.7) + 0.3 * np.log(0.1)))  # nats
OPTIMA = dict.fromkeys(NAMES, OPTIMUM)
START = np.array([0.0, 0.0, 0.0, 2.0])  # π favours the fourth answer: .83 nats above the front
STEPS, TURNS = 600, 6_000  # of a phase of steps in one direction, of a run in which objectives take turns
WEIGHTS = tuple(dict(zip(NAMES, w, strict=True)) for w in ((1 / 3, 1 / 3, 1 / 3), (0.6, 0.2, 0.2), (0.5, 0.3, 0.2)))


class Case(NamedTuple):
    """A method, the π that it should reach, and the weights of the models that it starts from, where it does."""

    label: str
    method: Selector | Schedule
    known: Array
    average: Mapping[str, float] | None = None


def problem() -> Problem:
    """The three data sets, row by row, as SFT objectives; a logit per answer."""
    answers = np.eye(4)
    rows = [[place] * 7 + [other for other in range(4) if other != place] for place in range(3)]
    sets = {
        name: SFT([[answers[y], *np.delete(answers, y, axis=0)] for y in of])
        for name, of in zip(NAMES, rows, strict=True)
    }
    return Problem(sets, OPTIMA, START)


def gaps(pi: Array) -> Array:
    """KL(q_i ‖ π) of the three data sets, in nats."""
    return (SHARES * np.log(SHARES / pi)).sum(axis=1)


def above_front(pi: Array) -> float:
    """By how much all three losses can be lowered at once, in nats; 0 on the front."""
    return float(0.1 * np.log(0.1 / pi[3]) + 0.9 * np.log(0.9 / (1 - pi[3])))


def front(weights: Mapping[str, float]) -> Array:
    """π of the front's point with these weights."""
    return np.array([weights[name] for name in NAMES]) @ SHARES


def equal_gaps(weights: Mapping[str, float]) -> Array:
    """π of the front's point where the weighted gaps are equal: a root in that point's own weights v."""
    wanted = np.array([weights[name] for name in NAMES])

    def off(v: Array) -> list[float]:
        weighted = wanted * gaps(v @ SHARES)
        return [v.sum() - 1, *np.diff(weighted)]

    return root(off, wanted, tol=1e-12).x @ SHARES


def averaged(weights: Mapping[str, float]) -> Array:
    """π of averaged logits."""
    product = np.exp(np.array([weights[name] for name in NAMES]) @ np.log(SHARES))
    return product / product.sum()


def cases() -> Iterator[Case]:
    """Sequential with each objective last once; each joint method and the average at three trade-offs."""
    for place, last in enumerate(NAMES):
        order = [*(name for name in NAMES if name != last), last]
        yield Case(f"Sequential {'→'.join(order)}", Sequential(order, (1, 1, 1), NAMES), SHARES[place])
    for weights in WEIGHTS:
        at = " ".join(f"{weight:.3g}" for weight in weights.values())
        yield Case(f"Mix {at}", Mix(weights), front(weights))
        yield Case(f"ALRIGHT {at}", ALRIGHT(weights, seed=0), front(weights))
        yield Case(f"MAXRIGHT {at}", MAXRIGHT(weights, OPTIMA), equal_gaps(weights))
        yield Case(f"MAXRIGHT {at} k=1", MAXRIGHT(weights, OPTIMA, k=1), equal_gaps(weights))
        yield Case(f"Model average {at}", Schedule([]), averaged(weights), weights)


def end(case: Case) -> Array:
    """π at the end. α = 1, but where objectives take turns 1/(1 + t/20), so that the turns die out."""
    turns = isinstance(case.method, (ALRIGHT, MAXRIGHT))
    size, steps = (lambda step: 1 / (1 + step / 20), TURNS) if turns else (1.0, STEPS)
    theta = descend(problem(), case.method, steps, size, average=case.average).theta
    return np.exp(theta - np.logaddexp.reduce(theta))


def table() -> Grid:
    """Where each method ends, and where it should."""
    heads = ["method", "π", "gaps", "known gaps", "gaps off by at most", "above the front"]
    lines = []
    for case in cases():
        pi = end(case)
        off = np.abs(gaps(pi) - gaps(case.known)).max()
        three = [", ".join(f"{value:.3f}" for value in values + 0.0) for values in (pi, gaps(pi), gaps(case.known))]
        lines.append([case.label, *three, _small(off), _small(above_front(pi))])
    return Grid(heads, lines, 4)


def _small(value: float) -> str:
    """Rounding errors as such: their digits differ from machine to machine."""
    return "< 1e-12" if abs(value) < 1e-12 else f"{value:.1e}"
