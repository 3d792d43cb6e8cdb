"""Does the memory gap tell what a run has forgotten, and does training on it keep it? `make memory`.

In each world two kinds of task are held back: the base knows them, and neither SFT nor preferences ask them. (i) Runs
of several methods, λ and learning rates, in which memory is only evaluated. (ii) Mix with a third part: nothing,
memory, or real rows of the base's text, at equal tokens a step; MAXRIGHT and the ε-constraint with memory. Finished
runs are not made again, and what is finished is published after every world.
"""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))
from drawing import figure
from measure import HELD_BACK, measure
from options import no_options
from publish import DPI, between_markers, shrink, write_rows
from ranking import paired, ranking, third_parts

from xright.analysis.read.runs import read_runs
from xright.analysis.report import machines
from xright.analysis.text.tables import markdown

HERE, RUNS = Path(__file__).parent, Path("runs/memory")
SEEDS = range(3)  # with seed s, world s too
RATES = "optim.lr=1e-4,4e-4"  # below and above the recipe's 2e-4, at which (ii) is run
COMMON = [
    "experiment=memory", "logger=csv", "epochs=2", f"data.source.held_back=[{','.join(HELD_BACK)}]",
    "callbacks.samples=null", "eval_every=30",
]  # fmt: skip
WATCHED = ["data.streams.memory.rows=320", "data.streams.memory.batch_size=8"]  # evaluated, not trained
TWO = "weights={dpo:.25,sft:.75,memory:null},{dpo:.75,sft:.25,memory:null}"
PAIR = "strategy.objectives=[dpo,sft]"
PART = "weights={{dpo:.4,sft:.4,{}:.2}}"
BOUNDS = "strategy.epsilon={dpo:.1,memory:.03}"  # nats; SFT is what is minimised
TOKENS = 1100  # of the third part in a step: so many rows that 10 % of the base's text make one epoch
FEW, MANY = 320, 3200  # 1 % and 10 % of the base's 32,000 rows
REPLAY = [
    "+objective@objectives.replay=sft", "objectives.replay.stream=replay", "data.source.eval_replay_rows=320",
    f"+data.streams.replay={{kind: completions, template: '{{instruction}} ', batch_tokens: {TOKENS}}}",
]  # fmt: skip


def command(seed: int, part: str, *options: str) -> None:
    """Runs of one world, in the folder runs/memory/<part>."""
    world = [f"runs_dir={RUNS}", f"name={part}", f"seed={seed}", f"data.source.seed={seed}"]
    subprocess.run([sys.executable, "-m", "xright.run", *COMMON, *world, *options, "-m"], check=True)


def results(part: str, seed: int) -> list[Path]:
    """The folders of the finished runs of one world."""
    found = (file.parent for file in sorted((RUNS / part).glob("*/result.json")))
    return [run for run in found if json.loads((run / "result.json").read_text())["seed"] == seed]


def world(seed: int) -> None:
    """All runs of one world. The optima are those of the recipe's learning rate, for all alike."""
    command(seed, "base", *WATCHED, "strategy=merge", "start=base")
    (base,) = results("base", seed)
    best = {n: one["optimum"] for n, one in json.loads((base / "result.json").read_text())["objectives"].items()}
    goals = "optima={{{}}}".format(",".join(f"{name}:{value!r}" for name, value in best.items()))
    watched = [*WATCHED, goals, RATES]
    command(seed, "watched", *watched, "strategy=alright,maxright", TWO)
    command(seed, "watched", *watched, "strategy=sequential", PAIR, "strategy.first=dpo,sft", "strategy.epochs=[1,1]")
    command(seed, "watched", *watched, "strategy=only", "strategy.objective=dpo,sft")
    command(seed, "nothing", *WATCHED, goals, "strategy=mix", "weights={dpo:.5,sft:.5,memory:null}")
    pool = f"data.streams.memory.batch_tokens={TOKENS}"
    for name, rows in (("1", FEW), ("10", MANY)):
        size = f"data.streams.memory.rows={rows}"
        command(seed, f"memory_{name}", pool, size, goals, "strategy=mix", PART.format("memory"))
        share = [*WATCHED, *REPLAY, f"data.source.replay_rows={rows}", "optima=null"]
        command(seed, f"replay_{name}", *share, "strategy=mix", PART.format("replay").replace("}", ",memory:null}"))
    adaptive = [pool, f"data.streams.memory.rows={MANY}", goals]
    command(seed, "memory_maxright", *adaptive, "strategy=maxright")
    command(seed, "memory_bound", *adaptive, "strategy=constrained", BOUNDS)


def rows(seeds: range) -> pd.DataFrame:
    """One row per finished run: what it is, its memory gap, and how much worse than the base it is."""
    found = []
    for seed in seeds:
        if not (bases := results("base", seed)):
            continue
        base, before = bases[0], measure(bases[0], bases[0])
        best = json.loads((base / "result.json").read_text())["objectives"]["memory"]["optimum"]
        for part in sorted(folder.name for folder in RUNS.iterdir()):
            for run in results(part, seed):
                result, now = json.loads((run / "result.json").read_text()), measure(run, base)
                settings = yaml.safe_load((run / "config.yaml").read_text())
                found.append({
                    "part": part, "seed": seed, "label": result["label"], "method": result["method"]["name"],
                    "run": run.name, "lr": settings["optim"]["lr"],
                    "memory_gap": result["f_memory"] - best, "nats_lost": now["nats"] - before["nats"],
                    "right_lost": before["right"] - now["right"], "right_before": before["right"],
                    "moved": now["moved"], "f_dpo": result["f_dpo"], "f_sft": result["f_sft"],
                    "seconds": result["train_seconds"],
                })  # fmt: skip
    return pd.DataFrame(found)


def publish(table: pd.DataFrame) -> None:
    """results.csv, the two tables and the figure, of what is finished."""
    write_rows(table, HERE / "results.csv")
    drawn = figure(table)
    drawn.savefig(HERE / "figure.png", dpi=DPI)
    shrink(HERE / "figure.png", HERE / "figure.png")
    seen = machines(read_runs([RUNS / "watched"]).table)
    measured = "".join(f"Measured on {device}, {versions}.\n" for device, versions, _ in seen)
    grids = [markdown(ranking(table)), markdown(third_parts(table)), markdown(paired(table))]
    between_markers(HERE / "README.md", "\n".join([*grids, measured]))


if __name__ == "__main__":
    no_options(__doc__)
    for seed in SEEDS:
        world(seed)
        publish(rows(range(seed + 1)))
