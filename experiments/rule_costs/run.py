"""What a step of each rule takes beside a step of Mix: all in one process, in turn, on the same rows. `make rule-costs`

XRIGHT_DATA=FOLDER and the model that `make smollm2` makes add a real model, with the methods, rows and settings of the
safety study on it (experiments/real_model); without them only the embedded world is measured. Peak memory is that of a
fresh process for each rule. What is measured again takes the place of what was published of it.
"""

import argparse
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from hydra import compose, initialize_config_dir

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "speed"))
from measure import about
from peaks import PeakMemory
from pilot import Clock, Meter, Pilot
from publish import between_markers, join_rows, read_rows
from race import Ours, Racing, draw_turns, go
from rows import Round

from xright.analysis.text.tables import Grid, markdown
from xright.config.build import build
from xright.config.settings import complete
from xright.data.datamodule import batches
from xright.machine.quiet import quiet
from xright.pipeline.checks import check_config
from xright.pipeline.run import prepare
from xright.pipeline.stages import Stages
from xright.run import CONF
from xright.strategies import Schedule

HERE = Path(__file__).parent
RESULTS, PEAKS = HERE / "results.csv", HERE / "peaks.csv"
PLAIN = (
    "mix", "alright", "maxright", "exp3", "stch", "group_dro", "constrained", "dwa", "famo", "mgda", "upgrad", "pcgrad",
    "nash_mtl", "cagrad", "raco", "pcd", "moco", "modo", "dpo", "sft",
)  # fmt: skip
EVERY = {name: [f"strategy={name}"] for name in PLAIN} | {
    "maxright k=1": ["strategy=maxright", "strategy.k=1"],
    "upgrad metric=adam": ["strategy=upgrad", "strategy.metric=adam"],
    "upgrad k=10": ["strategy=upgrad", "strategy.k=10"],
    "upgrad k=10 sample": ["strategy=upgrad", "strategy.k=10", "strategy.sample=true"],
}
FEW = ("mix", "alright", "mgda", "upgrad", "pcd", "upgrad metric=adam", "upgrad k=10", "upgrad k=10 sample")
OF_STUDY = ("dpo", "sft", "alright", "maxright", "mix", "stch", "famo", "upgrad", "raco", "pcd")


class Study(NamedTuple):
    """options: of the run whose model and rows are used. rounds: measured ones, whole tens for rules with k = 10."""

    title: str
    options: Sequence[str]
    rules: Sequence[str]
    rounds: int


def studies() -> dict[str, Study]:
    """The embedded world, and the real model where it is at hand, by what --only calls them."""
    found = {"embedded": Study("embedded world", ["optima={dpo: 0.326, sft: 0.053}"], [*EVERY], 60)}
    if Path("models/smollm2").exists() and "XRIGHT_DATA" in os.environ:
        options = ["experiment=smollm2_safety", "optima={dpo: 0.0005, sft: 1.39}"]
        rules = dict.fromkeys([*OF_STUDY, *FEW])
        found["real"] = Study("SmolLM2-135M, LoRA", options, [*rules], 10)
    else:
        print("There is no models/smollm2 (make smollm2), or no XRIGHT_DATA: the real model is left out.")
    return found


def composed(options: Sequence[str]) -> Any:
    """The configuration of such a run."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", overrides=["reference=base", "logger=csv", "threads=1", *options])
    complete(cfg)
    check_config(cfg)
    return cfg


def raced(study: Study, rules: Sequence[str], rounds: int, meter: Meter) -> Pilot:
    """One warm-up round and `rounds` more; the policy is trained as in a run, by every rule in turn."""
    cfg = composed(study.options)
    stages, _ = prepare(cfg)
    ours = {}
    for rule in rules:
        schedule = Schedule.of(build(composed([*study.options, *EVERY[rule]]).strategy))
        ((selector, _),) = schedule.steps(rounds + 1, 1)
        ours[rule] = Ours(selector, cfg.look)
    racing = Racing(stages.policy(0), stages.objectives, build(cfg.optim), stages.tokenizer.pad_token_id)
    with tempfile.TemporaryDirectory() as folder:
        turns = draw_turns(rounds + 1, rules)
        return go(racing, turns, drawn(stages, rounds + 1), ours, {}, Path(folder), meter)


def drawn(stages: Stages, rounds: int) -> list[Round]:
    """The rows of a run's first steps."""
    rows = stages.streams
    read = {name: batches(name, rows[name], stages.batch_size[name], rounds, seed=0) for name in rows}
    return [{name: [rows[name][index] for index in read[name].batch(step)] for name in rows} for step in range(rounds)]


