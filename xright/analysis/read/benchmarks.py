"""evaluation.json files -> the scores of all subjects, side by side.

A subject is whatever was evaluated: a run, a model's folder, a model of the hub. `python -m xright.evaluate` writes
into its folder

    {"subject": name, "model": path, "tasks": {task: {"metrics": {metric: {"value", "low", "high", "n",
     "higher_is_better"}}, "details": {…}, "settings": {…}, "seconds": s}}, "versions": {…}}

where low and high are the ends of a 95 % interval that follows from the n prompts or questions. A score is named by its
key, "task.metric". Of `details`, these entries are shown where they are there: `judge` or `reward_model` (who judged),
`categories` {category: {"refused": k, "n": n}}, `verdicts` {label: {verdict: count}}, `mean_tokens` {whose: length}.
"""

import fnmatch
import logging
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

import pandas as pd

from xright.analysis.read.files import SKIPPED_FOLDERS, name_of, read_json
from xright.analysis.read.results import Result, read_result
from xright.analysis.style import DASHES, FAINT, LOOKS, look
from xright.errors import UserError

log = logging.getLogger(__name__)

FILE = "evaluation.json"
NUMBERS = ("value", "low", "high", "n")
NO_RUN = 99  # after all families of methods


@dataclass(frozen=True)
class Benchmarks:
    """Everything read, for subjects in the order of every table and figure.

    subjects: indexed by name, with `folder` (relative), `path` (absolute), `model`, `strategy` and `method` ("" for
    what is no run), `colour` (its method's; one that is free where there is none) and `dash` (told apart by colour).
    scores: one row per subject and key: `subject`, `key`, `task`, `metric`, `value`, `low`, `high`, `n`,
    `higher_is_better`. tasks: {(subject, task): its entry in the file}. baseline: the subject that the others are
    compared to. chosen: keys asked for by name; empty where nothing was asked for. left_out: {folder: why}, of what was
    evaluated and has a damaged file.
    """

    subjects: pd.DataFrame
    scores: pd.DataFrame
    tasks: dict[tuple[str, str], dict[str, Any]]
    baseline: str
    chosen: tuple[str, ...] = ()
    left_out: dict[str, str] = field(default_factory=dict)

    def wide(self, column: str = "value") -> pd.DataFrame:
        """One row per subject, one column per key in the order of the files; NaN where a subject has no such score."""
        table = self.scores.pivot(index="subject", columns="key", values=column)
        return table.reindex(index=self.subjects.index, columns=self.scores["key"].unique())

    def details(self, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """(task, {subject: its details[name]}) for each task in which some subject has such details."""
        for task in dict.fromkeys(task for _, task in self.tasks):
            entries = {subject: self.tasks.get((subject, task), {}) for subject in self.subjects.index}
            found = {subject: (entry.get("details") or {}).get(name) for subject, entry in entries.items()}
            found = {subject: detail for subject, detail in found.items() if detail}
            if found:
                yield task, found


def read_benchmarks(
    folders: Sequence[Path], baseline: str | None = None, metrics: Sequence[str] = ()
) -> Benchmarks | None:
    """The evaluations at or below `folders`, at any depth; None where there are none.

    baseline: name or folder of the subject to compare with; None takes the first in the order of the table. metrics:
    keys to be compared; none named takes all. What has a damaged file is left out: with a warning, and its reason in
    `left_out`. Raises UserError where nothing else is left, for a baseline or key that does not exist, and where one of
    them is asked for and nothing was evaluated.
    """
    found = list(dict.fromkeys(place for folder in folders for place in _find(folder.resolve())))
    if not found:
        if baseline is not None or metrics:
            raise UserError(
                f"Nothing below {', '.join(map(str, folders))} has been evaluated (no {FILE}), so there is no baseline "
                "and no metric to choose; run `python -m xright.evaluate` first."
            )
        return None
    root = Path(os.path.commonpath([folder.resolve().parent for folder in folders]))
    files: dict[Path, dict[str, Any]] = {}
    results: dict[Path, Result] = {}
    left_out: dict[str, str] = {}
    for place in found:
        try:
            if (place / "result.json").exists():
                results[place] = read_result(place / "result.json")
            files[place] = read_evaluation(place / FILE)
        except UserError as error:
            left_out[name_of(place.relative_to(root))] = str(error)
            log.warning("left out: %s", error)
    if not files:
        first = next(iter(left_out.values()))
        raise UserError(f"None of {len(found)} evaluations can be read; the first: {first}")
    subjects = _subjects(files, results, root)
    tasks, rows = {}, []
    for name, place in subjects["path"].items():
        for task, entry in files[place]["tasks"].items():
            tasks[str(name), task] = entry
            rows += [
                {"subject": name, "key": f"{task}.{metric}", "task": task, "metric": metric, **score}
                for metric, score in entry["metrics"].items()
            ]
    scores = pd.DataFrame(rows, columns=["subject", "key", "task", "metric", *NUMBERS, "higher_is_better"])
    keys = list(scores["key"].unique())
    for key in metrics:
        if key not in keys:
            raise UserError(f"There is no metric {key!r} in these evaluations; choose of {', '.join(keys)}.")
    return Benchmarks(
        subjects, scores, tasks, _baseline(subjects, baseline), chosen=tuple(dict.fromkeys(metrics)), left_out=left_out
    )


def read_evaluation(path: Path) -> dict[str, Any]:
    """One evaluation.json; UserError where it is unreadable or a score is not what the module's docstring says."""
    try:
        read = read_json(path)
    except UserError as error:
        raise UserError(f"{error}; remove it and evaluate again.") from error
    try:
        scores = [
            (f"{task}.{metric}", score) for task in read["tasks"] for metric, score in _metrics(read, task).items()
        ]
        subject, model = read["subject"], read["model"]
    except (TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{path} is not the evaluation of a subject ({error!r}); move it elsewhere.") from error
    if not isinstance(subject, str) or not isinstance(model, str):
        raise UserError(f"{path} names no subject and model; move it elsewhere.")
    for key, score in scores:
        wrong = not isinstance(score, dict) or [name for name in NUMBERS if not _is_number(score.get(name))]
        if wrong or not isinstance(score.get("higher_is_better"), bool):
            raise UserError(f"{path} has no usable score {key} ({score!r:.120}); remove that task and evaluate again.")
    return read


def _metrics(read: dict[str, Any], task: str) -> dict[str, Any]:
    return dict(read["tasks"][task]["metrics"])


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _find(folder: Path) -> Iterator[Path]:
    """Folders with an evaluation.json at or below `folder`, sorted."""
    for here, below, files in os.walk(folder):
        if FILE in files:
            yield Path(here)
        below[:] = sorted(name for name in below if not any(fnmatch.fnmatch(name, skip) for skip in SKIPPED_FOLDERS))


def _subjects(files: dict[Path, dict[str, Any]], results: dict[Path, Result], root: Path) -> pd.DataFrame:
    """See Benchmarks. Runs come first, by method and λ as everywhere, under their labels; then the others by name."""
    rows = []
    for place, file in files.items():
        method = results[place].method if place in results else None
        result = results[place].values if method else {}
        rows.append({
            "name": str(result.get("label", file["subject"])),
            "seed": f", seed {result['seed']}" if result else "",
            "folder": name_of(place.relative_to(root)),
            "path": place,
            "model": file["model"],
            "strategy": str(result.get("strategy", "")),
            "method": method.name if method else "",
            "place": method.place if method else (NO_RUN, 0),
            "lam": result.get("lam"),
        })  # fmt: skip
    rows.sort(
        key=lambda row: (
            [row[key] or 0 for key in ("place", "method", "lam")] + [row["name"], row["seed"], row["folder"]]
        )
    )
    table = pd.DataFrame(rows)
    for more in ("seed", "folder"):  # names that several subjects share are told apart by these, in turn
        shared = table["name"].duplicated(keep=False)
        addition = table[more] if more == "seed" else " (" + table[more] + ")"
        table.loc[shared, "name"] += addition[shared]
    taken = {look(method) for method in table["method"] if method}
    free = cycle([colour for colour, marker in LOOKS.values() if (colour, marker) not in taken] or [FAINT])
    table["colour"] = [look(method)[0] if method else next(free) for method in table["method"]]
    places = table.groupby("colour").cumcount()
    table["dash"] = [DASHES[place % len(DASHES)] for place in places]
    return table.set_index("name")[["folder", "path", "model", "strategy", "method", "colour", "dash"]]


def _baseline(subjects: pd.DataFrame, asked: str | None) -> str:
    if asked is None:
        return str(subjects.index[0])
    found = subjects.index[(subjects.index == asked) | (subjects["folder"] == asked)]
    if found.empty:
        known = ", ".join(f"{name!r}" for name in subjects.index)
        raise UserError(f"There is no evaluated subject {asked!r} to be the baseline; choose of {known}.")
    return str(found[0])
