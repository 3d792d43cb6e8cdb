"""A chart on a screen: drawn by plotly in the reader's browser.

The page gives the colours of text, lines and paper, light or dark (`report.js`), and of what is INK. Plotly reads a
subset of HTML (<b>, <a href>, …) in names, ticks and hover texts, so whatever comes from data goes through `plain`;
values in hover templates come from `customdata` and `meta`, which are not templates themselves.
"""

import base64
import gzip
from html import escape
from typing import Any

import numpy as np
import plotly.graph_objects as go
from markupsafe import Markup

from xright.analysis.figures.chart import LINEAR_BELOW, Axis, Chart, Mark, Panel, Row
from xright.analysis.style import DASHES, INK

PIXELS = 96  # per inch of height
ACROSS = 72  # per inch of width, at least: below, the page scrolls
ROOM = {"title": 30, "ticks": 48, "axis": 34, "bare": 16, "letter": 6.6}  # pixels around a panel, for words
NOTHING = {"x": [None], "y": [None], "hoverinfo": "skip", "showlegend": False}
SYMBOLS = {"X": "x", "s": "square", "o": "circle", "D": "diamond", "P": "cross", "v": "triangle-down", "*": "star"}
SYMBOLS |= {"<": "triangle-left", ">": "triangle-right", "^": "triangle-up", "p": "pentagon", "h": "hexagon"}
SYMBOLS |= {"d": "diamond-tall", "H": "hexagon2", "8": "octagon", "|": "line-ns-open"}
LINES = dict(zip(DASHES, ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot"), strict=True))
SIDES = {"right": "middle right", "left": "middle left", "centre": "middle center"}
LOG_TICKS = [float(f"{digit}e{power}") for power in range(-5, 4) for digit in (1, 2, 5)]
SYMLOG_TICKS = [-1.0, -0.1, -0.01, 0.0, 0.01, 0.1, 1.0, 10.0, 100.0]


def on_screen(chart: Chart) -> go.Figure:
    """Return the chart as a plotly figure."""
    height = sum(PIXELS * row.height for row in chart.rows)
    figure = go.Figure()
    layout: dict[str, Any] = {}
    titles, traces = [], []
    seen: set[str] = set()
    number, top = 0, height
    margin = min(_rooms(row)[0] for row in chart.rows)  # is found by plotly
    for row in chart.rows:
        bottom = top - PIXELS * row.height
        above = ROOM["title"] if any(panel.title for panel in row.panels) else 0
        domain = [(bottom + ROOM["ticks"]) / height, (top - above) / height]
        first = number + 1
        for place, (panel, across) in enumerate(zip(row.panels, _domains(row, chart.width, margin), strict=True)):
            number += 1
            for side, about, span in (("x", panel.x, across), ("y", panel.y, domain)):
                other = "y" if side == "x" else "x"
                axis = _axis(about) | {"domain": span, "anchor": f"{other}{number}"}
                axis |= {"title": {"text": plain(row.titles(place)[side])}}
                if side in row.shared and place:
                    axis |= {"matches": f"{side}{first}", "showticklabels": side == "x"}
                if panel.equal:
                    axis |= {"constrain": "domain"}
                if panel.equal and side == "y":
                    axis |= {"constraintoward": "top", "scaleanchor": f"x{number}"}
                layout[f"{side}axis{number}"] = axis
            titles.append(_words(panel.title, across, domain[1], "bottom"))
            if panel.nothing:
                titles.append(_words(panel.nothing, across, sum(domain) / 2, "middle"))
            marks = [_trace(mark, panel, seen) for mark in panel.marks] or [NOTHING]
            traces += [{"type": "scatter", **trace, "xaxis": f"x{number}", "yaxis": f"y{number}"} for trace in marks]
        top = bottom
    figure.add_traces(traces)
    figure.update_layout(
        template="none", height=height + 50 + 60 * bool(seen), margin={"l": 5, "r": 20, "t": 30, "b": 20},
        hovermode="closest", barmode="overlay", paper_bgcolor=None, plot_bgcolor=None, annotations=titles,
        legend={"orientation": "h", "y": -8 / height, "yanchor": "top"}, **layout,
    )  # fmt: skip
    return figure


def narrowest(chart: Chart) -> int:
    """Return the width in pixels below which the chart scrolls."""
    return int(ACROSS * chart.width)


def _rooms(row: Row) -> list[float]:
    """Pixels to the left of each panel, for the words of its axis."""
    rooms = []
    for place, panel in enumerate(row.panels):
        longest = max(map(len, panel.y.names), default=0) * ROOM["letter"]
        alone = (not place or "y" not in row.shared) and not panel.nothing
        rooms.append((longest or ROOM["ticks"] + ROOM["axis"]) + 8 if alone else ROOM["bare"])
    return rooms


def _domains(row: Row, width: float, margin: float) -> list[list[float]]:
    """From where to where each panel goes, as fractions of the width beside a margin of so many pixels."""
    rooms = np.array(_rooms(row))
    rooms[0] -= margin
    widths = np.array(row.widths or [1] * len(row.panels), dtype=float)
    each = np.maximum((ACROSS * width - margin - rooms.sum()) * widths / widths.sum(), 1)
    ends = np.cumsum(each + rooms)
    return (np.column_stack([ends - each, ends]) / ends[-1]).tolist()


def _words(text: str, across: list[float], y: float, anchor: str) -> dict[str, Any]:
    """Words above or in the middle of a panel."""
    return {"text": plain(text), "x": sum(across) / 2, "y": y, "xref": "paper", "yref": "paper", "xanchor": "center",
            "yanchor": anchor, "showarrow": False}  # fmt: skip


def embedded(text: str) -> Markup:
    """Text as it may stand in a <script> element, of a fraction of its length: gzip's, in base64; `report.js` reads it.

    >>> gzip.decompress(base64.b64decode(embedded("</script>"))).decode()
    '</script>'
    """
    return Markup(base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode())


def plain(text: object) -> str:
    """Text that plotly shows as it is; of quotes it knows no other writing.

    >>> plain('"<b>" & ...')
    '"&lt;b&gt;" &amp; ...'
    """
    return escape(str(text), quote=False)


def _trace(mark: Mark, panel: Panel, seen: set[str]) -> dict[str, Any]:
    """A trace as a dict: checked once, by `add_traces`."""
    colour = {} if mark.colour == INK else {"color": mark.colour}
    trace: dict[str, Any] = {
        "x": _scaled(mark.x, panel.x), "y": _scaled(mark.y, panel.y), "opacity": mark.alpha,
        "name": plain(mark.group), "legendgroup": plain(mark.group), **_hover(mark),
        "showlegend": mark.listed and mark.group not in seen,
    }  # fmt: skip
    seen |= {mark.group} if mark.listed else set()
    if mark.bar_from is not None:
        ends: dict[str, Any] = {"x": mark.x - mark.bar_from, "base": mark.bar_from}
        return trace | {"type": "bar", "orientation": "h", "width": 0.7, "marker": colour, **ends}
    if mark.filled:
        area = {"line": {"width": 0}, "fill": "toself", "fillcolor": mark.colour, "mode": "lines"}
        return trace | {"type": "scatter", **area}
    modes = [name for name, on in (("lines", mark.dash), ("markers", mark.marker), ("text", len(mark.texts))) if on]
    trace |= {"type": "scatter", "mode": "+".join(modes) or "none"}
    if mark.dash:
        trace["line"] = {"dash": LINES[mark.dash], "width": 1.2 * mark.width, **colour}
    if mark.marker:
        symbol = SYMBOLS[mark.marker] + ("-open" if mark.hollow else "")
        trace["marker"] = {"symbol": symbol, "size": 1.4 * mark.size, **colour}
    if len(mark.texts):
        before, after = {"right": ("\u2003", ""), "left": ("", "\u2003"), "centre": ("", "")}[mark.side]
        trace["text"] = [before + plain(text) + after for text in mark.texts]
        trace["textposition"] = SIDES[mark.side]
        trace["textfont"] = {"size": 11} | colour
    return trace


def _hover(mark: Mark) -> dict[str, Any]:
    """Return what is told of a point: the head, then a line per fact."""
    if not mark.facts:
        return {"hoverinfo": "skip"}
    lines = [f"%{{meta[{place}]}} %{{customdata[{place - 1}]}}" for place in range(1, 1 + len(mark.facts))]
    return {
        "meta": [plain(text) for text in (mark.head, *mark.facts)],
        "customdata": np.array(list(map(list, zip(*mark.facts.values(), strict=True))), dtype=object),
        "hovertemplate": "<br>".join(["<b>%{meta[0]}</b>", *lines]) + "<extra></extra>",
    }


def _scaled(values: Any, axis: Axis) -> np.ndarray:
    """Return values as the axis shows them: plotly has no scale that is linear around 0 and logarithmic beyond."""
    found = np.asarray(values, dtype=float)
    found = np.arcsinh(found / LINEAR_BELOW) if axis.scale == "symlog" else found
    return found.astype(np.float32)  # half as long in the page


def _axis(about: Axis) -> dict[str, Any]:
    axis: dict[str, Any] = {"zeroline": False}
    if about.names:
        names = [plain(name) for name in about.names]
        axis |= {"tickvals": list(range(len(names))), "ticktext": names, "showgrid": False}
        return axis | {"range": [len(names) - 0.4, -0.6]}
    if about.scale == "log":
        few = about.limits and about.limits[1] > 100 * about.limits[0]
        ticks = LOG_TICKS[:: 3 if few else 1]
        axis |= {"type": "log", "tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}
    if about.scale == "symlog":
        texts = [f"{tick:g}".replace("-", "−") for tick in SYMLOG_TICKS]
        axis |= {"tickvals": _scaled(SYMLOG_TICKS, about), "ticktext": texts, "zeroline": True}
    if about.limits:
        axis["range"] = np.log10(about.limits) if about.scale == "log" else _scaled(about.limits, about)
    return axis