def peak(study: Study, rule: str) -> float:
    """MB above the model and its optimizer, the largest of three steps, in this process."""
    quiet()
    torch.set_num_threads(1)
    values = raced(study, [rule], 3, PeakMemory()).values
    return max(row["peak_mb"] for row in values if row["round"] > 0)


def ratios(steps: pd.DataFrame, rule: str) -> tuple[float, float, float]:
    """CPU time over Mix's on the same rows, all rounds together, with its 95 % bootstrap interval over rounds."""
    cpu = steps.pivot(index="round", columns="contestant", values="cpu")[[rule, "mix"]].to_numpy()
    resampled = cpu[np.random.default_rng(0).integers(0, len(cpu), (2000, len(cpu)))].sum(axis=1)
    low, high = np.quantile(resampled[:, 0] / resampled[:, 1], [0.025, 0.975])
    return float(np.divide(*cpu.sum(axis=0))), float(low), float(high)


def table(steps: pd.DataFrame, peaks: Mapping[str, float]) -> Grid:
    """A line per rule."""
    lines = []
    for rule in steps["contestant"].unique():
        middle, low, high = ratios(steps, rule)
        own = 1e3 * steps.loc[steps["contestant"] == rule, "cpu"].mean()
        most = f"{peaks[rule]:.1f}" if rule in peaks else ""
        lines.append([rule, f"{own:.1f}", f"{middle:.3f}", f"{low:.3f}–{high:.3f}", most])
    return Grid(["rule", "CPU ms per step", "over Mix's", "95 % interval", "peak MB"], lines, 1)


def page() -> str:
    """Both studies from the csv files, and what they were measured on."""
    steps, peaks, told = read_rows(RESULTS), read_rows(PEAKS), []
    for title, own in steps.groupby("study", sort=False):
        of_study = peaks[peaks["study"] == title]
        told += [f"### {title}", "", markdown(table(own, of_study.set_index("contestant")["peak_mb"].to_dict()))]
        told.append(f"Measured on {of_study['machine'].iloc[0]}.\n")
    return "\n".join(told)


def measure(study: Study) -> None:
    """Race the rules, then ask for peaks, and publish."""
    values = pd.DataFrame(raced(study, study.rules, study.rounds, Clock()).values)
    steps = values.loc[values["round"] > 0, ["round", "contestant", "seconds", "cpu"]].assign(study=study.title)
    with multiprocessing.get_context("forkserver").Pool(1, maxtasksperchild=1) as pool:
        peaks = {rule: pool.apply(peak, (study, rule)) for rule in study.rules if rule in FEW}
    about_it = about()
    versions = ", ".join(f"{name} {value}" for name, value in about_it["versions"].items())
    machine = f"{about_it['cpu']}, one thread, {versions}"
    mb = pd.DataFrame({"study": study.title, "contestant": [*peaks], "peak_mb": [*peaks.values()], "machine": machine})
    join_rows(steps, RESULTS, ["study"])
    join_rows(mb, PEAKS, ["study"])
    between_markers(HERE / "README.md", page())


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("embedded", "real"), help="one of the two; default: both")
    only = parser.parse_args().only
    quiet()
    torch.set_num_threads(1)
    for name, study in studies().items():
        if only in (None, name):
            measure(study)


if __name__ == "__main__":
    main()
