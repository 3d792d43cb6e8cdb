"""A chart on paper: drawn by matplotlib."""

from collections.abc import Mapping
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.axis import Axis as MatplotlibAxis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator

from xright.analysis.figures.chart import LINEAR_BELOW, Axis, Chart, Mark, Panel
from xright.analysis.style import INK, NAME, SETTINGS, cut, new_figure, plain_ticks

ENTRY, LETTER = 48, 5.8  # points of a legend's entry without its words, and of a wide letter
ALIGNED = {"right": ("left", 7), "left": ("right", -7), "centre": ("center", 0)}  # side: (alignment, shift in points)


def printed(chart: Chart) -> Figure:
    """Return the chart as a matplotlib figure."""
    with matplotlib.rc_context(SETTINGS):
        figure = new_figure(chart.width, sum(row.height for row in chart.rows))
        parts: Any = figure.subfigures(len(chart.rows), 1, height_ratios=[row.height for row in chart.rows])
        for part, row in zip([parts] if len(chart.rows) == 1 else parts, chart.rows, strict=True):
            shares = {f"share{axis}": axis in row.shared for axis in "xy"}
            panels = part.subplots(1, len(row.panels), squeeze=False, width_ratios=row.widths, **shares)[0]
            for place, axes in enumerate(panels):
                _panel(axes, row.panels[place], row.titles(place))
        _legend(figure, chart)
    return figure


def _panel(axes: Axes, panel: Panel, titles: Mapping[str, str]) -> None:
    axes.set_title(panel.title)
    if panel.nothing:
        axes.text(0.5, 0.5, panel.nothing, transform=axes.transAxes, ha="center", va="center", wrap=True)
        axes.set_axis_off()
    for place, mark in enumerate(panel.marks, start=1):
        _mark(axes, mark, zorder=place)
    for side, about in (("x", panel.x), ("y", panel.y)):
        _axis(axes, side, about)
        getattr(axes, f"set_{side}label")(titles[side])
    if panel.equal:
        axes.set_aspect("equal")


def _mark(axes: Axes, mark: Mark, zorder: float) -> None:
    style: Any = {"color": mark.colour, "alpha": mark.alpha, "zorder": zorder}
    if mark.bar_from is not None:
        axes.barh(mark.y, mark.x - mark.bar_from, left=mark.bar_from, height=0.7, **style)
    elif mark.filled:
        axes.fill(mark.x, mark.y, linewidth=0, **style)
    elif mark.dash or mark.marker:
        axes.plot(mark.x, mark.y, **style, **_line(mark))
    align, shift = ALIGNED[mark.side]
    for x, y, text in zip(mark.x, mark.y, mark.texts, strict=False):
        axes.annotate(
            text, (x, y), (shift, 0), textcoords="offset points", ha=align, va="center", fontsize=8, color=mark.colour,
            annotation_clip=True, clip_on=True,
        )  # fmt: skip


def _line(mark: Mark) -> dict[str, Any]:
    bordered = not mark.hollow and mark.colour != INK and mark.alpha == 1
    edge = {"markeredgecolor": "white", "markeredgewidth": 0.6} if bordered else {}
    face = {"markerfacecolor": "none"} if mark.hollow else {}
    return (
        {"linestyle": mark.dash, "linewidth": mark.width, "marker": mark.marker, "markersize": mark.size} | edge | face
    )


def _axis(axes: Axes, side: str, about: Axis) -> None:
    axis: MatplotlibAxis = getattr(axes, f"{side}axis")
    scale = getattr(axes, f"set_{side}scale")
    if about.names:
        axis.set_ticks(range(len(about.names)), about.names)
        getattr(axes, f"set_{side}lim")(len(about.names) - 0.4, -0.6)
        axis.grid(visible=False)
        return
    if about.scale == "log":
        scale("log")
        low, high = about.limits or getattr(axes.dataLim, f"interval{side}")
        axis.set_major_locator(LogLocator(subs=(1, 2, 3, 5) if high < 100 * low else (1,)))
        plain_ticks(axis)
    elif about.scale == "symlog":
        scale("symlog", linthresh=LINEAR_BELOW)
        plain_ticks(axis)
    if about.limits:
        getattr(axes, f"set_{side}lim")(about.limits)


def _legend(figure: Figure, chart: Chart) -> None:
    """One entry per name, in the order of the marks."""
    listed: dict[str, Mark] = {}
    for mark in chart.marks:
        if mark.listed:
            listed.setdefault(cut(mark.group, NAME), mark)
    handles = [Line2D([], [], color=mark.colour, label=name, **_line(mark)) for name, mark in listed.items()]
    if handles:
        across = max(1, int(chart.width * 72 / (ENTRY + LETTER * max(map(len, listed)))))
        figure.legend(handles=handles, loc="outside lower center", ncols=min(len(listed), across), frameon=False)
