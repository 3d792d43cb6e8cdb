"""Compare every finished run (a folder with result.json) at or below the given folders: a table and counted claims
here; report.html (one self-contained page), the figures as PNG and PDF, and tables as csv in the output folder.

Evaluations (evaluation.json, of `python -m xright.evaluate`), of runs or of other models, are compared too: scores with
intervals, and Δm against a baseline. The last line printed is the path of the page. A folder with a damaged file is
left out and told; the exit code is then 1.

Examples
  python -m xright.report runs/default                                      into report/
  python -m xright.report runs/demo runs/seeds --out report/both            several folders, another place
  python -m xright.report runs/pythia evaluations --baseline EleutherAI--pythia-1b --metrics mmlu.acc hellaswag.acc_norm
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from xright.analysis.numbers.claims import claims
from xright.analysis.read.benchmarks import Benchmarks
from xright.analysis.read.runs import Runs
from xright.analysis.report import at, corner, left_out, read_report, write_page
from xright.analysis.text.benchmark_table import benchmark_grid, benchmark_notes
from xright.analysis.text.seed_tables import comparison_grid, distance_grid, hypervolume_grid
from xright.analysis.text.tables import Grid, per_method
from xright.machine.command import exits, help_of
from xright.machine.screen import plain, screen, table

SHOWN = ("method", "runs", "ideal distance", "exact match", "refuses harmful", "ms per step")  # and every loss
COLOURS = {"holds": "green", "holds in part": "yellow", "does not hold": "red", "cannot tell": "dim"}


@exits
def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, the claims and, as the last line, the page's path.

    Exit code 1 also where folders have damaged files (each is told, and listed on the page).
    """
    asked = parser().parse_args(arguments)
    runs, benchmarks = read_report(asked.folders, asked.baseline, asked.metrics)
    page = write_page(runs, asked.out, benchmarks)
    console = screen()
    if runs:
        for setting, part in runs.by_setting():
            _show(console, setting, part)
        if len(runs.unfinished):
            console.print(f"Unfinished runs, listed on the page: {len(runs.unfinished)}.")
    if benchmarks:
        _show_benchmarks(console, benchmarks)
    print(page)
    return 1 if left_out(runs, benchmarks) else 0


def parser() -> argparse.ArgumentParser:
    """Return the parser of this command line."""
    made = argparse.ArgumentParser(prog="python -m xright.report", **help_of(__doc__))
    add = made.add_argument
    add("folders", metavar="DIR", nargs="+", type=Path, help="a folder that holds runs, at any depth")
    add("--out", type=Path, default=Path("report"), metavar="DIR", help="where to write (default: report)")
    of = "evaluated subject that Δm compares with, by name or folder (default: first)"
    add("--baseline", metavar="NAME", help=of)
    over = "scores that Δm is over, as task.metric (default: of the table)"
    add("--metrics", nargs="+", default=[], metavar="KEY", help=over)
    return made


def _show(console: Console, setting: str, runs: Runs) -> None:
    """The runs of one setting: a table, statistics over seeds if there are several, each claim with its evidence."""
    grid = per_method(runs)
    headings = {*SHOWN, *(f"f_{one.label}" for one in runs.objectives.values())}
    console.print(_table(grid, [place for place, name in enumerate(grid.headings) if name in headings], setting))
    if runs.table.groupby("label")["folder"].size().max() > 1:
        console.print(Text("± is half the width of a 95 % t interval over seeds.", "dim"))
        for title, more in (
            (f"Ideal distance by {at(runs)} (nats)", distance_grid(runs)),
            (f"Hypervolume up to {corner(runs)}", hypervolume_grid(runs)),
            ("Two methods at the same seeds", comparison_grid(runs, each=False)),
        ):
            if more.rows:
                console.print(_table(more, range(len(more.headings)), title))
    for claim in claims(runs):
        verdict = plain(f"{claim.verdict}: ", COLOURS[claim.verdict])
        console.print(Text.assemble(verdict, f"{claim.text}. ", plain(claim.evidence, "dim")))


def _show_benchmarks(console: Console, benchmarks: Benchmarks) -> None:
    """All scores and Δm, and what there is to know about them."""
    grid = benchmark_grid(benchmarks)
    console.print(_table(grid, range(len(grid.headings)), "Benchmarks (95 % intervals)"))
    for note in benchmark_notes(benchmarks):
        console.print(plain(note, "dim"))


def _table(grid: Grid, places: Sequence[int], title: str) -> Table:
    """Return these columns of a grid, numbers to the right."""
    rows = [[row[place] for place in places] for row in grid.rows]
    return table([grid.headings[place] for place in places], rows, range(1, len(places)), title)


if __name__ == "__main__":
    sys.exit(main())
