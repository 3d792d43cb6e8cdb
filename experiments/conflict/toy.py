"""Two linear regressions that share their weights: steps of AdamW on rows, where every product is known.

f_i(θ) = mean over rows of ½ (x·θ − y)²,  y = x·θ_i + noise,  x ~ N(0, diag s²) with s from 1 down to 1/30, so that raw
gradients are of very different sizes. f_i is quadratic, with Hessian H_i = mean of x xᵀ, and for any step Δ

    f_i(θ + Δ) − f_i(θ) = ⟨g_i, Δ⟩ + ½ Δᵀ H_i Δ      exactly
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch
from products import CHANGES, Step
from torch import Tensor, nn

from xright.strategies import Selector
from xright.training.gradients import Gradients

DIM, ROWS, BATCH, STEPS = 30, 400, 8, 200  # weights; rows of each objective, half of them held out; rows a step
NOISE, LR = 0.5, 0.02
NAMES = ("first", "second")
Rows = tuple[Tensor, Tensor]


def problem(seed: int) -> dict[str, Rows]:
    """{objective: (x (ROWS, DIM), y (ROWS,))} in fp64."""
    draw = np.random.default_rng(seed)
    scales = np.geomspace(1, 1 / 30, DIM)
    found = {}
    for name in NAMES:
        x = draw.normal(size=(ROWS, DIM)) * scales
        y = x @ (draw.normal(size=DIM) / scales**0.5) + NOISE * draw.normal(size=ROWS)
        found[name] = (torch.tensor(x), torch.tensor(y))
    return found


def loss(theta: Tensor, rows: Rows) -> Tensor:
    """f of these rows."""
    x, y = rows
    return (0.5 * (x @ theta - y) ** 2).mean()


def train(
    rule: Selector,
    seed: int,
    optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.AdamW,
    steps: int = STEPS,
    every: int = 4,
    **options: Any,
) -> pd.DataFrame:
    """products.COLUMNS of every `every`-th step, and `second order`, ½ Δᵀ H_i Δ. options: of the optimizer."""
    data, draw, found = problem(seed), np.random.default_rng(seed), []
    theta = nn.Parameter(torch.zeros(DIM, dtype=torch.float64))
    descent = optimizer([theta], **options)
    held = {name: (x[ROWS // 2 :], y[ROWS // 2 :]) for name, (x, y) in data.items()}
    for step in range(steps):
        rows = {name: _drawn(data[name], draw) for name in NAMES}
        gradients = Gradients([theta])
        for name in NAMES:
            loss(theta, rows[name]).backward()
            gradients.take(name)
        own = {name: [gradient.clone() for gradient in taken] for name, (taken,) in gradients.taken.items()}
        measured = Step([theta], descent, own) if step % every == every // 2 else None
        before = {name: _both(theta, rows[name], held[name]) for name in NAMES}
        compared = rule.compares(step)
        gramian = gradients.gramian(descent if rule.metric == "adam" else None)
        gradients.put(rule.combine(step, gramian) if compared else rule.weights(step))
        if measured:
            measured.descend()
        descent.step()
        descent.zero_grad()
        for name, row in measured.found().items() if measured else ():
            changes = dict(zip(CHANGES, np.subtract(_both(theta, rows[name], held[name]), before[name]), strict=True))
            moved, x = theta.detach() - measured.start[0], rows[name][0]
            second = 0.5 * float(((x @ moved) ** 2).mean())
            found.append({
                "step": step, "objective": name, "before": before[name][0], **changes, **row, "second order": second,
            })  # fmt: skip
    return pd.DataFrame(found)


def _both(theta: Tensor, rows: Rows, held: Rows) -> tuple[float, float]:
    """f of the step's rows, f of the held-out rows."""
    return loss(theta.detach(), rows).item(), loss(theta.detach(), held).item()


def _drawn(rows: Rows, draw: np.random.Generator) -> Rows:
    """A step's rows, of those that are not held out."""
    places = draw.integers(0, ROWS // 2, BATCH)
    return rows[0][places], rows[1][places]
