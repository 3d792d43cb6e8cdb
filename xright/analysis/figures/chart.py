"""What a figure shows, described once: `printed` draws it with matplotlib, `on_screen` with plotly.

A chart is rows of panels; a panel is marks on two axes, drawn in their order. Sizes are in inches (charts) and points
(marks), colours are those of `style`: INK is the page's own text colour. Dashes and markers are named as in matplotlib.
A mark with `facts` tells them when it is pointed at or reached by keys.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from xright.analysis.style import INK, NAME, Dash, cut

LINEAR_BELOW = 0.01  # where the scale "symlog" turns linear


@dataclass(frozen=True, kw_only=True)
class Mark:
    """One thing drawn at the points (x, y), of which NaN interrupts a line.

    A line where there is a `dash`, marks where there is a `marker`, words where there are `texts` (one per point, to
    the `side` named), a bar along each row y from `bar_from` to x, or the area that the points go round (`filled`).
    group: whom it belongs to; listed: the legend has an entry of this name and look. head: the first line of what is
    told of every point, facts: {name: value per point}, the others.
    """

    x: Any
    y: Any
    colour: str = INK
    alpha: float = 1.0
    dash: Dash = ""
    width: float = 1.4
    marker: str = ""
    size: float = 6.0
    hollow: bool = False
    filled: bool = False
    bar_from: float | None = None
    texts: Sequence[str] = ()
    side: str = "right"
    group: str = ""
    listed: bool = False
    head: str = ""
    facts: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for key in ("x", "y"):
            object.__setattr__(self, key, np.asarray(getattr(self, key), dtype=float))
        object.__setattr__(self, "texts", [cut(text, NAME) for text in self.texts])


@dataclass(frozen=True, kw_only=True)
class Axis:
    """scale: linear, log or symlog. names: of the rows 0, 1, …, the first on top."""

    title: str = ""
    scale: str = "linear"
    limits: tuple[float, float] | None = None
    names: Sequence[str] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", [cut(name, NAME) for name in self.names])


@dataclass(frozen=True, kw_only=True)
class Panel:
    """equal: a unit is as long on both axes. nothing: why there is no mark, in words."""

    marks: Sequence[Mark]
    title: str = ""
    x: Axis = field(default_factory=Axis)
    y: Axis = field(default_factory=Axis)
    equal: bool = False
    nothing: str = ""


@dataclass(frozen=True, kw_only=True)
class Row:
    """Panels side by side; shared: the axes ("x", "y", "xy") that are the same in all of them."""

    panels: Sequence[Panel]
    height: float
    shared: str = ""
    widths: Sequence[float] | None = None

    def titles(self, place: int) -> dict[str, str]:
        """Return the titles of a panel's axes: what is the same in all panels is said once, at the first or below the
        middle."""
        says = {"x": place == len(self.panels) // 2 or "x" not in self.shared, "y": not place or "y" not in self.shared}
        panel = self.panels[place]
        return {side: axis.title if says[side] else "" for side, axis in (("x", panel.x), ("y", panel.y))}


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Rows of panels, `width` inches wide, with one legend below."""

    rows: Sequence[Row]
    width: float

    @property
    def marks(self) -> list[Mark]:
        """Return the marks of all panels."""
        return [mark for row in self.rows for panel in row.panels for mark in panel.marks]


def segments(low: Any, high: Any) -> np.ndarray:
    """Return the coordinates of intervals as one line, from each `low` to its `high`, interrupted after each.

    >>> segments([1, 5], [2, 6])
    array([ 1.,  2., nan,  5.,  6., nan])
    """
    low, high = np.asarray(low, dtype=float), np.asarray(high, dtype=float)
    return np.column_stack([low, high, np.full_like(low, np.nan)]).ravel()
