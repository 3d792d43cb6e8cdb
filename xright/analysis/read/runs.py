"""Finished run folders -> tables: one row per run, and the runs' trajectories, steps and samples.

A run folder holds `config.yaml`; `result.json` is written last, so its presence means "finished". Folders
that were set aside (`*.old-*`), hidden folders and stage caches are not looked into.

A run is identified by `folder`, its path relative to what was asked for. How it was trained, on which objectives, its
result says as data (`results`); nothing is read from its label. What must agree before two runs may be compared or
averaged is read from their configurations:

    setting   "key=value, …" over the keys below SETTING_KEYS in which the runs differ; "" when they do not
    seeds     the same over the seeds of data and model; together with `seed` and `setting`: a cell (CELL)
"""

import logging
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from xright.analysis.read.files import find_runs, name_of, read_config, read_rows
from xright.analysis.read.methods import Objective, weighting
from xright.analysis.read.results import Result, numbers_of, read_result
from xright.analysis.read.unfinished_runs import last_written, why_unfinished
from xright.errors import UserError

log = logging.getLogger(__name__)

SETTING_KEYS = (
    *("model", "data", "reference", "reference_training", "objectives", "optim"),
    *("optima", "epochs", "eval_on"),
)
CELL = ["setting", "seeds", "seed"]
NUMBERS = (
    *("lam", "seed", "ideal_distance", "steps", "train_seconds", "eval_seconds", "step_seconds_median"),
    *("tokens_per_second", "utilization_median_pct", "peak_memory_gb"),
)
TEXTS = ("stopped_by", "device", "eval_on")
SAMPLES: dict[str, type] = {"step": float, "prompt": str, "completion": str, "kind": str}


def columns_of(objectives: Collection[str]) -> dict[str, dict[str, type]]:
    """{file: {column: type}} of the rows of a run with these objectives."""
    f, gap, weight = ([f"{kind}_{name}" for name in objectives] for kind in ("f", "gap", "weight"))
    trajectory: dict[str, type] = dict.fromkeys(["step", *f, *gap, "ideal_distance"], float)
    steps: dict[str, type] = {"step": float, "pick": str, "seconds": float, **dict.fromkeys(weight, float)}
    return {"trajectory.csv": trajectory, "steps.csv": steps, "samples.jsonl": SAMPLES}


@dataclass(frozen=True)
class Runs:
    """Everything read: `table` has one row per finished run, in the order of every table and figure.

    For each objective o of `objectives` (in the order of the runs' tables) it has f_o, f_o_opt, gap_o and picks.o; of
    the method: `family`, `method` (its name for people), `variant` (the label but for its weights), `front` (what has
    one Pareto front: the variant without its split of the epochs), `first` (objective of a sequential run), `weights`
    {objective: weight}, `weighting` (the same as text, "" without any), `lam`, `phases`, and each setting (`k`, …)
    under its own name.
    `trajectory`, `steps` and `samples` are the runs' files one below the other, with a column `folder`.
    `unfinished` has `folder`, the last evaluated `step` (missing before the first evaluation), when it was last
    `written` and for what `reason` it is unfinished. `configs`: {folder: its flat configuration}, of finished runs.
    `left_out`: {folder: why}, of finished runs with a damaged file; they are in nothing else.
    """

    table: pd.DataFrame
    trajectory: pd.DataFrame
    steps: pd.DataFrame
    samples: pd.DataFrame
    unfinished: pd.DataFrame
    configs: dict[str, dict[str, Any]]
    objectives: dict[str, Objective]
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def axes(self) -> dict[str, Objective]:
        """The objectives that span objective space: all but surrogates."""
        return {name: objective for name, objective in self.objectives.items() if not objective.surrogate}

    def only(self, keep: pd.Series) -> "Runs":
        """The runs whose row of `table` is true in `keep`, with their files and objectives."""
        table = self.table[keep]
        folders = {*table["folder"]}
        files = {name: getattr(self, name) for name in ("trajectory", "steps", "samples")}
        return replace(
            self,
            table=table,
            **{name: file[file["folder"].isin(folders)] for name, file in files.items()},
            configs={folder: self.configs[folder] for folder in table["folder"]},
            objectives={
                name: one for name, one in self.objectives.items() if table[f"f_{name}"].notna().any() or table.empty
            },
        )

    def of_every_seed(self) -> "Runs":
        """The runs of those labels that every seed has, so that means over seeds are means over the same seeds."""
        seeds = self.table.groupby("label")["seed"].transform("nunique")
        return self.only(seeds == self.table["seed"].nunique())

    def by_setting(self) -> Iterator[tuple[str, "Runs"]]:
        """Yield (setting, its runs), one pair per setting."""
        for setting in self.table["setting"].unique():
            yield setting, self.only(self.table["setting"] == setting)


