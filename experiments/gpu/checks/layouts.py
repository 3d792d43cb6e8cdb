"""Packed = padded: losses and gradients of both layouts on the same rows, in fp32 and in bf16."""

from collections.abc import Iterator

import torch
from finding import Said, at_most
from ours import NOISE, OBJECTIVES, STREAM, Lengths, draw_rounds, packed
from place import Place
from shapes import SMALL, TINY
from torch import Tensor, nn

from xright.data.rows import Row
from xright.forward.collate import collate
from xright.forward.rounding import relative, rounding
from xright.models.sharding import language_model

PRECISIONS = {"32-true": torch.float32, "bf16-mixed": torch.bfloat16}


def check(place: Place) -> Iterator[Said]:
    """Tolerance: what rounding makes of two right results of that dtype, depth and width (`forward/rounding.py`)."""
    shape, lengths = (TINY, Lengths(40, sft=4, pairs=3)) if place.quick else (SMALL, Lengths(700, sft=8, pairs=6))
    (rows,) = draw_rounds(lengths, shape.vocabulary, 1)
    policy = shape.policy(place.device, NOISE)
    plain = language_model(policy).config._attn_implementation
    for precision, dtype in PRECISIONS.items():
        bound = rounding(dtype, shape.layers, shape.hidden)
        for objective, stream in STREAM.items():
            language_model(policy).set_attn_implementation(plain)
            loss, gradient = step(place, policy, objective, rows[stream], precision, layout="padded")
            ours, own = step(place, policy, objective, rows[stream], precision, layout=packed(policy))
            what = f"packed = padded, {objective.upper()}, {precision}"
            yield at_most(f"{what}: loss", relative(ours, loss), bound, "relative")
            yield at_most(f"{what}: gradient", relative(own, gradient), bound, "relative")


def step(
    place: Place, policy: nn.Module, objective: str, rows: list[Row], precision: str, *, layout: str
) -> tuple[Tensor, Tensor]:
    """The loss, and its gradient by all weights as one vector."""
    batch = collate(rows, 0, layout).to(torch.device(place.device))
    with place.autocast(precision):
        loss, _ = OBJECTIVES[objective](policy, batch)
    weights = [parameter for parameter in policy.parameters() if parameter.requires_grad]
    return loss.detach(), torch.cat([part.flatten() for part in torch.autograd.grad(loss, weights)])
