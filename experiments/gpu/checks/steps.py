"""What a step takes, and how much memory: each rule's of ours, the padded one, and TRL's, all on the same rows."""

import gc
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import ours
import padded
import torch
import trl_rival
from finding import Finding, Line, Said, at_least, at_most, skipped
from ours import HALF, NOISE, STREAM, WARM, Lengths, Round, draw_rounds
from place import Measured, Place
from shapes import M135, TINY, Shape

from xright.pipeline.reference import reference_logps
from xright.strategies import ALRIGHT, MAXRIGHT, Mix, Only, Selector

AHEAD = {"dpo": 0.0, "sft": -1e9}  # optima that leave SFT far behind: it is always picked
RULES: dict[str, Selector] = {
    "SFT": Only("sft"),
    "DPO": Only("dpo"),
    "Mix": Mix(HALF),
    "ALRIGHT": ALRIGHT(HALF, seed=0),
    "MAXRIGHT, each step looks": MAXRIGHT(HALF, AHEAD, k=1),
    "MAXRIGHT, between looks": MAXRIGHT(HALF, AHEAD, k=10**6),
}
RIVALS = ("padded", *trl_rival.KERNELS)
LOSSES = {"32-true": 1e-4, "bf16-mixed": 2e-2}  # how far losses of the same rows may be apart
BARS = {"dpo": 1.5, "sft": 1.2}  # times faster than TRL at its best here, for an H200


def check(place: Place) -> Iterator[Said]:
    """SmolLM2-135M's shape, all of it trained, bf16; steps are timed from end to end of a row of them."""
    shape, lengths = (TINY, Lengths(40, sft=4, pairs=3)) if place.quick else (M135, Lengths(1024, sft=16, pairs=8))
    drawn = draw_rounds(lengths, shape.vocabulary, WARM + (1 if place.quick else 6))
    rounds = with_reference(place, shape, drawn)
    takes: dict[str, Measured] = {}
    losses: dict[str, dict[str, list[float]]] = {objective: {} for objective in STREAM}
    for name, rule in RULES.items():
        watch = ours.steps(place, shape.policy(place.device, NOISE), rule, rounds, precision=place.training)
        assert watch.measured
        takes[name] = watch.measured
        yield line(f"xright: {name}", watch.measured)
        if name.lower() in STREAM:
            losses[name.lower()]["xright"] = [outputs["losses"][name.lower()] for outputs in watch.outputs]
        forget()
    for objective in STREAM:
        for rival in RIVALS:
            told = yield from against(place, shape, rival, objective, rounds=rounds)
            if told:
                losses[objective][rival], takes[f"{rival}: {objective}"] = told
            forget()
    yield from agreement(place, losses)
    yield from bars(place, takes)


def against(place: Place, shape: Shape, rival: str, objective: str, *, rounds: Sequence[Round]) -> Iterator[Said] | Any:
    """A rival's losses and what its step takes, or None."""
    name = f"{rival}: {objective.upper()}"
    if rival != "padded" and (reason := trl_rival.absent(place, rival)):
        yield skipped(name, reason)
        return None
    try:
        if rival == "padded":
            found = padded.steps(place, shape.policy(place.device, NOISE), objective, rounds)
        else:
            found = trl_rival.steps(place, shape, rival, objective, rounds)
    except Exception as error:  # theirs: it is no fault of ours that they cannot
        yield skipped(name, f"it could not make its steps ({type(error).__name__}: {str(error).strip()[:150]})")
        return None
    yield line(name, found[1])
    return found


def agreement(place: Place, losses: dict[str, dict[str, list[float]]]) -> Iterator[Finding]:
    """All see the same function on the same rows; DPO's margin is a difference of sums over an answer's tokens."""
    for objective, found in losses.items():
        own = found.pop("xright")
        for rival, theirs in found.items():
            off = max(abs(a - b) / abs(b) for a, b in zip(own, theirs, strict=True))
            what = f"loss of each {objective.upper()} step, against {rival}"
            yield at_most(what, off, LOSSES[place.training], "relative")


def bars(place: Place, takes: dict[str, Measured]) -> Iterator[Finding]:
    """What is asked of these numbers."""
    if place.quick:
        yield skipped("how much faster than the others", "the sizes of --quick prove nothing about time")
        return
    for objective, bar in BARS.items():
        name, mine = objective.upper(), takes[objective.upper()]
        if usual := takes.get(f"padded: {objective}"):
            yield at_least(f"{name} step, times faster than padded", usual.seconds / mine.seconds, 1.0, "×")
            if usual.above_gb and mine.above_gb:
                share = mine.above_gb / usual.above_gb
                yield at_most(f"{name} step's memory above the model, of padded", share, 1.0, "×")
        trl = [takes[key].seconds for rival in trl_rival.KERNELS if (key := f"{rival}: {objective}") in takes]
        if trl:
            yield at_least(f"{name} step, times faster than TRL's best", min(trl) / mine.seconds, bar, "×")
        else:
            yield skipped(f"{name} step, times faster than TRL's best", "no step of TRL's was timed here")
    pure = takes["SFT"].seconds + takes["DPO"].seconds
    yield at_most("Mix step, of an SFT and a DPO step", takes["Mix"].seconds / pure, 1.1, "×")
    between = takes["MAXRIGHT, between looks"].seconds / takes["SFT"].seconds
    yield at_most("MAXRIGHT step between looks, of the SFT step that it picks", between, 1.1, "×")


def with_reference(place: Place, shape: Shape, rounds: Sequence[Round]) -> list[Round]:
    """The rounds with the log-probs of the model that the policies began as."""
    pairs = [row for rows in rounds for row in rows["preference"]]
    ids, logps = reference_logps(shape.policy(place.device), pairs, pad=0, layout="padded")
    table = dict(zip(ids.tolist(), map(tuple, logps.tolist()), strict=True))
    known = partial(map, lambda row: replace(row, reference=table[row.id]))
    return [rows | {"preference": [*known(rows["preference"])]} for rows in rounds]


def line(name: str, measured: Measured) -> Line:
    """Of the table of steps."""
    values = {"ms": 1e3 * measured.seconds, "peak, GB": measured.peak_gb, "above the model, GB": measured.above_gb}
    return Line("steps", {"step": name} | values)


def forget() -> None:
    """Let go of what the last contestant held."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