def read_runs(folders: Sequence[Path]) -> Runs:
    """Read every run at or below `folders`, at any depth. A finished run with a damaged file is left out: with a
    warning, and its reason in `left_out`.

    Raises UserError for a folder that does not exist, and when there is no finished run at all that can be read.
    """
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"There is no folder {folder}; name a folder that holds runs, such as runs/.")
    found = list(dict.fromkeys(run for folder in folders for run in find_runs(folder.resolve())))
    finished = [run for run in found if (run / "result.json").exists()]
    if not finished:
        raise UserError(
            f"No finished run (a folder with result.json) at or below {', '.join(map(str, folders))}, but "
            f"{len(found)} unfinished; finish one with `python -m xright.run`, or name another folder."
        )
    root = Path(os.path.commonpath([folder.resolve().parent for folder in folders]))
    names = {run: name_of(run.relative_to(root)) for run in found}
    read: dict[str, _Files] = {}
    left_out: dict[str, str] = {}
    for run in finished:
        try:
            read[names[run]] = _read(run)
        except UserError as error:
            left_out[names[run]] = str(error)
            log.warning("left out: %s", error)
    if not read:
        first = next(iter(left_out.values()))
        raise UserError(f"None of {len(finished)} finished runs can be read; the first: {first}")

    objectives = _union([files.result.objectives for files in read.values()])
    columns = columns_of(objectives)

    def together(file: str) -> pd.DataFrame:
        frames = {name: files.rows[file] for name, files in read.items()}
        some = {name: rows for name, rows in frames.items() if len(rows)} or dict([*frames.items()][:1])
        names = np.array([*some], dtype=object)  # else each row would have its name's letters
        folders = np.repeat(names, [len(rows) for rows in some.values()])
        rows = pd.concat(some.values(), ignore_index=True)
        return rows.reindex(columns=list(dict.fromkeys([*rows, *columns[file]]))).assign(folder=folders)

    table = _table(read, objectives)
    return Runs(
        table=table,
        trajectory=together("trajectory.csv"),
        steps=together("steps.csv"),
        samples=together("samples.jsonl"),
        unfinished=_unfinished({names[run]: run for run in found if run not in finished}),
        configs={folder: read[folder].config for folder in table["folder"]},
        objectives=objectives,
        left_out=left_out,
    )


class _Files(NamedTuple):
    """What a run folder holds: rows are {name of file: table}."""

    result: Result
    config: dict[str, Any]
    rows: dict[str, pd.DataFrame]


def _read(run: Path) -> _Files:
    """All files of a finished run; UserError for the first that is damaged."""
    result = read_result(run / "result.json", NUMBERS)
    rows = {file: read_rows(run / file, columns) for file, columns in columns_of(result.objectives).items()}
    last, steps = rows["trajectory.csv"]["step"].max(), result.values.get("steps")
    if steps is not None and last < steps:
        raise UserError(
            f"{run / 'trajectory.csv'} ends at step {last:.0f} of {steps}; restore it, or run again with "
            "overwrite=true."
        )
    return _Files(result, read_config(run / "config.yaml"), rows)


