"""The estimate as a table: measured.json and conf/experiment in, a row per experiment and method out."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from statistics import median
from typing import Any

import pandas as pd
import plans
from estimate import EXA, GPU, MEASURED, hours, run, stages, step


def costs(measured: Mapping[str, Any]) -> pd.DataFrame:
    """Columns experiment, method, runs, steps (per run), exaflop (of all runs), seconds_per_step, tokens and predicted
    (of one pair or row), wall_seconds, machine, hours_here, hours_gpu.

    method: a strategy; `stages`, what runs share, without what an earlier row's experiment leaves in the cache;
    `step/dpo` and `step/sft`, one optimizer step. Under `measured`: one pair and one row, which give the speed. Seconds
    and hours here are of one core.
    """
    timed = measured["steps"]
    seconds = {name: median(found["cpu_seconds"]) for name, found in timed.items()}
    speed = sum(found["flop"] for found in timed.values()) / sum(seconds.values())
    rows = [
        {
            "experiment": MEASURED, "method": f"step/{name}", "runs": len(found["cpu_seconds"]), "steps": 1,
            "exaflop": found["flop"] / EXA, "seconds_per_step": seconds[name], "tokens": found["tokens"],
            "predicted": found["predicted"], "wall_seconds": median(found["seconds"]), "machine": machine(measured),
        }
        for name, found in timed.items()
    ]  # fmt: skip
    for name, method, count, steps, flop in estimated(measured["lengths"]):
        here, length = hours(flop, speed), mean_length(name, method, measured["lengths"])
        rows.append({
            "experiment": name, "method": method, "runs": count, "steps": steps, "exaflop": flop / EXA,
            "seconds_per_step": 3600 * here / count / steps if steps else None,
            "hours_here": here, "hours_gpu": hours(flop, GPU), **length,
        })  # fmt: skip
    return pd.DataFrame(rows)


def estimated(lengths: Mapping[str, Any]) -> Iterator[tuple[str, str, int, float, float]]:
    """(experiment, method, runs, steps per run, FLOP of all of them)."""
    known: set[tuple] = set()
    for name in sorted(plans.NAMES, key=lambda name: (not name.startswith("pythia"), name)):
        experiment = plans.experiment(name, lengths[name])
        for objective in experiment.streams:
            yield name, f"step/{objective}", 1, 1, step(experiment, objective)
        keys = {stage: (stage, *key) for stage, key in plans.shared(name).items()}
        yield name, "stages", 1, 0, sum(flop for stage, flop in stages(experiment).items() if keys[stage] not in known)
        known |= set(keys.values())
        by_method: dict[str, list[plans.Run]] = {}
        for cell in plans.runs(name):
            by_method.setdefault(cell.strategy, []).append(cell)
        for method, cells in by_method.items():
            epochs = 0 if method == "model_average" else sum(sum(cell.epochs) for cell in cells) / len(cells)
            flop = sum(run(experiment, *cell) for cell in cells)
            yield name, method, len(cells), epochs * experiment.steps_per_epoch, flop


def mean_length(name: str, method: str, lengths: Mapping[str, Any]) -> dict[str, float]:
    """Of the rows of a step; nothing for other methods."""
    if not method.startswith("step/"):
        return {}
    return asdict(plans.experiment(name, lengths[name]).streams[method.removeprefix("step/")].length)


def machine(measured: Mapping[str, Any]) -> str:
    """What it was timed on."""
    about = measured["about"]
    versions = ", ".join(f"{name} {about['versions'][name]}" for name in ("torch", "transformers", "peft"))
    return (
        f"{about['cpu']}, one of its cores, the machine's load {about['load']:.1f}; {versions}; "
        f"peak memory {measured['peak_gb']:.1f} GB"
    )
