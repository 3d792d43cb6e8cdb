"""MAXRIGHT's look: it sees what both losses are, goes to the one that is behind, and computes no forward twice."""

from collections.abc import Iterator
from functools import partial

import torch
from finding import Said, at_most
from ours import HALF, NOISE, OBJECTIVES, STREAM, Lengths, draw_rounds, steps
from place import Place
from shapes import SMALL, TINY
from torch import Tensor, nn

from xright.forward.batch import Batch
from xright.forward.collate import collate
from xright.forward.rounding import relative, rounding
from xright.objectives import Objective
from xright.optim import Optim
from xright.strategies import MAXRIGHT, Only

# Plain descent: AdamW's first step is the sign of the gradient, where rounding decides about what is near zero.
DESCENT = Optim(lr=0.1, optimizer=partial(torch.optim.SGD), clip=None)


class Counted(Objective):
    """An objective that counts how often it is computed."""

    def __init__(self, objective: Objective) -> None:
        self.objective, self.stream, self.calls = objective, objective.stream, 0

    def size(self, batch: Batch) -> int:
        """As of the objective."""
        return self.objective.size(batch)

    def __call__(self, policy: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """As of the objective."""
        self.calls += 1
        return self.objective(policy, batch)


def check(place: Place) -> Iterator[Said]:
    """In fp32, one step for each winner; the losses are held to the padded layout's."""
    shape, lengths = (TINY, Lengths(40, sft=4, pairs=3)) if place.quick else (SMALL, Lengths(700, sft=8, pairs=6))
    rounds = draw_rounds(lengths, shape.vocabulary, 1)
    bound = rounding(torch.float32, shape.layers, shape.hidden)
    policy = shape.policy(place.device, NOISE)
    before, expected = vector(policy), {}
    for name, stream in STREAM.items():
        batch = collate(rounds[0][stream], 0, "padded").to(torch.device(place.device))
        with torch.no_grad():
            expected[name] = float(OBJECTIVES[name](policy, batch)[0]) / OBJECTIVES[name].size(batch)
    run = partial(steps, place, precision="32-true", rounds=rounds, optim=DESCENT, warm=0)
    for winner in STREAM:
        alone = shape.policy(place.device, NOISE)
        run(alone, rule=Only(winner))
        # Between optima of 0 and of far below, the gap to the latter is the largest.
        optima = {"dpo": 0.0, "sft": 0.0} | {winner: -1e3}
        for look, forwards in (("grad", 2), ("no_grad", 3)):
            policy, counted = shape.policy(place.device, NOISE), {n: Counted(o) for n, o in OBJECTIVES.items()}
            watch = run(policy, rule=MAXRIGHT(HALF, optima, k=1), look=look, objectives=counted)
            (seen,) = watch.outputs
            what = f"{winner.upper()} is behind, look={look}"
            yield at_most(f"{what}: steps that went elsewhere", int(seen["weights"] != {winner: 1.0}), 0)
            off = max(abs(seen["seen_gaps"][name] + optima[name] - expected[name]) / expected[name] for name in STREAM)
            # Gaps are told in fp64, but beside −1,000.
            yield at_most(f"{what}: losses seen, against padded", off, bound + 1e-9, "relative")
            computed = sum(one.calls for one in counted.values())
            yield at_most(f"{what}: forwards", computed, forwards)
            moved = relative(vector(policy) - before, vector(alone) - before)
            yield at_most(f"{what}: update, against that objective's alone", moved, 10 * bound, "relative")


def vector(policy: nn.Module) -> Tensor:
    """All weights as one, on the CPU."""
    return torch.cat([parameter.detach().cpu().flatten() for parameter in policy.parameters()])
