"""One table over subjects: every score with its interval, and Δm against the baseline (arXiv 2410.15483, eq 52).

    Δm(A, B) = mean_m (−1)^l_m (A_m − B_m) / B_m       l_m = 1 where lower is better

over M metrics: those asked for, else all but parts of a task (with a slash in their name, such as
"safe/full_refusal", which say the same again). Only metrics count that *every* subject has and whose baseline B_m is
positive; what is left out is said. Its interval
follows from those of the scores: with s = (high − low) / (2 · 1.96) for the standard error of a score,

    s(Δm)² = 1/M² Σ_m (s_A,m / B_m)² + (A_m s_B,m / B_m²)²                  interval: Δm ± 1.96 s(Δm)

which takes all scores as independent. Subjects that answer the same prompts vary together, so for them it is on the
wide side; metrics made of the same answers (two shares of one task) vary together too, which makes it narrower.
"""

import math

import pandas as pd

from xright.analysis.read.benchmarks import Benchmarks
from xright.analysis.style import number
from xright.analysis.text.tables import Grid
from xright.metrics import delta_m

Z = 1.959964  # of a 95 % interval, in standard errors


def shown(benchmarks: Benchmarks) -> list[str]:
    """The keys of the table for people: without parts of a task ("xstest.safe/full_refusal") but those asked for."""
    metrics = benchmarks.scores.drop_duplicates("key").set_index("key")["metric"]
    return [str(key) for key, metric in metrics.items() if "/" not in metric or key in benchmarks.chosen]


def compared(benchmarks: Benchmarks) -> list[str]:
    """Return the keys that Δm is over."""
    values = benchmarks.wide()
    usable = values.notna().all() & (values.loc[benchmarks.baseline] > 0)
    return [key for key in benchmarks.chosen or shown(benchmarks) if usable[key]]


def directions(benchmarks: Benchmarks) -> pd.Series:
    """{key: higher is better}, in the order of the keys."""
    return benchmarks.scores.drop_duplicates("key").set_index("key")["higher_is_better"].astype(bool)


def delta_ms(benchmarks: Benchmarks) -> pd.DataFrame:
    """`delta_m` with `low` and `high`, one row per subject; all missing where no metric can be compared."""
    keys, base = compared(benchmarks), benchmarks.baseline
    values, errors = benchmarks.wide()[keys], _standard_errors(benchmarks)[keys]
    lower = (~directions(benchmarks)[keys]).tolist()
    rows = {}
    for subject in values.index:
        if not keys:
            rows[subject] = (math.nan,) * 3
            continue
        delta = delta_m(values.loc[subject].tolist(), values.loc[base].tolist(), lower)
        squares = (errors.loc[subject] / values.loc[base]) ** 2
        squares += (values.loc[subject] * errors.loc[base] / values.loc[base] ** 2) ** 2
        reach = 0.0 if subject == base else Z * math.sqrt(squares.sum()) / len(keys)
        rows[subject] = (delta, delta - reach, delta + reach)
    return pd.DataFrame.from_dict(rows, orient="index", columns=["delta_m", "low", "high"])


def benchmark_grid(benchmarks: Benchmarks) -> Grid:
    """Return the table for people: a row per subject, "0.523 (0.502 to 0.544)" in a cell, an arrow to where better
    is."""
    values, low, high = (benchmarks.wide(column)[shown(benchmarks)] for column in ("value", "low", "high"))
    delta, up = delta_ms(benchmarks), directions(benchmarks)
    headings = ["subject", "Δm ↑", *(f"{words(key)} {'↑' if up[key] else '↓'}" for key in values)]
    rows = []
    for name in values.index:
        gain = "baseline" if name == benchmarks.baseline else _cell(*delta.loc[name])
        rows.append([name, gain, *(_cell(values.at[name, k], low.at[name, k], high.at[name, k]) for k in values)])
    return Grid(headings, rows, 1)


def benchmark_csv(benchmarks: Benchmarks) -> pd.DataFrame:
    """Return the table for programs: a row per subject with `delta_m`, `delta_m.low`, `delta_m.high`, `baseline`, and
    for each key `key`, `key.low`, `key.high`, `key.n`."""
    delta = delta_ms(benchmarks)
    columns: dict[str, pd.Series] = {
        "delta_m": delta["delta_m"], "delta_m.low": delta["low"], "delta_m.high": delta["high"],
    }  # fmt: skip
    for key, values in benchmarks.wide().items():
        columns[str(key)] = values
        columns |= {f"{key}.{end}": benchmarks.wide(end)[key] for end in ("low", "high", "n")}
    about = benchmarks.subjects[["folder", "model", "strategy"]].assign(baseline=benchmarks.baseline)
    return pd.concat([about, pd.DataFrame(columns)], axis=1).rename_axis("subject").reset_index()


def benchmark_notes(benchmarks: Benchmarks) -> list[str]:
    """Return what a reader of the numbers has to know: who judged, what Δm is over, and what does not compare."""
    keys, scores = compared(benchmarks), benchmarks.scores
    notes = [
        f"{task} is judged by {', '.join(dict.fromkeys(map(str, judges.values())))}."
        for detail in ("judge", "reward_model")
        for task, judges in benchmarks.details(detail)
    ]
    notes.append(
        f"Δm (eq 52) is relative to {benchmarks.baseline}, over {', '.join(keys)}."
        if keys
        else f"There is no Δm: {benchmarks.baseline} has no positive score that every subject has."
    )
    if without := [key for key in benchmarks.chosen or shown(benchmarks) if key not in keys]:
        reason = "not every subject has it, or the baseline's is not positive"
        notes.append(f"Δm leaves out {', '.join(without)}: {reason}.")
    for key, sizes in scores.groupby("key", sort=False)["n"]:
        if sizes.nunique() > 1:
            notes.append(f"{key} is from {sizes.min():,.0f} to {sizes.max():,.0f} prompts, not the same for all.")
    return notes + _unlike_settings(benchmarks)


def _unlike_settings(benchmarks: Benchmarks) -> list[str]:
    notes = []
    for task in benchmarks.scores["task"].unique():
        settings = [entry.get("settings") or {} for (_, name), entry in benchmarks.tasks.items() if name == task]
        keys = dict.fromkeys(key for setting in settings for key in setting)
        unlike = [key for key in keys if len({repr(setting.get(key)) for setting in settings}) > 1]
        if unlike:
            differing = f"differing in {', '.join(unlike)}"
            notes.append(f"{task} was not run in the same way for all ({differing}): compare with care.")
    return notes


def words(key: str) -> str:
    """A key as people read it, in lines that may be broken: "xstest safe compliance"."""
    return key.replace(".", " ", 1).replace("_", " ")


def _standard_errors(benchmarks: Benchmarks) -> pd.DataFrame:
    return (benchmarks.wide("high") - benchmarks.wide("low")) / (2 * Z)


def _cell(value: float, low: float, high: float) -> str:
    return "–" if pd.isna(value) else f"{number(value)} ({number(low)} to {number(high)})"
