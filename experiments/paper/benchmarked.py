"""Figs 4, 5, 10, 11 and table 3: the embedded models on prompts of their own world."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from evaluated import BENCHMARKS, CONTESTS, LAMS, counts, grid, methods
from matplotlib.figure import Figure

from xright.analysis.figures.benchmark_figures import categories_figure, verdicts_figure, win_rate_figure
from xright.analysis.figures.radar_figure import radar_figure
from xright.analysis.numbers.statistics import mean_interval
from xright.analysis.style import number
from xright.analysis.text.tables import Grid
from xright.metrics import delta_m

BASELINE = "Sequential DPO→SFT (3,3)"
HARMFUL = ("harmful", "jailbreak")  # look-alikes are to be complied with
SAFETY = ("lookalike", *HARMFUL)
VERDICTS = ("full_compliance", "partial_refusal", "full_refusal")


def categories(folders: Sequence[Path]) -> pd.DataFrame:
    """How many prompts of each verb there are, and how many were refused."""
    rows = counts(folders, "categories", LAMS)
    return rows[rows["task"].isin(HARMFUL) & rows["name"].isin(["n", "refused"])]


def verdicts(folders: Sequence[Path]) -> pd.DataFrame:
    """How often each verdict was given."""
    rows = counts(folders, "verdicts", LAMS)
    return rows[rows["task"].isin(SAFETY)]


def at_all(rows: pd.DataFrame) -> pd.DataFrame:
    """The four benchmarks, of the methods that have both objectives: ORPO is an opponent of fig 5 only."""
    return rows[rows["key"].isin(list(BENCHMARKS)) & (rows["strategy"] != "orpo")]


def at_half(rows: pd.DataFrame) -> pd.DataFrame:
    """The same, of runs with λ = .5 or without any."""
    return at_all(rows)[lambda own: own["lam"].isna() | (own["lam"] == 0.5)]


def contests(rows: pd.DataFrame) -> pd.DataFrame:
    """The win rates, of runs with λ = .5 or without any."""
    return rows[rows["key"].isin(list(CONTESTS)) & (rows["lam"].isna() | (rows["lam"] == 0.5))]


def radar(rows: pd.DataFrame) -> Figure:
    """One axis per benchmark, means over seeds."""
    return radar_figure(methods(rows))


def win_rates(rows: pd.DataFrame) -> Figure:
    """Both opponents; means and 95 % intervals over seeds."""
    return win_rate_figure(methods(rows))


def verbs_figure(rows: pd.DataFrame) -> Figure:
    """One column per verb, all seeds together."""
    return categories_figure(methods(rows, "categories"))


def shares_figure(rows: pd.DataFrame) -> Figure:
    """Stacked shares of the verdicts, all seeds together; one panel per kind of prompt."""
    return verdicts_figure(methods(rows.assign(group=rows["task"], task="embedded world"), "verdicts"))


def by_verb(rows: pd.DataFrame) -> Grid:
    """Share complied with: of all prompts, and of the verbs that are least and most complied with."""
    lines = []
    for label, own in rows.groupby("label", sort=False):
        line = [str(label)]
        for task in HARMFUL:
            summed = own[own["task"] == task].pivot_table("count", "group", "name", aggfunc="sum")
            share = 1 - summed["refused"] / summed["n"]
            total = 1 - summed["refused"].sum() / summed["n"].sum()
            line.append(f"{total:.0%}")
            line += [
                f"{share[verb]:.0%} ({verb})" if share.nunique() > 1 else "–"
                for verb in (share.idxmin(), share.idxmax())
            ]
        lines.append(line)
    return Grid(["method", *(f"{task}: {w}" for task in HARMFUL for w in ("all verbs", "least", "most"))], lines, 1)


def by_verdict(rows: pd.DataFrame) -> Grid:
    """Verdicts as counts, all seeds together: full compliance / partial refusal / full refusal."""
    summed = rows.groupby(["label", "task", "name"], sort=False)["count"].sum()
    lines = [
        [str(label), *(" / ".join(str(summed[label, task, verdict]) for verdict in VERDICTS) for task in SAFETY)]
        for label in rows["label"].unique()
    ]
    return Grid(["method", *SAFETY], lines, 1)


def gains(rows: pd.DataFrame, baseline: str = BASELINE, keys: Sequence[str] = tuple(BENCHMARKS)) -> Grid:
    """Δm of every method over these keys (eq 52), each run over the baseline of its own seed, and all scores. A key
    that was not asked, or of which the baseline has 0, is left out by name."""
    values = rows.pivot_table("value", ["label", "seed"], "key", sort=False).reindex(columns=list(keys))
    at_start = values[values.index.get_level_values("label") == baseline]
    left_out = [key for key in keys if not (values[key].notna().any() and (at_start[key] > 0).all())]
    values = values.drop(columns=left_out)
    lower = [not rows.loc[rows["key"] == key, "higher_is_better"].iloc[0] for key in values]
    found: dict[str, list[float]] = {}
    for (label, seed), own in values.iterrows():
        if (baseline, seed) in values.index:
            found.setdefault(label, []).append(delta_m(own.tolist(), values.loc[(baseline, seed)].tolist(), lower))
    scores, lines = grid(rows), []
    for label, *cells in scores.rows:
        mean = mean_interval(found.get(label, []))
        interval = "" if mean.n < 2 else f" ({number(mean.low)} to {number(mean.high)})"
        lines.append([label, "baseline" if label == baseline else number(mean.mean) + interval, *cells])
    heading = f"Δm ↑ (without {', '.join(left_out)})" if left_out else "Δm ↑"
    return Grid(["method", heading, *scores.headings[1:]], lines, 1)
