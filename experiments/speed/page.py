"""From `results.csv` and `results.json` to the figures and the measured part of `README.md`; `run.py` calls it.

Alone, `python experiments/speed/page.py random|real [cpu]` writes one of the pages again, with `cpu` from processor
time instead of wall time: what is left to judge by when other programs had the core now and then.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from bars import FULL, LARGE, LORA, OBJECTIVES, REAL, REAL_FULL, Bar, Measured, bars, real_bars
from contestants import TECHNIQUES
from figures import AXES, draw_all, points_of
from pilot import STREAM, objective_of
from race import SELDOM

sys.path.insert(0, str(Path(__file__).parents[1]))
from publish import between_markers

HERE = Path(__file__).parent
ROWS = [*(name for name in TECHNIQUES if name != "trie"), "bare", "ours", "TRL stock", "TRL compact"]


def write(folder: Path, time: str = "seconds") -> str:
    """Figures into `folder`; returns the measured part. time: `seconds` (wall) or `cpu`."""
    measured = read(folder, time)
    draw_all(measured, folder)
    parts = [
        table_of_bars(bars(measured)),
        techniques(measured, (LORA, LARGE, FULL)),
        growth(measured),
        batches(measured.found),
        surroundings(measured, time),
    ]
    return "\n".join("\n".join(part) + "\n" for part in parts)


def write_real(folder: Path, time: str = "seconds") -> str:
    """The measured part of the real model's page."""
    measured = read(folder, time)
    parts = [
        table_of_bars(real_bars(measured)),
        one_after_the_other(measured),
        techniques(measured, [race for race in (REAL, REAL_FULL) if race in measured.seconds]),
        kinds(measured.found.get("kinds", {})),
        batches(measured.found),
        surroundings(measured, time),
    ]
    return "\n".join(f"{text}\n" for part in parts if (text := "\n".join(part)))


def read(folder: Path, time: str) -> Measured:
    """What `measure` wrote."""
    found = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    return Measured(pd.read_csv(folder / "results.csv"), found, time)


def row(*cells: object) -> str:
    """One line of a Markdown table."""
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def table_of_bars(found: Sequence[Bar]) -> Iterable[str]:
    """Bar, target, measured, verdict."""
    yield row("bar", "what", "target", "measured: median (quartiles)", "holds")
    yield "| ---: | --- | --- | --- | --- |"
    for bar in found:
        holds = ("yes" if bar.holds else "**no**") if bar.target != "–" else ""
        yield row(bar.number, bar.claim, bar.target, bar.measured, holds)


def one_after_the_other(measured: Measured) -> Iterable[str]:
    """What each technique makes of the naive step, in tokens that go through the model and in time."""
    titles = [f"{objective.upper()}: {what}" for objective in OBJECTIVES for what in ("tokens", "of naive", "time")]
    yield row(f"{REAL}: what is computed", *titles)
    yield "| --- |" + " ---: |" * len(titles)
    for name in TECHNIQUES:
        cells = []
        for objective in OBJECTIVES:
            counts = measured.found["batches"][REAL][STREAM[objective]]
            tokens = counts[{"padded": "padded", "alone": "tokens"}.get(TECHNIQUES[name][0], TECHNIQUES[name][0])]
            time = technique(measured, name, REAL, objective)
            cells += [f"{tokens:,.0f}", f"{tokens / counts['padded']:.2f}", time] if time else [""] * 3
        yield row(name, *cells)


