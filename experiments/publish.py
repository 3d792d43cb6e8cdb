"""Puts a study's table, machine and figure into the experiment's folder, between the markers of its README."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from xright.analysis.numbers.claims import claims
from xright.analysis.read.runs import Runs, read_runs
from xright.analysis.report import machines, write_page
from xright.analysis.text.tables import Grid, markdown, markdown_table
from xright.machine.locks import held

DPI = 110
BEGIN, END = "<!-- results: written by the command above -->", "<!-- end of results -->"


def publish(
    study: Path,
    here: Path,
    without: str | None = None,
    figures: Sequence[str] = ("figure",),
    more: Callable[[Runs], str] = lambda runs: "",
) -> None:
    """`<here>/results.csv`, the report's figures, and the part of `README.md` between BEGIN and END.

    without: leave out the runs with this in their label. figures: stems of their files. more: what the page says beside
    the table, as Markdown.
    """
    runs = read_runs([study])
    if without:
        runs = runs.only(~runs.table["label"].str.contains(without, regex=False))
    page = write_page(runs, Path("report") / here.name)
    for stem in figures:
        shrink(page.parent / f"{stem}.png", here / f"{stem}.png")
    table = pd.read_csv(page.parent / "runs.csv")
    named_by_path = table.columns[table.columns.str.startswith("inputs.")]  # of the machine that they were read on
    write_rows(table.drop(columns=named_by_path), here / "results.csv")
    measured = [f"Measured on {device}, {versions}.\n" for device, versions, _ in machines(runs.table)]
    results = "\n".join([markdown_table(runs), *filter(None, [more(runs)]), *measured])
    between_markers(here / "README.md", results)
    print(page)


def verdicts(runs: Runs) -> str:
    """Which claims hold, as a list in Markdown; the page of all experiments judges those of the paper (`claims.py`)."""
    return "".join(f"- **{claim.verdict}**: {claim.text}. {claim.evidence}\n" for claim in claims(runs))


def write_rows(rows: pd.DataFrame, file: Path) -> None:
    """A csv file with six digits. A carriage return, which csv would leave without quotes, is a line's end."""
    rows.replace("\r\n?", "\n", regex=True).to_csv(file, index=False, float_format="%.6g", lineterminator="\n")


def read_rows(file: Path) -> pd.DataFrame:
    """The rows of a csv file; none where there is no such file yet. Only an empty cell is NaN, no "None"."""
    return pd.read_csv(file, keep_default_na=False, na_values=[""]) if file.exists() else pd.DataFrame()


def having(rows: pd.DataFrame, **named: object) -> pd.DataFrame:
    """Those of some rows that have these values; none of no rows."""
    return rows[(rows[[*named]] == [*named.values()]).all(axis=1)] if len(rows) else rows


def untimed(runs: Runs) -> Runs:
    """None of the runs: what `claims` is given as timed where the machine had other work."""
    return runs.only(runs.table["seed"].isna())


def join_rows(rows: pd.DataFrame, file: Path, named: Sequence[str]) -> None:
    """Write the rows, and before them those of the file whose names (the columns `named`) are not among them."""
    with held(Path("runs", f"{file.parent.name}.lock"), f"writes {file.name}"):
        old = read_rows(file)
        if len(old):
            at_hand, there = (pd.MultiIndex.from_frame(frame[[*named]].map(_name)) for frame in (rows, old))
            rows = pd.concat([old[~there.isin(at_hand)], rows])
        write_rows(rows, file)


def _name(value: object) -> str:
    """A value as text, the same for None and NaN, and for a number as csv and pandas may have it."""
    return "" if pd.isna(value) else f"{value:.6g}" if isinstance(value, (int, float)) else str(value)


def write_card(card: Path, table: Grid, figure: Figure | None = None, picture: Path | None = None) -> None:
    """The table between the card's markers, and the figure in `picture`; by default a png beside it, of its name."""
    if figure:
        picture = picture or card.with_suffix(".png")
        figure.savefig(picture, dpi=DPI)
        shrink(picture, picture)
    between_markers(card, markdown(table))


def shrink(picture: Path, to: Path) -> None:
    """Copy it in 256 colours: a third of the bytes."""
    Image.open(picture).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(to, optimize=True)


def between_markers(readme: Path, results: str) -> None:
    """Replace what stands between BEGIN and END."""
    before, rest = readme.read_text(encoding="utf-8").split(BEGIN)
    _, after = rest.split(END)
    readme.write_text(f"{before}{BEGIN}\n{results}{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    publish(Path(sys.argv[1]), Path(sys.argv[2]))
