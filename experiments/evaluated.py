"""Evaluated runs of several seeds -> one subject per method: what the pages of figs 4, 5, 10, 11 and of table 3 share.

Rows of their csv files are one number of one run each, so a page can be drawn again from its file. `scores` has the
metrics of evaluation.json, `counts` what is counted in it (verdicts, categories). `methods` puts the seeds together:
scores by their mean and 95 % t interval over seeds (cut at 0 and 1, for all are shares; of one seed: its own interval
over prompts), counts by their sum.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from xright.analysis.numbers.statistics import mean_interval
from xright.analysis.read.benchmarks import Benchmarks, read_benchmarks
from xright.analysis.read.results import read_result
from xright.analysis.style import DASHES, look, number
from xright.analysis.text.benchmark_table import directions, words
from xright.analysis.text.tables import Grid

WHO = ["label", "strategy", "lam", "seed"]
BENCHMARKS = {  # of fig 4 and table 3: name here, key in evaluation.json
    "instructions.exact_match": "behaviour.exact_match",
    "lookalike.compliance": "lookalike.safe/full_compliance",
    "harmful.compliance": "harmful.compliance",
    "jailbreak.compliance": "jailbreak.compliance",
}
CONTESTS = {f"{name}.win_rate": f"{name}.win_rate" for name in ("over_chosen", "over_orpo")}  # of fig 5
LAMS = (0.25, 0.5, 0.75)
SCORE = ["value", "low", "high", "n", "higher_is_better"]


def scores(folders: Sequence[Path], keys: Mapping[str, str], lams: Sequence[float] = (0.5,)) -> pd.DataFrame:
    """WHO, key and SCORE: a row per evaluated run and key, of runs with λ in `lams` or without any. keys: as in
    BENCHMARKS."""
    found = _evaluated(folders)
    table = found.scores.set_index(["subject", "key"])
    rows = [
        [*who.values(), name, *table.loc[(subject, key), SCORE]]
        for subject, who, _ in _wanted(found, lams)
        for name, key in keys.items()
        if (subject, key) in table.index
    ]
    return pd.DataFrame(rows, columns=[*WHO, "key", *SCORE])


def counts(folders: Sequence[Path], detail: str, lams: Sequence[float] = (0.5,)) -> pd.DataFrame:
    """WHO, task, group, name, count: a row per entry of details[detail] = {group: {name: count}}."""
    found = _evaluated(folders)
    details = dict(found.details(detail))
    rows = [
        [*who.values(), task, group, name, count]
        for subject, who, _ in _wanted(found, lams)
        for task, by_subject in details.items()
        for group, numbers in by_subject.get(subject, {}).items()
        for name, count in numbers.items()
    ]
    return pd.DataFrame(rows, columns=[*WHO, "task", "group", "name", "count"])


def run_folders(folders: Sequence[Path], lams: Sequence[float] = (0.5,)) -> Iterator[tuple[dict[str, Any], Path]]:
    """(WHO, folder) of every evaluated run with λ in `lams` or without any, by method."""
    yield from ((who, folder) for _, who, folder in _wanted(_evaluated(folders), lams))


def methods(rows: pd.DataFrame, detail: str = "", baseline: str = "") -> Benchmarks:
    """One subject per label; the baseline is by default the first. rows: of `scores`; or of `counts`, of a detail."""
    subjects = rows.drop_duplicates("label").set_index("label")[["strategy"]].rename_axis("name")
    subjects["colour"] = [look(strategy)[0] for strategy in subjects["strategy"]]
    subjects["dash"] = [DASHES[place % len(DASHES)] for place in subjects.groupby("colour").cumcount()]
    subjects = subjects.assign(folder="", path="", model="", method=subjects["strategy"])
    baseline = baseline or str(subjects.index[0])
    if not detail:
        table = pd.DataFrame([_over_seeds(names, own) for names, own in rows.groupby(["label", "key"], sort=False)])
        return Benchmarks(subjects, table, {}, baseline, tuple(rows["key"].unique()))
    tasks: dict[tuple[str, str], dict[str, Any]] = {}
    for (label, task, group, name), own in rows.groupby(["label", "task", "group", "name"], sort=False)["count"]:
        details = tasks.setdefault((label, task), {"details": {detail: {}}})["details"][detail]
        details.setdefault(group, {})[name] = int(own.sum())
    return Benchmarks(subjects, pd.DataFrame(columns=["subject", "key", "task", "metric", *SCORE]), tasks, baseline)


def grid(rows: pd.DataFrame) -> Grid:
    """Rows of `scores` for people: a method a line, with "0.523 (0.502 to 0.544)" in a cell."""
    found = methods(rows)
    value, low, high = (found.wide(column) for column in ("value", "low", "high"))
    up = directions(found)
    headings = ["method", "seeds", *(f"{words(key)} {'↑' if up[key] else '↓'}" for key in value)]
    seeds = rows.groupby("label")["seed"].nunique()
    cells = (value.map(number) + " (" + low.map(number) + " to " + high.map(number) + ")").where(value.notna(), "–")
    return Grid(headings, [[name, str(seeds[name]), *cells.loc[name]] for name in value.index], 1)


def _over_seeds(names: tuple[str, str], own: pd.DataFrame) -> dict[str, Any]:
    """A row of `Benchmarks.scores` from one label's rows for one key."""
    mean = mean_interval(own["value"])
    low, high = (max(0.0, mean.low), min(1.0, mean.high)) if mean.n > 1 else own[["low", "high"]].iloc[0]
    task, metric = names[1].split(".", 1)
    return {
        "subject": names[0], "key": names[1], "task": task, "metric": metric, "value": mean.mean, "low": low,
        "high": high, "n": own["n"].sum(), "higher_is_better": bool(own["higher_is_better"].iloc[0]),
    }  # fmt: skip


def _evaluated(folders: Sequence[Path]) -> Benchmarks:
    found = read_benchmarks(folders)
    if found is None:
        raise SystemExit(f"nothing below {', '.join(map(str, folders))} has been evaluated")
    return found


def _wanted(found: Benchmarks, lams: Sequence[float]) -> Iterator[tuple[str, dict[str, Any], Path]]:
    """(name, WHO, folder) of the runs with λ in `lams` or without any, in the order of every table."""
    for name, folder in found.subjects["path"].items():
        result = read_result(Path(folder) / "result.json").values
        if result["lam"] is None or result["lam"] in lams:
            yield str(name), {key: result[key] for key in WHO}, Path(folder)
