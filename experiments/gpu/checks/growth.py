"""How a DPO step grows with the length of its rows, ours and the padded one."""

from collections.abc import Iterator
from itertools import pairwise

import ours
import padded
import torch
from checks.steps import forget
from finding import Line, Said, at_most, skipped
from ours import NOISE, WARM, Lengths, draw_rounds
from place import Measured, Place
from shapes import M135, TINY, Shape, distinct
from torch._dynamo.utils import counters

from xright.strategies import Only

LONGEST = (512, 2048, 8192, 16384, 32768)
# Of a step's memory above the model, from one length to the next, over how many times more tokens there are: attention
# keeps a line's tokens, and would keep their pairs if there were a dense mask.
GROWTH = 1.2
GRAPHS = 8  # after which torch compiles no more, and attention would take a dense mask


def check(place: Place) -> Iterator[Said]:
    """Two pairs a step, SmolLM2-135M's shape, bf16. A length at which a step does not fit has no number."""
    shape, lengths = (TINY, (32, 64)) if place.quick else (M135, LONGEST)
    seen: list[tuple[float, float]] = []
    for longest in lengths:
        rounds = draw_rounds(Lengths(longest, sft=1, pairs=2), shape.vocabulary, WARM + 2)
        timed = rounds[WARM:]
        tokens = sum(distinct(rows["preference"]).tokens for rows in timed) / len(timed)
        found = {name: fits(place, shape, name, rounds) for name in ("xright", "padded")}
        values: dict[str, float | None] = {"longest, tokens": longest, "tokens of a line": tokens}
        for name, one in found.items():
            values |= {f"{name}, ms": one and 1e3 * one.seconds, f"{name}, above the model, GB": one and one.above_gb}
        yield Line("growth", values)
        if (one := found["xright"]) and one.above_gb:
            seen.append((tokens, one.above_gb))
    if place.is_gpu:
        graphs = counters["stats"]["unique_graphs"]
        yield at_most("graphs of attention that were compiled, for lines of all these lengths", graphs, GRAPHS)
    else:
        yield skipped("a step's memory grows as its tokens do", "peak memory is read off the CUDA allocator")
    for (tokens, before), (more, after) in pairwise(seen):
        what = f"memory of a step of {more:,.0f} tokens over one of {tokens:,.0f}, as often as tokens"
        yield at_most(what, after / before / (more / tokens), GROWTH, "×")


def fits(place: Place, shape: Shape, name: str, rounds: list[ours.Round]) -> Measured | None:
    """What a step takes; None where the device's memory does not suffice."""
    try:
        policy = shape.policy(place.device, NOISE, longest=2 * LONGEST[-1])
        if name == "padded":
            return padded.steps(place, policy, "dpo", rounds)[1]
        return ours.steps(place, policy, Only("dpo"), rounds, precision=place.training).measured
    except torch.OutOfMemoryError:
        return None
    finally:
        forget()
