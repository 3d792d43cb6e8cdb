"""Finished run folders -> tables: one row per run, and the runs' trajectories, steps and samples.

A run folder holds `config.yaml`; `result.json` is written last, so its presence means "finished". Folders
that were set aside (`*.old-*`), hidden folders and stage caches are not looked into.

A run is identified by `folder`, its path relative to what was asked for. `setting` is what makes runs
incomparable: the part of the configuration (`SETTING_KEYS`, seeds left out) in which the runs differ; it is
"" when all runs share it. Within one setting, runs with equal `seed` and `data_seed` form a cell.
"""

import fnmatch
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from xright.errors import UserError

STRATEGIES = {  # in the order of every table and figure
    "sequential": "Sequential",
    "mix": "Mix",
    "alright": "ALRIGHT",
    "maxright": "MAXRIGHT",
    "model_average": "model average",
    "orpo": "ORPO",
    "sft": "SFT only",
    "dpo": "DPO only",
}
JOINT = ("alright", "maxright", "mix")  # the methods that train both objectives at once
SETTING_KEYS = ("model", "data", "reference", "objectives", "optimizer")
REQUIRED = ("label", "strategy", "lam", "seed", "f_dpo", "f_sft")
OPTIONAL = (  # present as a column in any case
    *("f_dpo_opt", "f_sft_opt", "gap_dpo", "gap_sft", "ideal_distance"),
    *("steps", "train_seconds", "eval_seconds", "step_seconds_median", "data_seed"),
)
TEXT = ("stopped_by", "device", "eval_on")
SKIPPED_FOLDERS = (".*", "__pycache__", "cache", "*.old-*")
TRAJECTORY = ["step", "f_dpo", "f_sft", "gap_dpo", "gap_sft", "ideal_distance"]
STEPS = ["step", "pick", "seconds"]
SAMPLES = ["step", "prompt", "completion", "kind"]


@dataclass(frozen=True)
class Runs:
    """Everything read: `table` has one row per finished run, in the order of every table and figure.

    `trajectory`, `steps` and `samples` are the runs' files one below the other, with a column `folder`.
    `unfinished` has `folder` and the last evaluated `step` (missing before the first evaluation).
    """

    table: pd.DataFrame
    trajectory: pd.DataFrame
    steps: pd.DataFrame
    samples: pd.DataFrame
    unfinished: pd.DataFrame

    def only(self, keep: pd.Series) -> "Runs":
        """The runs whose row of `table` is true in `keep`, with their files."""
        table = self.table[keep]
        trajectory, steps, samples = (
            frame[frame["folder"].isin(table["folder"])]
            for frame in (self.trajectory, self.steps, self.samples)
        )
        return Runs(table, trajectory, steps, samples, self.unfinished)

    def by_setting(self) -> Iterator[tuple[str, "Runs"]]:
        """(setting, its runs), one pair per setting."""
        for setting in self.table["setting"].unique():
            yield setting, self.only(self.table["setting"] == setting)


def read_runs(folders: Sequence[Path]) -> Runs:
    """Read every run at or below `folders`, at any depth.

    Raises UserError for a folder that does not exist, for a file that cannot be read, and when there is no
    finished run at all.
    """
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"There is no folder {folder}: name a folder that holds runs, such as `runs/`.")
    found = list(dict.fromkeys(run for folder in folders for run in find_runs(folder.resolve())))
    finished = [run for run in found if (run / "result.json").exists()]
    asked = ", ".join(map(str, folders))
    if not finished:
        raise UserError(
            f"No finished run (a folder with result.json) at or below {asked}, where {len(found)} unfinished "
            "ones were found: finish one with `python -m xright.run`, or name another folder."
        )
    root = os.path.commonpath([folder.resolve().parent for folder in folders])
    names = {run: run.relative_to(root).as_posix() for run in found}

    def together(file: str, columns: list[str]) -> pd.DataFrame:
        frames = [_read_rows(run / file, columns).assign(folder=names[run]) for run in finished]
        return pd.concat([frame for frame in frames if len(frame)] or frames[:1], ignore_index=True)

    steps = together("steps.csv", STEPS)
    waiting = [run for run in found if run not in finished]
    return Runs(
        table=_table({names[run]: run for run in finished}, steps),
        trajectory=together("trajectory.csv", TRAJECTORY),
        steps=steps,
        samples=together("samples.jsonl", SAMPLES),
        unfinished=pd.DataFrame(
            [(names[run], _read_rows(run / "trajectory.csv", TRAJECTORY)["step"].max()) for run in waiting],
            columns=["folder", "step"],
        ),
    )


