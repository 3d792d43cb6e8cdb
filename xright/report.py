"""`python -m xright.report DIR… [--out report]`: finished runs compared, in the terminal and as a page."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from xright.analysis.claims import claims
from xright.analysis.report import write_page
from xright.analysis.runs import Runs, read_runs
from xright.analysis.tables import per_method
from xright.errors import UserError

SHOWN = (
    "method",
    "runs",
    "f_DPO",
    "f_SFT",
    "ideal distance",
    "exact match",
    "refuses harmful",
    "ms per step",
)
COLOURS = {"holds": "green", "holds in part": "yellow", "does not hold": "red", "cannot tell": "dim"}
WIDTH = 120  # characters, where there is no terminal


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, the claims and, as the last line, the page's path. Exit code 2 for bad input."""
    asked = _parser().parse_args(arguments)
    try:
        runs = read_runs(asked.folders)
        page = write_page(runs, asked.out)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDTH
    for setting, part in runs.by_setting():
        _show(console, setting, part)
    if len(runs.unfinished):
        console.print(f"Unfinished runs, listed on the page: {len(runs.unfinished)}.")
    print(page)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m xright.report",
        description="Compare every finished run (a folder with result.json) at or below the given folders: a "
        "table and counted claims here; report.html (one self-contained page), the figures as PNG and PDF, "
        "and runs.csv in the output folder. The last line printed is the path of the page.",
        epilog="example: python -m xright.report runs/demo --out report",
    )
    parser.add_argument("folders", metavar="DIR", nargs="+", type=Path, help="a folder that holds runs, at any depth")
    parser.add_argument(
        "--out", type=Path, default=Path("report"), metavar="DIR", help="where to write (default: report)"
    )
    return parser


def _show(console: Console, setting: str, runs: Runs) -> None:
    """The runs of one setting: a table, then each claim with its verdict and evidence."""
    grid = per_method(runs)
    places = [place for place, heading in enumerate(grid.headings) if heading in SHOWN]
    table = Table(title=Text(setting) if setting else None, title_justify="left")
    for place in places:
        table.add_column(Text(grid.headings[place]), justify="left" if place == 0 else "right")
    for row in grid.rows:
        table.add_row(*(Text(row[place]) for place in places))  # Text: nothing from data is markup
    console.print(table)
    for claim in claims(runs):
        console.print(
            Text.assemble((f"{claim.verdict}: ", COLOURS[claim.verdict]), f"{claim.text}. ", (claim.evidence, "dim"))
        )


if __name__ == "__main__":
    sys.exit(main())
