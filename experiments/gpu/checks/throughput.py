"""Tokens per second and model FLOP utilisation, counted on real tokens, in the shapes of three known models."""

from collections.abc import Iterator
from dataclasses import replace

import ours
import torch
from checks.steps import forget
from finding import Line, Said, at_least, failed, skipped
from ours import NOISE, STREAM, WARM, Lengths, draw_rounds
from place import Place
from shapes import B1, B8, M135, TINY, Shape, distinct, everything

from xright.strategies import Only

MFU_BAR = 0.45  # for the 8B shape, on an H200
TIMED = 3  # steps
LENGTHS = Lengths(2048, sft=16, pairs=8)


def check(place: Place) -> Iterator[Said]:
    """bf16, random weights, rows of up to 2,048 tokens; MFU of the vendor's figure where it is known, and of a matrix
    product measured here. Half as many rows where a step's memory does not suffice."""
    measured, sheet = place.peak_flops()
    rates = {"matrix product here, TFLOP/s": measured / 1e12, "data sheet, TFLOP/s": sheet and sheet / 1e12}
    yield Line("device", {"device": place.name} | rates)
    best = 0.0
    for shape in (TINY,) if place.quick else (M135, B1, B8):
        room = torch.cuda.mem_get_info()[0] if place.is_gpu else float("inf")
        if shape.bytes > 0.9 * room:
            needs, has = shape.bytes / 1e9, room / 1e9
            yield skipped(f"{shape.name} shape", f"weights and moments take {needs:.0f} GB and {has:.0f} GB are free")
            continue
        for objective in STREAM:
            name = f"{shape.name} shape, {objective.upper()}"
            try:
                line = fitting(place, shape, objective, peaks=(measured, sheet))
            except Exception as error:  # the other shapes may do
                yield failed(name, error)
                continue
            finally:
                forget()
            yield line or skipped(name, "one pair's step does not fit the device")
            if line and shape is B8:
                best = max(best, line.values["MFU, distinct"])
    if "H200" in place.name and not place.quick:
        yield at_least("MFU of the 8B shape on distinct tokens, its better objective", best, MFU_BAR)
    else:
        yield skipped("MFU of the 8B shape", f"the bar of {MFU_BAR:.0%} is for an H200, and this is {place.name}")


def fitting(place: Place, shape: Shape, objective: str, *, peaks: tuple[float, float | None]) -> Line | None:
    """A line of the table, of as many rows as fit; None where not even a pair does."""
    lengths = Lengths(40, sft=4, pairs=2) if place.quick else LENGTHS
    while lengths.pairs:
        if line := row(place, shape, objective, lengths, peaks=peaks):
            return line
        forget()
        lengths = replace(lengths, sft=lengths.sft // 2, pairs=lengths.pairs // 2)
    return None


def row(
    place: Place, shape: Shape, objective: str, lengths: Lengths, *, peaks: tuple[float, float | None]
) -> Line | None:
    """A line of the table; None where memory did not suffice."""
    rounds = draw_rounds(lengths, shape.vocabulary, WARM + TIMED)
    try:
        policy = shape.policy(place.device, NOISE)
        found = ours.steps(place, policy, Only(objective), rounds, precision=place.training).measured
    except torch.OutOfMemoryError:
        return None
    assert found
    timed = [one[STREAM[objective]] for one in rounds[WARM:]]
    rates: dict[str, float | None] = {}
    for name, count in (("distinct", distinct), ("all", everything)):
        works = [count(rows) for rows in timed]
        tokens, flops = (sum(numbers) / TIMED / found.seconds for numbers in (
            [work.tokens for work in works], [shape.flops(work) for work in works],
        ))  # fmt: skip
        measured, sheet = peaks
        rates |= {f"tokens/s, {name}": tokens, f"MFU, {name}": flops / (sheet or measured)}
        rates |= {f"of the product here, {name}": flops / measured}
    trained = "LoRA" if shape.lora else "full"
    values = {"shape": shape.name, "trained": trained, "objective": objective.upper(), "rows": len(timed[0])}
    return Line("throughput", values | {"ms": 1e3 * found.seconds, "peak, GB": found.peak_gb} | rates)
