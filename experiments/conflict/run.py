"""Is the Euclidean conflict the wrong one for AdamW? Steps of runs, against their prediction. `make conflict`

Linear regressions, where everything is known; the embedded world; and a real model, where XRIGHT_DATA=FOLDER is given
and `make smollm2` has made models/smollm2. Finished runs are not run again.
"""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pandas as pd
import summaries
import toy
from omegaconf import OmegaConf
from panels import predictions_figure, promises_figure

sys.path.insert(0, str(Path(__file__).parents[1]))
from options import no_options
from publish import DPI, between_markers, shrink, write_rows

from xright.analysis.text.tables import markdown
from xright.strategies import MGDA, PCD, Mix, UPGrad

HERE = Path(__file__).parent
SEEDS = range(3)  # with seed s, world s too
TOY_SEEDS = range(5)
COMPARED = "strategy.metric=euclid,adam"
PLAIN = ("optima=null", "logger=csv", "callbacks.samples=null", "callbacks.device=null", "eval_every=1000")
WORLD = (
    "epochs=2", "data.source.eval_sft_rows=80", "data.source.eval_preference_rows=40", "data.source.probes_per_kind=8",
)  # fmt: skip
REAL = (
    "experiment=smollm2", "trainer=cpu", "threads=1", "data.max_length=128", "data.streams.sft.limit=95",
    "data.streams.sft.batch_size=2", "data.streams.sft.eval_rows=4", 'data.streams.preference.split="train[:90]"',
    "data.streams.preference.eval_rows=3",
)  # fmt: skip
TITLES = {"conflict_world": "world", "conflict_world_no_momentum": "world", "conflict_smollm2": "SmolLM2"}


def start(name: str, every: int, *options: str) -> None:
    """A sweep whose runs measure every so many steps."""
    measured = ("+callbacks.conflict._target_=products.Conflict", f"+callbacks.conflict.every={every}")
    path = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "xright.run", f"name=conflict_{name}", *PLAIN, *options, *measured, "-m"]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": path})


def embedded() -> None:
    """Every rule in every world, then two of them without momentum."""
    for seed in SEEDS:
        own = (*WORLD, f"seed={seed}", f"data.source.seed={seed}")
        start("world", 4, *own, "strategy=mix")
        start("world", 4, *own, "strategy=mgda,upgrad,pcd", COMPARED)
        own += ("optim.optimizer.betas=[0.0,0.95]",)
        start("world_no_momentum", 4, *own, "strategy=mix")
        start("world_no_momentum", 4, *own, "strategy=upgrad", COMPARED)


def real() -> None:
    """A pretrained model, where it is at hand."""
    if Path("models/smollm2").exists() and "XRIGHT_DATA" in os.environ:
        start("smollm2", 2, *REAL, "strategy=upgrad", COMPARED)
    else:
        print("There is no models/smollm2 (make smollm2), or no XRIGHT_DATA: the real model is left out.")


def regressions() -> pd.DataFrame:
    """The same rules on linear regressions, with and without momentum."""
    found, halves = [], dict.fromkeys(toy.NAMES, 0.5)
    for momentum, beta in (("yes", 0.9), ("no", 0.0)):
        for seed in TOY_SEEDS:
            for rule in (Mix, MGDA, UPGrad, PCD):
                for metric in ("euclid", "adam") if rule is not Mix else ("–",):
                    made = rule(halves) if metric == "–" else rule(halves, metric=metric)
                    steps = toy.train(made, seed, lr=toy.LR, betas=(beta, 0.95))
                    about = {"setting": "regressions", "momentum": momentum, "rule": rule.__name__.lower()}
                    found.append(steps.assign(**about, metric=metric, seed=seed))
    return summaries.concat(found)


def read() -> tuple[pd.DataFrame, pd.DataFrame, dict[str, str]]:
    """The measured steps of all finished runs; their held-out losses at the end; versions."""
    found, ends, versions = [], [], {}
    for name, title in TITLES.items():
        for file in sorted(Path("runs", name).glob("*/result.json")):
            cfg, result = OmegaConf.load(file.with_name("config.yaml")), json.loads(file.read_text())
            about = {
                "setting": title, "momentum": "yes" if cfg.optim.optimizer.betas[0] else "no",
                "rule": cfg.strategy._target_.split(".")[-1].lower(), "metric": cfg.strategy.get("metric", "–"),
                "seed": cfg.seed,
            }  # fmt: skip
            found.append(pd.read_csv(file.with_name("conflict.csv")).assign(**about))
            last = {f"f_{key}": one["f"] for key, one in result["objectives"].items()}
            ends.append(about | last)
            versions = result["versions"]
    return summaries.concat(found), pd.DataFrame(ends), versions


def publish() -> None:
    """Tables, figures, and the numbers of each run."""
    steps, ends, versions = read()
    steps = summaries.concat([regressions(), steps])
    steps["order"] = steps["rule"].map({"mix": 0, "mgda": 1, "upgrad": 2, "pcd": 3})
    steps["order"] += steps["metric"].map({"–": 0, "euclid": 0, "adam": 0.5}) + 10 * (steps["momentum"] == "no")
    places = {title: place for place, title in enumerate(steps["setting"].unique())}
    steps["place"] = steps["setting"].map(places)
    steps = steps.sort_values(["place", "order", "seed", "step"], kind="stable")
    quality, promises = summaries.quality(steps), summaries.promises(steps)
    write_rows(quality, HERE / "predictions.csv")
    write_rows(promises, HERE / "promises.csv")
    for figure, stem in ((predictions_figure(steps), "predictions"), (promises_figure(promises), "promises")):
        picture = HERE / f"{stem}.png"
        figure.savefig(picture, dpi=DPI)
        shrink(picture, picture)
    parts = {
        "How well does each product tell what a step does?": summaries.quality_grid(quality),
        "How often are the objectives in conflict?": summaries.conflict_grid(promises),
        "What became of the promise that no loss rises?": summaries.promise_grid(promises),
        "Does the metric matter? metric=adam minus metric=euclid": summaries.metrics_grid(promises, ends),
    }
    told = [f"### {title}\n\n{markdown(grid)}" for title, grid in parts.items()]
    measured = ", ".join(f"{name} {value}" for name, value in versions.items())
    machine = f"CPU {platform.machine()} × {os.cpu_count()}, one thread"
    between_markers(HERE / "README.md", "\n".join([*told, f"Measured on {machine}, {measured}.\n"]))


if __name__ == "__main__":
    no_options(__doc__)
    real()
    embedded()
    publish()
