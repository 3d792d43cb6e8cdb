"""What commands print for people: nothing that comes from data is markup, or a control sequence."""

from collections.abc import Container, Iterable, Sequence

from rich.box import HEAVY_HEAD, Box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from xright.errors import printable

WIDTH = 1000  # characters of a line where there is no terminal: a file need not fit a screen


def screen() -> Console:
    """Return stdout, on which rich draws: of a terminal's width, or of any."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=WIDTH)


def plain(words: object, style: str = "") -> Text:
    """Return words as they are, in one style."""
    return Text(printable(str(words)), style)


def table(
    headings: Sequence[str], rows: Iterable[Sequence[object]], right: Container[int], title: str = "",
    box: Box | None = HEAVY_HEAD,
) -> Table:  # fmt: skip
    """Return a table to print; right: numbers of the columns that are aligned there."""
    drawn = Table(title=plain(title) if title else None, title_justify="left", box=box, pad_edge=box is not None)
    for number, heading in enumerate(headings):
        drawn.add_column(plain(heading), justify="right" if number in right else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*map(plain, row))
    return drawn