def kinds(found: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Iterable[str]:
    """Where the time of a step of ours goes, if that has been measured."""
    if not found:
        return
    names = list(next(iter(next(iter(found.values())).values())))[1:]
    yield row("step of ours, profiled", "seconds", *names)
    yield "| --- |" + " ---: |" * (1 + len(names))
    for race, steps in found.items():
        for name, own in steps.items():
            shares = (f"{own[kind] / own['seconds']:.0%}" for kind in names)
            yield row(f"{race}: {objective_of(name).upper()}", f"{own['seconds']:.2f}", *shares)


def techniques(measured: Measured, races: Sequence[str]) -> Iterable[str]:
    """Time of every step as a fraction of the naive one; peak memory where it was measured."""
    columns = [(race, objective) for race in races for objective in OBJECTIVES]
    yield row("time, of naive", *(f"{objective.upper()}, {race}" for race, objective in columns))
    yield "| --- |" + " --- |" * len(columns)
    for name in ROWS:
        yield row(name, *(technique(measured, name, *column) for column in columns))


def technique(measured: Measured, name: str, race: str, objective: str) -> str:
    """One cell: ratio (and milliseconds for naive), memory."""
    contestant, naive = f"{objective}/{name}", f"{objective}/naive"
    if contestant not in measured.seconds[race]:
        return ""
    text = f"{measured.ratio(race, contestant, naive).median():.2f}"
    if name == "naive":
        text += f" = {1e3 * measured.seconds[race][naive].median():.0f} ms"
    peaks = measured.found.get("peaks", {}) if race in (LARGE, REAL) else {}
    return text + (f" · {pd.Series(peaks[contestant]).median():.0f} MB" if contestant in peaks else "")


def growth(measured: Measured) -> Iterable[str]:
    """How many times longer the others take than we do, along both axes."""
    yield row("ours is faster than …", "step", "naive", "TRL compact", "the limit", "ours, ms")
    yield "| --- | --- | ---: | ---: | ---: | ---: |"
    for axis in AXES:
        for point in points_of(measured, axis):
            for objective in OBJECTIVES:
                race, own = f"{axis} {point}", f"{objective}/ours"
                rivals = ("naive", "TRL compact", "bare")
                ratios = (f"{measured.ratio(race, f'{objective}/{rival}', own).median():.2f}×" for rival in rivals)
                milliseconds = 1e3 * measured.seconds[race][own].median()
                yield row(race.replace(" ", " = "), objective.upper(), *ratios, f"{milliseconds:.0f}")


def batches(found: Mapping[str, Any]) -> Iterable[str]:
    """Token counts and padding."""
    names = {"sft": "SFT", "preference": "DPO"}
    counted = ("tokens", "… of a packed line", "predicted", "longest", "padding when padded")
    yield row("batch (mean of the measured rounds)", *counted)
    yield "| --- |" + " ---: |" * 5
    for race, streams in found["batches"].items():
        for stream, batch in streams.items():
            counts = (f"{batch[key]:.0f}" for key in ("tokens", "trie", "predicted", "longest"))
            yield row(f"{race}: {names[stream]}", *counts, f"{batch['padding']:.0%}")


def surroundings(measured: Measured, time: str) -> Iterable[str]:
    """Machine, versions, allocator; how far the machine was ours; how many rounds there were."""
    about, steps = measured.found["about"], measured.steps
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    machine = f"{about['cpu']} ({about['isa']}, {about['cores']} cores), {about['threads']} thread of torch"
    malloc = ", ".join(f"{key}={value}" for key, value in about["malloc"].items()) or "no MALLOC_* set"
    yield f"Measured on {machine}, in {about['minutes']:.0f} minutes; {versions}."
    yield f"Allocator: {about['allocator']}, {malloc}."
    clock = "wall time" if time == "seconds" else "processor time of this process"
    share = steps["cpu"].sum() / steps["seconds"].sum()
    yield f"Figures are {clock}; the process had its core for {share:.0%} of the time."
    counted = {race: int(own["dpo/ours"].count()) for race, own in measured.seconds.items()}
    yield f"Measured rounds: {', '.join(f'{race} {count}' for race, count in counted.items())}."
    yield f"Steps that no bar is about take part in the first {SELDOM}."


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", choices=("random", "real"))
    parser.add_argument("time", choices=("seconds", "cpu"), nargs="?", default="seconds")
    asked = parser.parse_args()
    if asked.which == "random":
        between_markers(HERE / "README.md", write(HERE, asked.time))
    else:
        between_markers(HERE / "smollm2.md", write_real(HERE / "smollm2", asked.time))
