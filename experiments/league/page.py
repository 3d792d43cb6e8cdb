"""The league's page: which rules end nearer to the ideal point than plain Mix or ALRIGHT, which tie, and a picture."""

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from publish import DPI, between_markers, shrink

from xright.analysis.numbers.statistics import Mean, mean_interval, verdict
from xright.analysis.style import FAINT, INK, new_figure, plain_ticks, styled
from xright.analysis.text.seed_tables import with_interval
from xright.analysis.text.tables import Grid, markdown

HERE = Path(__file__).parent
RIVALS = ("mix", "alright")
VERDICTS = {"holds": "nearer", "cannot tell": "ties", "does not hold": "farther"}  # of "it is nearer"
COLOURS = {"nearer": "#009E73", "ties": FAINT, "farther": "#D55E00"}


def publish(table: pd.DataFrame) -> None:
    """Tables, sentences and picture between the README's markers. table: rows of results.csv, one configuration a
    rule."""
    if "mix" not in {*table["rule"]}:
        raise SystemExit("every rule is compared with mix, which is not there yet; give --rule mix first.")
    told = []
    for budget, own in table.groupby("budget", sort=True):
        said = "\n".join(f"- {in_words(own, rival)}" for rival in RIVALS if rival in {*own["rule"]})
        told.append(f"### At equal {budget}\n\n{said}\n\n{markdown(standings(own))}")
    figure(table).savefig(HERE / "figure.png", dpi=DPI)
    shrink(HERE / "figure.png", HERE / "figure.png")
    told.append("![Ideal distance minus Mix's, by rule](figure.png)\n")
    between_markers(HERE / "README.md", "\n".join(told))


def distances(table: pd.DataFrame) -> pd.DataFrame:
    """Ideal distances of one budget: a row per world, a column per rule, the nearest first."""
    wide = table.pivot_table(index="seed", columns="rule", values="ideal_distance")
    return wide[wide.mean().sort_values(kind="stable").index]


def over(table: pd.DataFrame, rival: str) -> dict[str, Mean]:
    """Each other rule's ideal distance minus the rival's, paired by world, the nearest first."""
    wide = distances(table)
    return {rule: mean_interval((wide[rule] - wide[rival]).dropna()) for rule in wide if rule != rival}


def judged(difference: Mean) -> str:
    """nearer, ties or farther; open, where one world gives no interval."""
    return VERDICTS[verdict(difference)] if difference.n > 1 else "open"


def in_words(table: pd.DataFrame, rival: str) -> str:
    """Who is nearer than the rival, who ties with it and who is farther, as a sentence."""
    methods = table.groupby("rule")["method"].first()
    found = {rule: judged(difference) for rule, difference in over(table, rival).items()}
    said = []
    for word in (*COLOURS, "open"):
        names = [methods[rule] for rule, own in found.items() if own == word]
        if names or word in COLOURS:
            said.append(f"{word}: {', '.join(names) or 'none'}")
    return f"Beside **{methods[rival]}**, {'; '.join(said)}."


def standings(table: pd.DataFrame) -> Grid:
    """Rules by their mean distance; each world's difference to Mix; and the mean rank over worlds that all have run."""
    wide, differences = distances(table), over(table, "mix")
    ranks, lines = wide.dropna().rank(axis=1), []
    for rule in wide:
        own = table[table["rule"] == rule]
        lines.append([
            own["method"].iloc[0], own["settings"].iloc[0], "/".join(map(str, own["epochs"].unique())),
            with_interval(mean_interval(wide[rule])),
            f"{with_interval(differences[rule])} ({judged(differences[rule])})" if rule in differences else "",
            with_interval(mean_interval(ranks[rule])) if len(ranks) else "–",
            with_interval(mean_interval(own["hypervolume"])), str(len(own)),
        ])  # fmt: skip
    return Grid(["rule", "tuned", "epochs", "ideal distance", "minus Mix's", "rank", "hypervolume", "worlds"], lines, 3)


@styled
def figure(table: pd.DataFrame) -> Figure:
    """Ideal distance minus Mix's: a panel per budget, a line per rule, a dot per world; the mean and its interval."""
    budgets = [own for _, own in table.groupby("budget", sort=True)]
    order = [rule for rule in distances(budgets[0]) if rule != "mix"]
    methods = table.groupby("rule")["method"].first()
    made = new_figure(10, 1 + 0.24 * len(order))
    for own, ax in zip(budgets, made.subplots(1, len(budgets), sharey=True, squeeze=False)[0], strict=True):
        wide = distances(own)
        for rule, mean in over(own, "mix").items():
            place, colour = order.index(rule), COLOURS.get(judged(mean), FAINT)
            ax.plot(wide[rule] - wide["mix"], [place] * len(wide), "o", color=colour, markersize=2.5, alpha=0.5)
            ax.errorbar(mean.mean, place, xerr=0 if mean.n < 2 else mean.half, color=colour, marker="o", capsize=2)
        ax.axvline(0, color=INK, linewidth=0.8)
        ax.set(title=f"at equal {own['budget'].iloc[0]}", xlabel="ideal distance minus Mix's (nats)")
        ax.set_xscale("symlog", linthresh=0.02)
        plain_ticks(ax.xaxis)
        ax.set_yticks(range(len(order)), [methods[rule] for rule in order])
        ax.set_ylim(len(order) - 0.5, -0.5)
    marks = [Line2D([], [], color=colour, marker="o", label=word) for word, colour in COLOURS.items()]
    made.legend(handles=marks, loc="outside lower right", ncols=len(marks), frameon=False)
    return made
