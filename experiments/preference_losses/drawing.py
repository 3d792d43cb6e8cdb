"""The page of the preference losses: a table, who is nearer than DPO, and a picture."""

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from page import COLOURS, distances, in_words, judged, over
from publish import DPI, between_markers, shrink

from xright.analysis.numbers.statistics import mean_interval
from xright.analysis.style import INK, new_figure, styled
from xright.analysis.text.seed_tables import with_interval
from xright.analysis.text.tables import Grid, markdown

HERE = Path(__file__).parent
RIVAL = "dpo"
PANELS = {"distance": "distance", "sft": "left of SFT's gap", "mistakes": "left of the mistakes"}


def publish(table: pd.DataFrame) -> None:
    """Sentence, table and picture between the README's markers. table: rows of results.csv, one configuration a
    loss."""
    if RIVAL not in {*table["loss"]}:
        raise SystemExit(f"every loss is compared with {RIVAL}, which is not there yet; name it among --losses.")
    figure(table).savefig(HERE / "figure.png", dpi=DPI)
    shrink(HERE / "figure.png", HERE / "figure.png")
    picture = "![What each loss leaves of the base's SFT gap and mistakes](figure.png)\n"
    told = [f"{in_words(as_rules(table), RIVAL)}\n", markdown(standings(table)), picture]
    between_markers(HERE / "README.md", "\n".join(told))


def as_rules(table: pd.DataFrame) -> pd.DataFrame:
    """The rows as the league's page reads them, a loss in the place of a rule."""
    return table.assign(rule=table["loss"], method=table["loss"], ideal_distance=table["distance"])


def standings(table: pd.DataFrame) -> Grid:
    """Losses by their mean distance, and each world's difference to DPO."""
    wide, differences = distances(as_rules(table)), over(as_rules(table), RIVAL)
    lines = []
    for loss in wide:
        own = table[table["loss"] == loss]
        lines.append([
            loss, own["settings"].iloc[0].replace("objectives.dpo.", ""), with_interval(mean_interval(own["distance"])),
            f"{with_interval(differences[loss])} ({judged(differences[loss])})" if loss in differences else "",
            *(with_interval(mean_interval(own[key])) for key in ("sft", "mistakes")), str(len(own)),
        ])  # fmt: skip
    return Grid(["loss", "tuned", "distance", f"minus {RIVAL}'s", "SFT", "mistakes", "worlds"], lines, 2)


@styled
def figure(table: pd.DataFrame) -> Figure:
    """A panel per measure, a line per loss, a dot per world; the mean and its interval; coloured by the distance."""
    order = [*distances(as_rules(table))]
    words = {loss: judged(difference) for loss, difference in over(as_rules(table), RIVAL).items()}
    made = new_figure(10, 1.2 + 0.24 * len(order))
    for (measure, title), ax in zip(PANELS.items(), made.subplots(1, len(PANELS), sharey=True), strict=True):
        for place, loss in enumerate(order):
            own, colour = table[table["loss"] == loss][measure], COLOURS.get(words.get(loss, ""), INK)
            mean = mean_interval(own)
            ax.plot(own, [place] * len(own), "o", color=colour, markersize=2.5, alpha=0.5)
            half = 0 if mean.n < 2 else mean.half
            ax.errorbar(mean.mean, place, xerr=half, color=colour, marker="o", capsize=2)
        ax.set(title=title, xlabel="of the base's")
        ax.set_yticks(range(len(order)), order)
        ax.set_ylim(len(order) - 0.5, -0.5)
        ax.set_xlim(left=0)
    marks = [Line2D([], [], color=colour, marker="o", label=word) for word, colour in COLOURS.items()]
    made.legend(handles=marks, loc="outside lower right", ncols=len(marks), frameon=False)
    return made
