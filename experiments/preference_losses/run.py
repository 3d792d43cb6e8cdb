"""Preference losses in the place of DPO, on the league's worlds, tuned alike. `make preference-losses`.

Each loss is one part of Mix, with SFT as the other. Its own loss says nothing about another's, so all are compared by
what every policy has: the part of the base's gap in SFT that is left on held-out rows, the part of the base's mistakes
on harmful and look-alike questions that is left in its answers, and the root mean square of the two, which is 1 for the
base. Each loss gets four configurations, tried on two worlds; the one with the smallest distance is reported, on ten
others. What is finished is in results.csv and not run again, so the command may be stopped and given again.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from omegaconf import OmegaConf

sys.path.extend(str(Path(__file__).resolve().parents[1] / room) for room in ("", "league"))
from drawing import publish
from publish import having, join_rows, read_rows
from worlds import SEEDS, TUNED, ends, results, started

from xright.config.folder import CONF

HERE = Path(__file__).parent
LOSSES = (  # not ORPO, which is trained in the place of both objectives
    "dpo", "simpo", "rpo", "kto", "ipo", "dpo_norm", "hinge", "cpo", "nca", "apo_zero", "exo", "bco", "sppo",
    "robust_dpo", "discopop", "apo_down",
)  # fmt: skip
LAMS = ("0.1", "0.4")  # a loss's scale is its own, and so is what λ means
TIMES = (1, 4)  # its β in conf/objective
RATE, EPOCHS = "optim.lr=4e-4", 6  # the learning rate that the league chose for Mix
# As many answers as there are in the pairs; these stay, since the reference learns what they prefer.
LABELLED = {
    "kto": (
        "data.source.labelled_rows=960", "data.source.eval_labelled_rows=320", "+data.streams.labelled.kind=labelled",
        "+data.streams.labelled.template=${data.streams.sft.template}", "+data.streams.labelled.batch_size=16",
        "+data.streams.labelled.batch_tokens=null",
    )
}  # fmt: skip
CHUNK = 5  # worlds in one command, after which its rows are published
SAFE = ("refuses_harmful", "refuses_harmful_prefixed", "complies_lookalike")
RESULTS = HERE / "results.csv"


def trials(loss: str) -> tuple[str, ...]:
    """The options that its four configurations differ in: two β, and two λ."""
    own = OmegaConf.load(CONF / "objective" / f"{loss}.yaml").beta
    return f"objectives.dpo.beta={','.join(f'{factor * own:g}' for factor in TIMES)}", f"lam={','.join(LAMS)}"


def play(loss: str, seeds: Sequence[int], options: Sequence[str]) -> None:
    """Runs of one loss in some worlds: a row each of results.csv."""
    wanted = {(" ".join(settings), seed) for settings in product(*map(spread, options)) for seed in seeds}
    known = having(read_rows(RESULTS), loss=loss)
    if len(known) and wanted <= {*zip(known["settings"], known["seed"], strict=True)}:
        return
    for seed in seeds:
        ends(seed)  # makes the world's stages
    name = f"preference_losses_{loss}"
    worlds = (f"seed={','.join(map(str, seeds))}", "data.source.seed=${seed}")
    own = (f"objective@objectives.dpo={loss}", *LABELLED.get(loss, ()), *options)
    started("strategy=mix", f"name={name}", *worlds, *own, RATE, f"epochs={EPOCHS}", "optima=null")
    names = [option.partition("=")[0] for option in options]
    rows = []
    for result in results(name):
        given = dict(override.split("=", 1) for override in result["overrides"])
        settings = " ".join(f"{key}={given[key]}" for key in names)
        if (settings, result["seed"]) in wanted:
            rows.append({"loss": loss, "settings": settings, "seed": result["seed"], **measures(result)})
    join_rows(pd.DataFrame(rows), RESULTS, ["loss", "settings", "seed"])


def spread(option: str) -> list[str]:
    """The options that a swept one stands for.

    >>> spread("lam=0.1,0.4")
    ['lam=0.1', 'lam=0.4']
    """
    key, values = option.split("=")
    return [f"{key}={value}" for value in values.split(",")]


def measures(result: Mapping) -> dict[str, float]:
    """What every policy of a world is compared by, and what it follows from."""
    best, base, began = ends(result["seed"])
    sft = (result["objectives"]["sft"]["f"] - best["sft"]) / base["sft"]
    said = {key: result["behaviour"][key] for key in SAFE}
    mistakes = np.mean([1 - value for value in said.values()]) / np.mean([1 - began[key] for key in SAFE])
    return {"distance": float(np.hypot(sft, mistakes) / 2**0.5), "sft": sft, "mistakes": mistakes, **said}


def chosen(rows: pd.DataFrame) -> dict[str, str]:
    """Of each loss all of whose configurations have been tried, the one with the smallest mean distance."""
    tried = rows[rows["seed"].isin(TUNED)].groupby(["loss", "settings"])["distance"].agg(["mean", "size"])
    tried = tried[tried["size"] == len(TUNED)]["mean"]
    whole = tried.groupby("loss").filter(lambda own: len(own) == len(TIMES) * len(LAMS))
    return dict([*whole.groupby("loss").idxmin()])


def show(rows: pd.DataFrame) -> None:
    """The page of what is there."""
    best = chosen(rows)
    publish(rows[rows["seed"].isin(SEEDS) & (rows["settings"] == rows["loss"].map(best))])


def main() -> None:
    """Tune, run, publish."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--losses", nargs="+", choices=LOSSES, default=LOSSES, metavar="LOSS", help="default: all")
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="worlds to report on (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=2, help="commands at once, one thread each (default: %(default)s)")
    asked = parser.parse_args()

    with ThreadPoolExecutor(asked.jobs) as pool:
        list(pool.map(lambda loss: play(loss, TUNED, trials(loss)), asked.losses))
        best = chosen(read_rows(RESULTS))
        for start in range(0, asked.seeds, CHUNK):
            seeds = SEEDS[start : min(start + CHUNK, asked.seeds)]
            list(pool.map(lambda loss, seeds=seeds: play(loss, seeds, best[loss].split()), asked.losses))
            show(read_rows(RESULTS))


if __name__ == "__main__":
    main()