def find_runs(folder: Path) -> Iterator[Path]:
    """Run folders at or below `folder`, sorted; a run folder is not looked into any further."""
    for here, below, files in os.walk(folder):
        if "config.yaml" in files or "result.json" in files:
            below.clear()
            yield Path(here)
        below[:] = sorted(
            name for name in below if not any(fnmatch.fnmatch(name, skip) for skip in SKIPPED_FOLDERS)
        )


def _table(paths: Mapping[str, Path], steps: pd.DataFrame) -> pd.DataFrame:
    """One row per finished run: the flattened result.json (`picks.dpo`, …) and what follows from it."""
    table = pd.json_normalize([_read_result(path / "result.json") for path in paths.values()])
    table.insert(0, "folder", list(paths))
    numbers = [
        "lam",
        "seed",
        "f_dpo",
        "f_sft",
        *OPTIONAL,
        *(key for key in table if key.startswith("behaviour.")),
    ]
    table = table.reindex(columns=list(dict.fromkeys([*table.columns, *numbers, *TEXT])))
    table[numbers] = table[numbers].astype(float)
    table[list(TEXT)] = table[list(TEXT)].astype(object).where(table[list(TEXT)].notna(), "")
    configs = [_read_config(path / "config.yaml") for path in paths.values()]
    config_seeds = pd.Series(
        [config.get("data.seed", np.nan) for config in configs], index=table.index, dtype=float
    )
    table["data_seed"] = table["data_seed"].fillna(config_seeds)
    table["setting"] = _settings(configs, table["eval_on"])
    # the mean, not the median: ALRIGHT's steps come in two kinds, and a median would show only one of them
    table["step_ms"] = 1000 * table["train_seconds"] / table["steps"].where(table["steps"] > 0)
    first = steps.sort_values("step", kind="stable").groupby("folder")["pick"].first()
    table["first"] = table["folder"].map(first).where(table["strategy"] == "sequential", "")
    table["variant"] = table["label"].str.replace(r"\s*λ=[\d.]+", "", regex=True)  # a λ-line in a figure
    rank = (
        table["strategy"].map({name: place for place, name in enumerate(STRATEGIES)}).fillna(len(STRATEGIES))
    )
    keys = ["setting", "rank", "strategy", "lam", "label", "data_seed", "seed"]
    return table.assign(rank=rank).sort_values(keys, ignore_index=True).drop(columns="rank")


def _settings(configs: list[dict[str, Any]], eval_on: pd.Series) -> list[str]:
    """For each run, "key=value, …" over the keys in which the runs' settings differ."""
    kept = [
        {
            key: value
            for key, value in config.items()
            if key.split(".")[0] in SETTING_KEYS and not key.endswith("seed")
        }
        | {"eval_on": where}
        for config, where in zip(configs, eval_on, strict=True)
    ]
    keys = list(dict.fromkeys(key for config in kept for key in config))
    varying = [key for key in keys if len({repr(config.get(key)) for config in kept}) > 1]
    return [", ".join(f"{key}={config[key]}" for key in varying if key in config) for config in kept]


def _read_result(path: Path) -> dict[str, Any]:
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} cannot be read ({error}): finish that run again with overwrite=true."
        ) from error
    missing = [key for key in REQUIRED if not isinstance(result, dict) or key not in result]
    if missing:
        raise UserError(f"{path} lacks {', '.join(missing)}: it is not the result of a run of this version.")
    return result


def _read_config(path: Path) -> dict[str, Any]:
    """The configuration flattened to dotted keys; empty where there is no config.yaml."""
    if not path.exists():
        return {}
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{path} is not a readable YAML file: restore it or set the folder aside.") from error
    return _flatten(config if isinstance(config, dict) else {})


def _flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in config.items():
        flat |= (
            _flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
        )
    return flat


def _read_rows(path: Path, columns: list[str]) -> pd.DataFrame:
    """A csv or jsonl file with at least `columns`; no rows where a run has no such file (no training)."""
    if not path.exists():
        return pd.DataFrame(columns=columns)
    try:
        if path.suffix == ".jsonl":
            lines = path.read_text(encoding="utf-8").splitlines()
            rows = pd.DataFrame([json.loads(line) for line in lines if line.strip()])
        else:
            rows = pd.read_csv(path)
    except (OSError, ValueError) as error:  # pandas' parser errors are ValueErrors
        raise UserError(
            f"{path} cannot be read ({error}): repair it or set the run's folder aside."
        ) from error
    return rows.reindex(columns=list(dict.fromkeys([*columns, *rows.columns])))
