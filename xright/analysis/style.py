"""How the figures look: one colour and one marker per method, everywhere; readable in print and in the dark.

Colours are those of Okabe and Ito (told apart with every common colour-vision deficiency); the marker says
the same once more. Text and lines use `INK`, which the page replaces by its own text colour.
"""

import math
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any, TypeVar

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

T = TypeVar("T")
Dash = str | tuple[int, tuple[int, ...]]

INK = "#222223"  # a colour that nothing else has, so that the page can replace it
FAINT = "#8a8a8b"
LOOKS = {  # method: (colour, marker)
    "sequential": ("#D55E00", "X"),
    "mix": ("#0072B2", "s"),
    "alright": ("#009E73", "o"),
    "maxright": ("#CC79A7", "D"),
    "model average": ("#E69F00", "P"),
    "orpo only": ("#56B4E9", "v"),
    "sft only": ("#9A8C7A", "<"),
    "dpo only": ("#6E6E8F", ">"),
}
MORE = (  # of the methods that are not in LOOKS, in the order in which they are met
    *(("#7B61D1", "^"), ("#8C564B", "p"), ("#999933", "h"), ("#17A2B8", "d"), ("#B2182B", "8"), ("#66A61E", "H")),
    *(("#1F3A5F", "<"), ("#B58B00", ">"), ("#5B3A29", "v"), ("#7A9E9F", "*")),
)
DASHES: tuple[Dash, ...] = ("-", "--", ":", "-.", (0, (7, 2)), (0, (7, 2, 1, 2, 1, 2)))
LONGEST = 1500  # characters that the page shows of a prompt or an answer
NAME = 60  # and a figure of a label
GROUP = ["strategy", "method", "variant", "lam", "weighting", "label"]
SETTINGS: Any = {  # rcParams while a figure is built and saved
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": FAINT,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "text.parse_math": False,  # labels come from data
    "svg.hashsalt": "xright",
    **dict.fromkeys(["text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"], INK),
}


def styled(plot: Callable[[T], Figure]) -> Callable[[T], Figure]:
    """Build the figure under SETTINGS without changing anyone else's."""

    @wraps(plot)
    def with_settings(shown: T) -> Figure:
        with matplotlib.rc_context(SETTINGS):
            return plot(shown)

    return with_settings


_met: list[str] = []


def look(method: str) -> tuple[str, str]:
    """(colour, marker) of a method, by its name or its strategy's: the same throughout a program.

    >>> look("Model average") == look("model_average")
    True
    """
    name = method.lower().replace("_", " ").removesuffix(" only")
    for known in (name, f"{name} only"):
        if known in LOOKS:
            return LOOKS[known]
    if name not in _met:
        _met.append(name)
    return MORE[_met.index(name) % len(MORE)]


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, inches; constrained layout, not tied to any global state or window."""
    return Figure(figsize=(width, height), layout="constrained")


def groups(table: pd.DataFrame) -> Iterator[tuple[dict, pd.DataFrame]]:
    """(its first run, its runs) for each method and weighting, in the table's order."""
    for _, group in table.groupby(GROUP, dropna=False, sort=False):
        yield group.iloc[0].to_dict(), group


def groups_with(table: pd.DataFrame, rows: pd.DataFrame) -> Iterator[tuple[dict, pd.DataFrame, pd.DataFrame]]:
    """`groups`, each with the `rows` of its runs: those of a table with a column `folder`, in its order."""
    places = rows.groupby("folder", sort=False).indices
    for key, group in groups(table):
        mine = [places[folder] for folder in group["folder"] if folder in places]
        yield key, group, rows.iloc[np.sort(np.concatenate(mine)) if mine else []]


def short_name(key: dict) -> str:
    """A label without its method's name: "λ=0.5", "DPO→SFT (5,1)"; the label where nothing is left."""
    return key["label"].removeprefix(key["method"]).strip() or key["label"]


def plain_ticks(axis: Axis) -> None:
    """Tick labels as plain numbers (0.01, 2), on any scale."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("-", "−")))
    axis.set_minor_formatter(NullFormatter())


def number(value: float) -> str:
    """Three significant digits in plain notation: 2.04, 0.093, −0.017."""
    if pd.isna(value) or value == 0:
        return "–" if pd.isna(value) else "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{min(digits, 4)}f}".replace("-", "−")


def cut(text: str, most: int = LONGEST) -> str:
    """A text as long as it is shown, or its beginning and a sign that there is more."""
    return text if len(text) <= most else text[:most].rstrip() + " […]"
