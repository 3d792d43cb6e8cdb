"""Finished run folders -> tables: one row per run, and the runs' trajectories, steps and samples.

A run folder holds `config.yaml`; `result.json` is written last, so its presence means "finished". Folders
that were set aside (`*.old-*`), hidden folders and stage caches are not looked into.

A run is identified by `folder`, its path relative to what was asked for. What must agree before two runs may
be compared or averaged is read from their configurations:

    setting   "key=value, …" over the keys below SETTING_KEYS in which the runs differ; "" when they do not
    seeds     the same over the seeds of data and model; together with `seed` and `setting`: a cell (CELL)
"""

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from xright.analysis.files import find_runs, name_of, read_config, read_result, read_rows
from xright.analysis.unfinished import last_written, why_unfinished
from xright.errors import UserError

log = logging.getLogger(__name__)

STRATEGIES = {  # in the order of every table and figure
    "sequential": "Sequential",
    "mix": "Mix",
    "alright": "ALRIGHT",
    "maxright": "MAXRIGHT",
    "model_average": "Model average",
    "orpo": "ORPO",
    "sft": "SFT only",
    "dpo": "DPO only",
}
JOINT = ("alright", "maxright", "mix")  # the methods that train both objectives at once
SETTING_KEYS = (
    *("model", "data", "reference", "reference_training", "objectives", "optim"),
    *("optima", "epochs", "eval_on"),
)
CELL = ["setting", "seeds", "seed"]
NUMBERS = (
    *("lam", "seed", "f_dpo", "f_sft", "f_dpo_opt", "f_sft_opt", "gap_dpo", "gap_sft", "ideal_distance"),
    *("steps", "train_seconds", "eval_seconds", "step_seconds_median"),
    *("tokens_per_second", "utilization_median_pct", "peak_memory_gb"),
)
TEXTS = ("stopped_by", "device", "eval_on")
TRAJECTORY: dict[str, type] = dict.fromkeys(("step", "f_dpo", "f_sft", "gap_dpo", "gap_sft", "ideal_distance"), float)
STEPS: dict[str, type] = {"step": float, "pick": str, "seconds": float}
SAMPLES: dict[str, type] = {"step": float, "prompt": str, "completion": str, "kind": str}
FILES: dict[str, dict[str, type]] = {"trajectory.csv": TRAJECTORY, "steps.csv": STEPS, "samples.jsonl": SAMPLES}


@dataclass(frozen=True)
class Runs:
    """Everything read: `table` has one row per finished run, in the order of every table and figure.

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
    left_out: dict[str, str] = field(default_factory=dict)

    def only(self, keep: pd.Series) -> "Runs":
        """The runs whose row of `table` is true in `keep`, with their files."""
        table = self.table[keep]
        trajectory, steps, samples = (
            frame[frame["folder"].isin(table["folder"])] for frame in (self.trajectory, self.steps, self.samples)
        )
        configs = {folder: self.configs[folder] for folder in table["folder"]}
        return Runs(table, trajectory, steps, samples, self.unfinished, configs, self.left_out)

    def by_setting(self) -> Iterator[tuple[str, "Runs"]]:
        """(setting, its runs), one pair per setting."""
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

    def together(file: str) -> pd.DataFrame:
        frames = {name: files.rows[file] for name, files in read.items()}
        some = {name: rows for name, rows in frames.items() if len(rows)} or dict([*frames.items()][:1])
        folders = np.repeat([*some], [len(rows) for rows in some.values()])
        return pd.concat(some.values(), ignore_index=True).assign(folder=folders)

    steps = together("steps.csv")
    table = _table(read, steps)
    return Runs(
        table=table,
        trajectory=together("trajectory.csv"),
        steps=steps,
        samples=together("samples.jsonl"),
        unfinished=_unfinished({names[run]: run for run in found if run not in finished}),
        configs={folder: read[folder].config for folder in table["folder"]},
        left_out=left_out,
    )


class _Files(NamedTuple):
    """What a run folder holds: rows are {name of file: table}."""

    result: dict[str, Any]
    config: dict[str, Any]
    rows: dict[str, pd.DataFrame]


def _read(run: Path) -> _Files:
    """All files of a finished run; UserError for the first that is damaged."""
    result = read_result(run / "result.json", NUMBERS)
    rows = {file: read_rows(run / file, columns) for file, columns in FILES.items()}
    last, steps = rows["trajectory.csv"]["step"].max(), result.get("steps")
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
            step, reason = read_rows(run / "trajectory.csv", TRAJECTORY)["step"].max(), why_unfinished(run)
        except UserError as error:
            step, reason = np.nan, str(error)
        rows.append((name, step, last_written(run), reason))
    return pd.DataFrame(rows, columns=["folder", "step", "written", "reason"])


def _table(read: Mapping[str, _Files], steps: pd.DataFrame) -> pd.DataFrame:
    """One row per finished run: the flattened result.json (`picks.dpo`, …) and what follows from it."""
    table = pd.DataFrame([files.result for files in read.values()])
    numbers = [*NUMBERS, *(key for key in map(str, table) if key.startswith("behaviour."))]
    table = table.reindex(columns=list(dict.fromkeys([*table.columns, *numbers, *TEXTS])))
    table.insert(0, "folder", list(read))
    table[numbers] = table[numbers].astype(float)
    for key in TEXTS:
        table[key] = table[key].astype(object).where(table[key].notna(), "").map(str)
    known = [
        {**files.config, **{key: files.result[key] for key in ("eval_on", "data_seed") if key in files.result}}
        for files in read.values()
    ]
    table["setting"] = _differences(known, _is_setting)
    table["seeds"] = _differences(known, _is_other_seed)
    # the mean, not the median: ALRIGHT's steps come in two kinds, and a median would show only one of them
    table["step_ms"] = 1000 * table["train_seconds"] / table["steps"].where(table["steps"] > 0)
    first = steps.sort_values("step", kind="stable").groupby("folder")["pick"].first()
    table["first"] = table["folder"].map(first).where(table["strategy"] == "sequential", "")
    table["variant"] = table["label"].str.replace(r"\s*λ=[\d.]+", "", regex=True)  # the label but for its λ
    order = {name: place for place, name in enumerate(STRATEGIES)}
    keys = ["setting", "rank", "strategy", "variant", "lam", "label", "seeds", "seed"]
    ranked = table.assign(rank=table["strategy"].map(order).fillna(len(order)))
    return ranked.sort_values(keys, ignore_index=True).drop(columns="rank")


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
