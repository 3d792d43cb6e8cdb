"""Finished runs -> a folder with one self-contained page, its figures as PNG and PDF, and the table as csv.

The page (`report.html.j2`) needs nothing from outside: figures are inline SVG, and their ink is replaced by
`currentColor`, so that they follow the reader's light or dark scheme. Whatever comes from data is escaped.
"""

import io
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from xright.analysis.claims import Claim, claims
from xright.analysis.plots import FIGURES
from xright.analysis.runs import Runs, read_runs
from xright.analysis.style import INK, SETTINGS, look, number
from xright.analysis.tables import Grid, per_method, per_run

PNG_DPI = 160
NO_METADATA = dict.fromkeys(["Creator", "Date", "Format", "Type"])


@dataclass(frozen=True)
class Answers:
    """One prompt: who gave which final completion (`finals`), and every sampled completion (`history`)."""

    prompt: str
    kind: str
    finals: list[tuple[str, list[tuple[str, str]]]]  # (completion, [(label, colour), …])
    history: list[tuple[str, str, int, str]]  # (label, seed, step, completion)


@dataclass(frozen=True)
class Section:
    """The runs of one setting, ready for the page; `figures` holds (file stem, alternative text, SVG)."""

    setting: str
    figures: list[tuple[str, str, Markup]]
    summary: Grid
    runs: Grid
    claims: list[Claim]
    notes: list[str]
    answers: list[Answers]


def write_report(folders: Sequence[Path], out: Path) -> Path:
    """Write the report on every finished run below `folders` into `out`; returns the path of its page.

    Overwrites an earlier report in `out`; the page is put in place last, as a whole. Raises UserError like
    `read_runs`.
    """
    return write_page(read_runs(folders), out)


def write_page(runs: Runs, out: Path) -> Path:
    """`write_report` for runs that were read already."""
    out.mkdir(parents=True, exist_ok=True)
    runs.table.to_csv(out / "runs.csv", index=False)
    parts = list(runs.by_setting())
    sections = [
        _section(setting, part, out, "" if len(parts) == 1 else f"-{place}")
        for place, (setting, part) in enumerate(parts, start=1)
    ]
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    page = environment.get_template("report.html.j2").render(
        names=sorted({str(name) for name in runs.table.get("name", pd.Series(dtype=str)).dropna()}),
        count=len(runs.table),
        eval_on=sorted(set(runs.table["eval_on"]) - {""}),
        sections=sections,
        machines=machines(runs.table),
        unfinished=[(folder, "–" if pd.isna(step) else f"{step:.0f}") for folder, step in runs.unfinished.to_numpy()],
    )
    draft = out / ".report.html"
    draft.write_text(page, encoding="utf-8")
    os.replace(draft, out / "report.html")
    return out / "report.html"


def _section(setting: str, runs: Runs, out: Path, suffix: str) -> Section:
    figures = []
    for name, (plot, alternative) in FIGURES.items():
        figure = plot(runs)
        save(figure, out / f"{name}{suffix}.png")
        figure.set_layout_engine("none")  # laid out once is enough for the other two formats
        save(figure, out / f"{name}{suffix}.pdf")
        figures.append((name + suffix, alternative, _inline(figure, alternative)))
    return Section(setting, figures, per_method(runs), per_run(runs), claims(runs), _notes(runs), answers(runs))


def save(figure: Figure, path: Path) -> None:
    """Write `figure` to `path`, in the format its name says."""
    with matplotlib.rc_context(SETTINGS):
        figure.savefig(path, dpi=PNG_DPI, facecolor="white")


def _inline(figure: Figure, alternative: str) -> Markup:
    """The figure as an `<svg>` element with alternative text, in the page's own text colour."""
    buffer = io.StringIO()
    with matplotlib.rc_context(SETTINGS):
        figure.savefig(buffer, format="svg", transparent=True, metadata=NO_METADATA)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)  # an id may occur once on a page; nothing refers to these
    width = figure.get_figwidth()  # inches; text stays legible between these two widths
    opening = Markup('<svg role="img" aria-label="{}" style="min-width: {:.2f}in; max-width: {:.2f}in" ')
    return Markup(svg.replace("<svg ", opening.format(alternative, 0.66 * width, width), 1))


def answers(runs: Runs) -> list[Answers]:
    """The prompts of each method's first run (lowest seed), in file order, with their completions."""
    first = runs.table.drop_duplicates("label").set_index("folder")
    samples = runs.samples.fillna({"kind": ""})
    shown = samples[samples["folder"].isin(first.index)]
    order = {folder: place for place, folder in enumerate(runs.table["folder"])}
    by_folder = runs.table.set_index("folder")
    found = []
    for prompt, rows in shown.groupby("prompt", sort=False):
        last = rows.sort_values("step", kind="stable").drop_duplicates("folder", keep="last")
        last = last.sort_values("folder", key=lambda folder: folder.map(order))
        finals: dict[str, list[tuple[str, str]]] = {}
        for folder, completion in zip(last["folder"], last["completion"], strict=True):
            run = first.loc[folder]
            finals.setdefault(str(completion), []).append((run["label"], look(run["strategy"])[0]))
        every = samples[samples["prompt"] == prompt]
        every = every.assign(place=every["folder"].map(order)).sort_values(["place", "step"], kind="stable")
        history = [
            (
                by_folder.at[row.folder, "label"],
                f"{by_folder.at[row.folder, 'seed']:.0f}",
                int(row.step),
                row.completion,
            )
            for row in every.itertuples()
        ]
        found.append(Answers(str(prompt), str(rows["kind"].iloc[0]), list(finals.items()), history))
    return found


def machines(table: pd.DataFrame) -> list[tuple[str, str, int]]:
    """(device, "library version, …", number of runs) for each kind of machine the runs saw."""
    versions = [key for key in map(str, table) if key.startswith("versions.")]

    def line(row: pd.Series) -> str:
        return ", ".join(f"{key.removeprefix('versions.')} {row[key]}" for key in versions if pd.notna(row[key]))

    counts = pd.DataFrame({"device": table["device"], "versions": table.apply(line, axis=1)}).value_counts()
    return [(device, version, int(count)) for (device, version), count in counts.items()]


def _notes(runs: Runs) -> list[str]:
    """What a reader of the numbers has to know, where it applies."""
    gaps = runs.table[["gap_dpo", "gap_sft"]]
    notes = []
    if (gaps < 0).any(axis=None):
        below, known = (gaps < 0).to_numpy().sum(), gaps.notna().to_numpy().sum()
        notes.append(
            f"{below} of {known} final gaps are negative, the lowest {number(gaps.min(axis=None))}: f* is "
            "the lowest value seen when one objective is trained alone, not a true minimum."
        )
    unknown = int(runs.table["ideal_distance"].isna().sum())
    if unknown:
        notes.append(f"{unknown} of {len(runs.table)} runs have no ideal distance, because their optima are not known.")
    return notes
