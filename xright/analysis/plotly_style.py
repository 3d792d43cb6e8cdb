"""What all interactive figures share: text that stays text, a run's hover words, a layout without colours, JSON.

Plotly reads a subset of HTML (<b>, <a href>, …) in names, ticks and hover texts, so whatever comes from data goes
through `plain` first; values in hover templates come from `customdata` and `meta`, which are not templates themselves.
"""

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from markupsafe import Markup


def plain(text: object) -> str:
    """Text that plotly shows as it is; of quotes it knows no other writing.

    >>> plain('"<b>" & ...')
    '"&lt;b&gt;" &amp; ...'
    """
    return escape(str(text), quote=False)


def meta(key: dict) -> list[str]:
    """Label and λ of a method, for %{meta[0]} and %{meta[1]}."""
    return [plain(key["label"]), "–" if pd.isna(key["lam"]) else f"{key['lam']:g}"]


def trace(x: Any, y: Any, about: Sequence[Sequence[object]], mode: str = "lines", **style: Any) -> dict[str, Any]:
    """A scatter trace as a dict, checked once, by `add_traces`; about: for %{customdata[…]}, a row per point."""
    return {"type": "scatter", "x": x, "y": y, "customdata": np.array(about, dtype=object), "mode": mode, **style}


def finish(figure: go.Figure, height: int) -> go.Figure:
    """Height in pixels, and all that the figures have in common but for the page's colours (`report.js`)."""
    figure.update_layout(
        template="none", height=height, margin={"l": 60, "r": 20, "t": 64, "b": 50}, hovermode="closest",
        legend={"orientation": "h", "y": -0.18, "yanchor": "top"}, paper_bgcolor=None, plot_bgcolor=None,
    )  # fmt: skip
    figure.update_annotations(font=None)  # titles of panels: make_subplots gives them 16 pixels on any screen
    return figure


def embedded(figure: go.Figure) -> Markup:
    """The figure as JSON that may stand in a <script> element: no "<", ">" or "&" is left in it."""
    text = figure.to_json()
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return Markup(text)
