"""A figure for every reader: PNG and PDF files, inline SVG for paper, plotly for the screen, a table for the ear.

The page shows the SVG where it is printed or where no script runs; ink in it is `currentColor`, so that it follows the
reader's light or dark scheme.
"""

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import matplotlib
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter

from xright.analysis.style import INK, SETTINGS, cut
from xright.analysis.text.tables import Grid
from xright.errors import printable

PNG_DPI = 160
LINE = 120  # characters
MANY = 2000  # characters of a path: a hundred points
NO_METADATA = dict.fromkeys(["Creator", "Date", "Format", "Type"])


@dataclass(frozen=True)
class Drawing:
    """One figure of the page.

    stem: of its files. alternative: what it shows, in words. svg: the drawing. interactive: (plotly's JSON, the least
    width in pixels), where there is one. numbers: the same as a table, where no other table has them.
    """

    stem: str
    alternative: str
    svg: Markup
    interactive: tuple[Markup, int] | None = None
    numbers: Grid | None = None


@contextmanager
def ours() -> Iterator[None]:
    """SETTINGS, and no word of letters that the font has not: these are data's, and may be control characters."""
    with matplotlib.rc_context(SETTINGS), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def draw(
    figure: Figure,
    out: Path,
    stem: str,
    alternative: str,
    interactive: tuple[Markup, int] | None = None,
    numbers: Grid | None = None,
) -> Drawing:
    """Write the figure as PNG and PDF, and make it ready for the page."""
    _lay_out(figure)
    save(figure, out / f"{stem}.png")
    save(figure, out / f"{stem}.pdf")
    return Drawing(stem, alternative, _inline(figure, alternative), interactive, numbers=numbers)


def save(figure: Figure, path: Path) -> None:
    """Write `figure` to `path`, in the format its name says."""
    _print(figure)
    with ours():
        figure.savefig(path, dpi=PNG_DPI, facecolor="white")


def _print(figure: Figure) -> None:
    """Words come from data: whatever does not print (it would end matplotlib) is replaced, and long lines are cut."""
    for text in figure.findobj(Text):
        text.set_text(_words(text.get_text()))
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            names = axis.get_major_formatter()
            if type(names) is FuncFormatter:  # of ticks that are names
                axis.major.formatter = _Printing(names)


class _Printing(FuncFormatter):
    """A formatter that wraps another one, and replaces characters that do not print."""

    def __init__(self, names: FuncFormatter) -> None:
        super().__init__(lambda x, place: _words(names(x, place)))


def _words(text: str) -> str:
    return "\n".join(cut(printable(line), LINE) for line in text.split("\n"))


def _lay_out(figure: Figure) -> None:
    """Find the places of everything once; a figure that has a layout engine is drawn twice whenever it is saved."""
    _print(figure)
    engine = figure.get_layout_engine()
    if engine is not None:
        with ours():
            figure.set_dpi(PNG_DPI)
            engine.execute(figure)
            figure.set_layout_engine(None)


def _inline(figure: Figure, alternative: str) -> Markup:
    """The figure as an `<svg>` element with alternative text, in the page's own text colour."""
    buffer = io.StringIO()
    with ours():
        figure.savefig(buffer, format="svg", transparent=True, metadata=NO_METADATA)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(?<= d=")[^"]+|(?<= [xy]=")[^"]+', lambda found: _rounded(found[0]), svg)
    svg = re.sub(r"\s+", " ", svg)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)  # an id may occur once on a page; nothing refers to these
    width = figure.get_figwidth()  # inches; text stays legible between these two widths
    opening = Markup('<svg role="img" aria-label="{}" style="min-width: {:.2f}in; max-width: {:.2f}in" ')
    return Markup(svg.replace("<svg ", opening.format(alternative, 0.66 * width, width), 1))


def _rounded(coordinates: str) -> str:
    """Coordinates of a drawing, in points, to a hundredth of one; of a curve of many points to a tenth.

    >>> _rounded("M 12.345678 100.1 \\nL 3 0.999999")
    'M 12.35 100.1L3 1.00'
    """
    digits = 1 if len(coordinates) > MANY else 2
    short = re.sub(rf"\d+\.\d{{{digits + 1},}}", lambda found: f"{float(found[0]):.{digits}f}", coordinates)
    return re.sub(r"\s*\n\s*([A-Z]) ?", r"\1", short)
