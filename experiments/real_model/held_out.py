"""What the models of the middle trade-off have of rows that nothing was trained on: `xright.profile`, seed by seed.

A study trains on the first rows of its files, split=train[:N] in conf/experiment; these are the ones behind them. The
reference of f_DPO is the model that all began from, so that it has ln 2 by definition.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import published
from cells import Cell
from hydra import compose, initialize_config_dir

from xright.config.folder import CONF

FILE = published.HERE / "held_out.csv"
ROWS = 100  # of each stream
NAMED = ["study", "seed", "label"]


def is_there(study: str, seed: int) -> bool:
    """Whether a study's seed is in held_out.csv."""
    rows = published.read(FILE)
    return len(rows) > 0 and bool((rows[["study", "seed"]] == [study, seed]).all(axis=1).any())


def publish(cells: list[Cell], model: Path) -> None:
    """Profile the models of some cells of one study and seed, and put what is found into held_out.csv."""
    study, seed = cells[0].study, cells[0].seed
    out, folders = published.RUNS / study / f"held_out_{seed}", [published.folder(cell) for cell in cells]
    options = [*streams(study), f"rows={ROWS}", "gradients=false", "threads=1", f"out={out}"]
    subprocess.run([sys.executable, "-m", "xright.profile", str(model), *map(str, folders), *options], check=True)
    found = json.loads((out / "profile.json").read_text(encoding="utf-8"))["models"]
    rows = [
        {"study": study, "seed": seed, "label": label, "kl_from_base": one["kl_from_base"]}
        | {f"f_{key}": value for key, value in one["losses"].items()}
        for label, one in zip(["the model before", *map(label_of, cells)], found, strict=True)
    ]
    published.join(pd.DataFrame(rows), FILE, NAMED)


def label_of(cell: Cell) -> str:
    """Return what a finished cell is called for people."""
    return str(json.loads((published.folder(cell) / "result.json").read_text(encoding="utf-8"))["label"])


def streams(study: str) -> list[str]:
    """The settings by which `xright.profile` reads a study's rows, those it trains on left out."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        data = compose("config", [f"experiment={study}"]).data
    settings = [f"data.max_length={data.max_length}"]
    for name, stream in data.streams.items():
        end = re.fullmatch(r"train\[:(\d+)\]", stream.split)
        assert end, f"{study}: data.streams.{name}.split={stream.split} leaves no rows behind those that are trained on"
        given: dict[str, Any] = {"path": stream.path, "template": stream.template, "split": f"train[{end[1]}:]"}
        settings += [f"data.streams.{name}.{key}={quoted(value)}" for key, value in given.items()]
        settings += [f"data.streams.{name}.columns={{response: {stream.columns.response}}}"] if stream.columns else []
    return settings


def quoted(value: Any) -> str:
    """A text, or a list of them, as Hydra's command line takes it."""
    return f"'{value}'" if isinstance(value, str) else f"[{','.join(map(quoted, value))}]"
