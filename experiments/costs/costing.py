"""The estimate as a table: measured.json and conf/experiment in, a row per experiment and method out."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from statistics import median
from typing import Any, NamedTuple

import pandas as pd
import plans
from estimate import EXA, GPU, MEASURED, hours, run, stages, step


def costs(measured: Mapping[str, Any]) -> pd.DataFrame:
    """Columns kind, experiment, method, runs, steps (per run), exaflop (of all runs), seconds_per_step,
    foretold_seconds, tokens and predicted (of one pair or row), wall_seconds, machine, hours_here, hours_gpu.

    kind: `measured`, one pair and one row of a model, and what the study's foretells of another; `study` or `paper`,
    estimated. method: a strategy; `stages`, what runs share, without what an earlier row's experiment leaves in the
    cache; `step/dpo` and `step/sft`, one optimizer step. Seconds and hours here are of one core.
    """
    of_study = measured["steps"][plans.STUDY]
    speed = sum(found["flop"] for found in of_study.values()) / sum(map(seconds, of_study.values()))
    rows = [
        {
            "kind": MEASURED, "experiment": TITLES[name], "method": f"step/{objective}",
            "runs": len(found["cpu_seconds"]), "steps": 1, "exaflop": found["flop"] / EXA,
            "seconds_per_step": seconds(found),
            "foretold_seconds": None if steps is of_study else found["flop"] / speed,
            "tokens": found["tokens"], "predicted": found["predicted"],
            "wall_seconds": median(found["seconds"]), "machine": machine(measured),
        }
        for name, steps in measured["steps"].items()
        for objective, found in steps.items()
    ]  # fmt: skip
    for plan in PLANS:
        for method, count, steps, flop in estimated(plan, measured["lengths"][plan.name]):
            here = hours(flop, speed)
            rows.append({
                "kind": "study" if plan.name == plans.STUDY else "paper",
                "experiment": plan.title, "method": method, "runs": count, "steps": steps, "exaflop": flop / EXA,
                "seconds_per_step": 3600 * here / count / steps if steps else None,
                "hours_here": here, "hours_gpu": hours(flop, GPU),
                **mean_length(plan, method, measured["lengths"][plan.name]),
            })  # fmt: skip
    return pd.DataFrame(rows)


class Plan(NamedTuple):
    """What is estimated: an experiment of conf/experiment, on its model, or on that of another."""

    title: str
    name: str
    model: str | None = None


TITLES = {plans.STUDY: "SmolLM2-135M", "pythia1b_dpo_first": "pythia-1b"}
PLANS = (
    Plan(plans.STUDY, plans.STUDY),
    *(Plan(f"{plans.STUDY}, {title}", plans.STUDY, model) for title, model in plans.ON.items()),
    *(Plan(name, name) for name in sorted(plans.NAMES, key=lambda name: (not name.startswith("pythia"), name))),
)


def seconds(found: Mapping[str, Any]) -> float:
    """Of the processor, the median of the repetitions."""
    return float(median(found["cpu_seconds"]))


def estimated(plan: Plan, lengths: Mapping[str, Any]) -> Iterator[tuple[str, int, float, float]]:
    """(method, runs, steps per run, FLOP of all of them)."""
    experiment = plans.experiment(plan.name, lengths, plan.model)
    for objective in experiment.streams:
        yield f"step/{objective}", 1, 1, step(experiment, objective)
    earlier = PLANS[: PLANS.index(plan)]
    known = {(stage, *key) for one in earlier for stage, key in plans.shared(one.name, one.model).items()}
    keys = {stage: (stage, *key) for stage, key in plans.shared(plan.name, plan.model).items()}
    yield "stages", 1, 0, sum(flop for stage, flop in stages(experiment).items() if keys[stage] not in known)
    by_method: dict[str, list[plans.Run]] = {}
    for cell in plans.runs(plan.name):
        by_method.setdefault(cell.strategy, []).append(cell)
    for method, cells in by_method.items():
        epochs = 0 if method == "model_average" else sum(sum(cell.epochs) for cell in cells) / len(cells)
        flop = sum(run(experiment, *cell) for cell in cells)
        yield method, len(cells), epochs * experiment.steps_per_epoch, flop


def mean_length(plan: Plan, method: str, lengths: Mapping[str, Any]) -> dict[str, float]:
    """Of the rows of a step; nothing for other methods."""
    if not method.startswith("step/"):
        return {}
    return asdict(plans.experiment(plan.name, lengths, plan.model).streams[method.removeprefix("step/")].length)


def machine(measured: Mapping[str, Any]) -> str:
    """What it was timed on."""
    about = measured["about"]
    versions = ", ".join(f"{name} {about['versions'][name]}" for name in ("torch", "transformers", "peft"))
    return (
        f"{about['cpu']}, one of its cores, the machine's load {about['load']:.1f}; {versions}; "
        f"peak memory {measured['peak_gb']:.1f} GB"
    )
