"""Draws the paper's figures and tables again: from csv/ come <name>.png and the table in <name>.md, for each name."""

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.figure import Figure

sys.path.extend(str(Path(__file__).resolve().parents[1] / room) for room in ("", "paper", "data_similarity"))
import benchmarked
import closest
import convex
import objective_space as space
import side_by_side
from evaluated import grid
from pairs_figure import similarity_figure
from publish import write_card, write_rows

from xright.analysis.figures.paths_figure import paths_figure, summary_figure
from xright.analysis.text.tables import Grid
from xright.theory.figures import figure_2, figure_6

HERE = Path(__file__).resolve().parent
EXAMPLES = """examples:
  python experiments/paper/draw.py                      everything, from the csv files as they are
  python experiments/paper/draw.py figure_3 table_3     these two
  python experiments/paper/draw.py --read               everything, where there are runs from them
  python experiments/paper/draw.py figure_3 --read runs/pythia1b_dpo_first"""


class Source(NamedTuple):
    """Where a csv file's rows come from: `folders`, if `proof` is in the first of them; the others may be absent."""

    read: Callable[[Sequence[Path]], pd.DataFrame]
    folders: Sequence[str]
    proof: str = "*/result.json"


class Entry(NamedTuple):
    """What a card shows: the csv file, and how table and picture are made of what `of` makes of its rows."""

    csv: str
    table: Callable[[Any], Grid]
    draw: Callable[[Any], Figure] | None = None
    of: Callable[[pd.DataFrame], Any] = lambda rows: rows


RUNS, TIMES, THEORY = "runs/embedded", "runs/step_times_embedded", ("experiments/theory",)
SOURCES = {
    "csv/dpo_first.csv": Source(space.dpo_first, (RUNS, TIMES)),
    "csv/sft_first.csv": Source(space.sft_first, (f"{RUNS}_sft_first", TIMES)),
    "csv/completions.csv": Source(side_by_side.completions, (RUNS,)),
    "csv/categories.csv": Source(benchmarked.categories, (RUNS,), "*/evaluation.json"),
    "csv/verdicts.csv": Source(benchmarked.verdicts, (RUNS,), "*/evaluation.json"),
    "csv/similarity.csv": Source(closest.read, ("report/data_similarity",), "pairs-tokens.csv"),
    "csv/two_parameters.csv": Source(convex.two_parameters, THEORY, "theory.json"),
    "csv/one_parameter.csv": Source(convex.curves, THEORY, "theory.json"),
    "csv/table_1.csv": Source(convex.features, THEORY, "theory.json"),
    "csv/table_2.csv": Source(convex.variants, THEORY, "theory.json"),
}
BENCHMARKS = "../embedded_benchmarks/results.csv"  # `make embedded-benchmarks` writes it, with a page of its own
ENTRIES = {
    "figure_1": Entry("csv/dpo_first.csv", space.compared, summary_figure, space.at_half),
    "figure_2": Entry("csv/two_parameters.csv", convex.ends_of_paths, figure_2),
    "figure_3": Entry("csv/dpo_first.csv", space.compared, paths_figure, partial(space.usual, first="dpo")),
    "figure_4": Entry(BENCHMARKS, grid, benchmarked.radar, benchmarked.at_half),
    "figure_5": Entry(BENCHMARKS, grid, benchmarked.win_rates, benchmarked.contests),
    "figure_6": Entry("csv/one_parameter.csv", convex.gaps, figure_6),
    "figure_7": Entry("csv/similarity.csv", closest.table, lambda pairs: similarity_figure(("tokens", pairs))),
    "figure_8": Entry("csv/sft_first.csv", space.compared, paths_figure, partial(space.usual, first="sft")),
    "figure_10": Entry("csv/categories.csv", benchmarked.by_verb, benchmarked.verbs_figure),
    "figure_11": Entry("csv/verdicts.csv", benchmarked.by_verdict, benchmarked.shares_figure),
    "figure_14": Entry("csv/dpo_first.csv", space.compared_by_k, space.k_figure, space.by_k),
    "table_1": Entry("csv/table_1.csv", convex.printed_and_here),
    "table_2": Entry("csv/table_2.csv", convex.features_and_ends),
    "table_3": Entry(BENCHMARKS, benchmarked.gains, None, benchmarked.at_all),
    "completions": Entry("csv/completions.csv", side_by_side.side_by_side),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Read what is asked for, each csv file once; then draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", metavar="NAME", nargs="*", help=f"of {', '.join(ENTRIES)}; default: all")
    parser.add_argument(
        "--read", metavar="FOLDER", nargs="*",
        help="first write the csv files anew, from the folders that the program names or, for one csv file, from these",
    )  # fmt: skip
    given = parser.parse_args(arguments)
    if unknown := [name for name in given.names if name not in ENTRIES]:
        parser.error(f"there is no {unknown[0]!r}; names are {', '.join(ENTRIES)}")
    names = given.names or list(ENTRIES)
    if given.read is not None:
        files = {ENTRIES[name].csv for name in names} & SOURCES.keys()
        if given.read and len(files) != 1:
            parser.error("--read FOLDER wants the name of one figure or table that has a csv file of its own")
        for file in sorted(files):
            read(file, given.read)
    for name in names:
        csv, table, draw, of = ENTRIES[name]
        shown = of(pd.read_csv(HERE / csv))
        write_card(HERE / f"{name}.md", table(shown), draw and draw(shown))


def read(file: str, folders: Sequence[str] = ()) -> None:
    """Write the csv file from these folders; or from those of its source, if there is anything in them."""
    source = SOURCES[file]
    first, *others = map(Path, folders or source.folders)
    if not folders and not any(first.glob(source.proof)):
        print(f"{file} stays: there is no {first / source.proof}")
        return
    write_rows(source.read([first, *(other for other in others if folders or other.exists())]), HERE / file)


if __name__ == "__main__":
    main()