def _unfinished(paths: Mapping[str, Path]) -> pd.DataFrame:
    rows = []
    for name, run in paths.items():
        try:
            step, reason = read_rows(run / "trajectory.csv", {"step": float})["step"].max(), why_unfinished(run)
        except UserError as error:
            step, reason = np.nan, str(error)
        rows.append((name, step, last_written(run), reason))
    return pd.DataFrame(rows, columns=["folder", "step", "written", "reason"])


def _union(tables: Sequence[Mapping[str, Objective]]) -> dict[str, Objective]:
    """All objectives, in the order of the longest table; what a shorter one has besides comes after them."""
    ordered = sorted(tables, key=len, reverse=True)
    return {name: one for table in reversed(ordered) for name, one in table.items()}


def _table(read: Mapping[str, _Files], objectives: Mapping[str, Objective]) -> pd.DataFrame:
    """One row per finished run: the flat result.json (`picks.dpo`, …), its method, and what follows from both."""
    table = pd.DataFrame([files.result.values for files in read.values()])
    numbers = [*NUMBERS, *numbers_of(objectives), *(key for key in map(str, table) if key.startswith("behaviour."))]
    picks = [f"picks.{name}" for name in objectives]
    table = table.reindex(columns=list(dict.fromkeys([*table.columns, *numbers, *picks, *TEXTS])))
    table.insert(0, "folder", list(read))
    table[numbers] = table[numbers].astype(float)
    for key in TEXTS:
        table[key] = table[key].astype(object).where(table[key].notna(), "").map(str)
    surrogates = [name for name, one in objectives.items() if one.surrogate]
    known = [_known(files, surrogates) for files in read.values()]
    table["setting"] = _differences(known, _is_setting)
    table["seeds"] = _differences(known, _is_other_seed)
    # the mean, not the median: ALRIGHT's steps come in two kinds, and a median would show only one of them
    table["step_ms"] = 1000 * table["train_seconds"] / table["steps"].where(table["steps"] > 0)
    methods = [files.result.method for files in read.values()]
    for key in ("family", "variant", "front", "first", "weights", "phases", "place"):
        table[key] = pd.Series([getattr(method, key) for method in methods], dtype=object)
    table["method"] = [method.name for method in methods]
    table["weighting"] = [weighting(one.weights, lam) for one, lam in zip(methods, table["lam"], strict=True)]
    keys = ["setting", "place", "method", "variant", "lam", "weighting", "label", "seeds", "seed"]
    return table.sort_values(keys, ignore_index=True).drop(columns="place")


def _known(files: _Files, surrogates: Sequence[str]) -> dict[str, Any]:
    """Return what is known of a run's setting: a surrogate is its method's own, so its settings make no other
    setting."""
    own = tuple(f"objectives.{name}" for name in surrogates)
    known = {key: value for key, value in files.config.items() if not key.startswith(own)}
    return known | {key: files.result.values[key] for key in ("eval_on", "data_seed") if key in files.result.values}


def _differences(configs: Sequence[Mapping[str, Any]], concerns: Callable[[str], bool]) -> list[str]:
    """For each run, "key=value, …" over the concerned keys in which the runs differ."""
    keys = [key for key in dict.fromkeys(key for config in configs for key in config) if concerns(key)]
    varying = [key for key in keys if len({repr(config.get(key)) for config in configs}) > 1]
    return [", ".join(f"{key}={config[key]}" for key in varying if key in config) for config in configs]


def _is_setting(key: str) -> bool:
    return key.split(".")[0] in SETTING_KEYS and not _is_other_seed(key)


def _is_other_seed(key: str) -> bool:
    """A seed of data or model; not the run's own `seed`, nor the strategy's copy of it."""
    return key == "data_seed" or (key.split(".")[0] in SETTING_KEYS and key.endswith(".seed"))
