"""Gradient descent on a convex problem, driven by the same Selector objects that train language models.

    θ_{t+1} = Π_Θ(θ_t − α_t (Σ_i w_i(t) ∇f_i(θ_t) + decay · θ_t))         (arXiv 2410.15483, algs 1-2, eq 10)

The loop is that of `JointModule.training_step`: look if asked; get weights; step; observe. Gradients are exact, so the
selector's choice is the only chance there is, and those of two halves of a step are the same.

>>> from xright.strategies import Mix
>>> from xright.theory.problems import table_1, trade_off
>>> descend(table_1(), Mix(trade_off(0.5)), steps=2_000, step_size=1.0).theta.round(3)
array([-5.])
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xright.strategies import Only, Schedule, Selector
from xright.theory.objectives import Array
from xright.theory.problems import Problem

StepSize = float | Array | Callable[[int], float | Array]
Projection = Callable[[Array], Array]


@dataclass
class Path:
    """theta: where descent ended; visited: θ after the asked-for numbers of steps."""

    theta: Array
    visited: dict[int, Array]


def descend(
    problem: Problem,
    method: Selector | Schedule,
    steps: int,
    step_size: StepSize,
    *,
    epochs: int = 1,
    average: Mapping[str, float] | None = None,
    decay: float = 0.0,
    project: Projection | None = None,
    stage_ends_below: float | None = None,
    visit: Collection[int] = (),
) -> Path:
    """Descend for the phases that the method makes of `epochs` epochs of `steps` steps each.

    average: start from the average, with these weights, of where each objective alone ends (model averaging).
    step_size: α, or a function of the step within its phase. An array (runs, 1) of them makes θ (runs, d): several
    step sizes at once under the same choices, for selectors that never look (ValueError for others).
    decay: L2 weight decay. project: Π onto the set Θ. stage_ends_below: a phase ends as soon as the loss it descends
    is below this in every run (checked before each step). visit: numbers of steps taken after which θ is kept; 0 is
    the start.
    """
    size = step_size if callable(step_size) else lambda _: step_size
    theta = problem.start + np.zeros((*np.shape(size(0))[:-1], len(problem.start)))
    if average:
        same: Any = {"epochs": epochs, "decay": decay, "project": project, "stage_ends_below": stage_ends_below}
        ends = {name: descend(problem, Only(name), steps, step_size, **same).theta for name in average}
        theta = sum((weight * ends[name] for name, weight in average.items()), np.zeros_like(theta))
    taken, visited = 0, {0: theta} if 0 in visit else {}
    for selector, length in Schedule.of(method).steps(steps, epochs):
        means = np.zeros(1)  # of gradients, where the selector tracks them
        for step in range(length):
            if looked := selector.looks(step):
                if theta.ndim > 1:
                    raise ValueError(f"{selector} looks at losses, so it drives one run, not {len(theta)} step sizes")
                selector.observe({name: float(problem.objectives[name].loss(theta)) for name in looked})
            if compared := selector.compares(step):
                if theta.ndim > 1:
                    raise ValueError(
                        f"{selector} compares gradients, so it drives one run, not {len(theta)} step sizes"
                    )
                gradients = np.stack([problem.objectives[name].gradient(theta) for name in compared])
                if (share := selector.tracks(step)) is not None:
                    gradients = means = means + share * (gradients - means)
                weights = selector.combine(step, gradients @ gradients.T)
                direction = np.array([weights.get(name, 0.0) for name in compared]) @ gradients
            else:
                weights = selector.weights(step)
                direction = problem.mixture(weights).gradient(theta)
            losses = {name: problem.objectives[name].loss(theta) for name in compared or weights}
            if stage_ends_below is not None and all(np.all(loss < stage_ends_below) for loss in losses.values()):
                break
            theta = theta - size(step) * (direction + decay * theta)
            theta = project(theta) if project else theta
            if theta.ndim == 1:
                selector.observe({name: float(loss) for name, loss in losses.items()})
            if reviewed := selector.reviews(step):
                selector.review({name: float(problem.objectives[name].loss(theta)) for name in reviewed})
            taken += 1
            if taken in visit:
                visited[taken] = theta
    return Path(theta, visited)


def descend_side_by_side(
    problem: Problem, selectors: Sequence[Selector], steps: int, step_size: float | Array, decay: float = 0.0
) -> Array:
    """Many runs at once, each with its own selector that never looks (ALRIGHT's seeds); θ at the end.

    step_size: α, or (settings, 1) of them under the same choices. Returns (selectors, d) or (selectors, settings, d):
    what `descend` gives one by one (a test compares them), an order of magnitude sooner.
    """
    theta = problem.start + np.zeros((len(selectors), *np.shape(step_size)[:-1], len(problem.start)))
    over_runs = (-1, *(1,) * (theta.ndim - 1))
    for step in range(steps):
        weights = [selector.weights(step) for selector in selectors]
        direction = decay * theta
        for name in sorted(set().union(*weights)):
            share = np.array([chosen.get(name, 0.0) for chosen in weights]).reshape(over_runs)
            direction += share * problem.objectives[name].gradient(theta)
        theta = theta - step_size * direction
    return theta


def ball(radius: float, centre: Array | float = 0.0) -> Projection:
    """Π onto {θ: ‖θ − centre‖ ≤ radius}, the set Θ of theorem 4.1."""

    def project(theta: Array) -> Array:
        offset = theta - centre
        length = np.linalg.norm(offset, axis=-1, keepdims=True)
        return centre + offset * (radius / np.maximum(length, radius))

    return project


def inverse_sqrt(alpha_0: float, horizon: int) -> float:
    """The constant step size α = α0/√T of theorem 4.1 for a run of T iterates (T − 1 updates)."""
    return alpha_0 / float(np.sqrt(horizon))
