"""Finished runs and evaluations -> a folder with one self-contained page, its figures as PNG and PDF, tables as csv.

The page (`report.html.j2`) needs nothing from outside: plotly.js is in it once, compressed like the figures' data;
figures for paper are inline SVG.
Whatever comes from data is escaped; beyond that, the page's policy lets nothing run but its own two scripts (by hash).
"""

import base64
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from xright.analysis.figures.bars import device, times
from xright.analysis.figures.benchmark_figures import benchmark_figures
from xright.analysis.figures.chart import Chart
from xright.analysis.figures.curves import gap_axes, gaps, picks, weight_axes, weights
from xright.analysis.figures.drawing import draw, save
from xright.analysis.figures.objective_space import objective_space
from xright.analysis.figures.on_screen import embedded, narrowest, on_screen
from xright.analysis.figures.printed import printed
from xright.analysis.numbers.claims import claims
from xright.analysis.numbers.runtime import runtime_grid, runtime_increases
from xright.analysis.numbers.statistics import comparisons, hypervolumes, means, reference_point
from xright.analysis.read.benchmarks import Benchmarks, read_benchmarks
from xright.analysis.read.files import find_runs
from xright.analysis.read.runs import Runs, read_runs
from xright.analysis.style import GROUP, number
from xright.analysis.text.answers import PROMPTS, answers
from xright.analysis.text.benchmark_table import benchmark_csv, benchmark_grid, benchmark_notes
from xright.analysis.text.certificates import certificate_grid
from xright.analysis.text.differences import configuration_table, difference_grid
from xright.analysis.text.seed_tables import comparison_grid, distance_grid, hypervolume_grid, means_over_training
from xright.analysis.text.side_by_side import side_by_side
from xright.analysis.text.spreadsheet import write_csv
from xright.analysis.text.tables import Grid, columns_of, per_method, per_run
from xright.errors import UserError
from xright.machine import files

__all__ = ["left_out", "machines", "read_report", "save", "write_page", "write_report"]

HERE = Path(__file__).parent
FIGURES: dict[str, tuple[Callable[[Runs], Chart], str]] = {  # stem of its files: (function, what it shows in words)
    "figure": (objective_space, "Final losses of every run, the way there, and each method’s ideal distance and gaps"),
    "gaps": (gaps, "The gap of each objective over optimizer steps, one column per method"),
    "picks": (picks, "Weight on each objective over training, for the methods that change it"),
    "time": (times, "Time per optimizer step and training time of each method"),
    "device": (device, "Throughput, utilisation and peak memory of each method"),
}
NO_RUNS: dict[str, Any] = {
    **{"names": [], "count": 0, "eval_on": [], "sections": []},
    **{"machines": None, "unfinished": None, "differences": None, "scripts": None},
}


def write_report(folders: Sequence[Path], out: Path) -> Path:
    """Write the report on every finished run and every evaluation below `folders` into `out`; returns its page's path.

    Overwrites an earlier report in `out`; the page is put in place last, as a whole. Raises UserError like
    `read_report`.
    """
    runs, benchmarks = read_report(folders)
    return write_page(runs, out, benchmarks)


def read_report(
    folders: Sequence[Path], baseline: str | None = None, metrics: Sequence[str] = ()
) -> tuple[Runs | None, Benchmarks | None]:
    """Runs and evaluations at or below `folders`; either may be None, but not both.

    Raises UserError like `read_runs` and `read_benchmarks`.
    """
    benchmarks = read_benchmarks(folders, baseline, metrics)
    if benchmarks is None:
        return read_runs(folders), None
    if not any((run / "result.json").exists() for folder in folders for run in find_runs(folder)):
        return None, benchmarks
    try:
        return read_runs(folders), benchmarks
    except UserError as error:  # all of them are damaged
        damaged = {", ".join(map(str, folders)): str(error)}
        return None, replace(benchmarks, left_out=benchmarks.left_out | damaged)


def left_out(runs: Runs | None, benchmarks: Benchmarks | None) -> dict[str, str]:
    """{folder: why} of what has a damaged file and is in no number of the page."""
    return (runs.left_out if runs else {}) | (benchmarks.left_out if benchmarks else {})


def write_page(runs: Runs | None, out: Path, benchmarks: Benchmarks | None = None) -> Path:
    """Write the page as `write_report` does, of what was read already."""
    out.mkdir(parents=True, exist_ok=True)
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    page = environment.get_template("report.html.j2").render(
        **(_about_runs(runs, out) if runs else NO_RUNS),
        benchmarks=_benchmarks(benchmarks, out) if benchmarks else None,
        left_out=Grid(["folder", "why"], [list(entry) for entry in left_out(runs, benchmarks).items()], 2),
    )
    files.write(out / "report.html", page)
    return out / "report.html"


def _about_runs(runs: Runs, out: Path) -> dict[str, Any]:
    """Return what the page says of runs; writes their table and figures."""
    differing = configuration_table(runs.configs)
    for stem, table in (
        ("runs", runs.table),
        ("means", means(runs.table, ["setting", *GROUP], [*columns_of(runs)])),
        ("comparisons", comparisons(runs.table)),
        ("hypervolumes", hypervolumes(runs)),
        ("runtimes", runtime_increases(runs.table)),
        ("configurations", differing),
    ):
        write_csv(table, out / f"{stem}.csv")
    parts = list(runs.by_setting())
    sections = [
        _section(setting, part, out, "" if len(parts) == 1 else f"-{place}")
        for place, (setting, part) in enumerate(parts, start=1)
    ]
    objectives = list(runs.objectives.values())
    seen = [[device or "not recorded", known or "not recorded", str(n)] for device, known, n in machines(runs.table)]
    unfinished: Any = runs.unfinished.itertuples()
    open_runs = [[run.folder, run.reason, f"{run.step:.0f}".replace("nan", "–"), run.written] for run in unfinished]
    return {
        "objectives": objectives,
        "at": at(runs),
        "names": sorted({str(name) for name in runs.table.get("name", pd.Series(dtype=str)).dropna()}),
        "count": len(runs.table),
        "eval_on": sorted(set(runs.table["eval_on"]) - {""}),
        "sections": sections,
        "machines": Grid(["device", "versions", "runs"], seen, 2),
        "unfinished": Grid(
            ["folder", "why, as far as known", "last evaluated step", "last written (UTC)"], open_runs, 2
        ),
        "differences": difference_grid(differing),
        "scripts": _scripts(),
        "prompts_shown": PROMPTS,
    }


def _benchmarks(benchmarks: Benchmarks, out: Path) -> dict[str, Any]:
    """Return what the page says of the evaluated subjects; writes their table and figures."""
    write_csv(benchmark_csv(benchmarks), out / "benchmarks.csv")
    figures = [
        draw(figure, out, name, alternative) for name, (figure, alternative) in benchmark_figures(benchmarks).items()
    ]
    shown, damaged = side_by_side(benchmarks)
    notes = [*benchmark_notes(benchmarks), *damaged]
    return {"figures": figures, "scores": benchmark_grid(benchmarks), "notes": notes, "answers": shown}


def _section(setting: str, runs: Runs, out: Path, suffix: str) -> dict[str, Any]:
    """Return what the page says of the runs of one setting; writes their figures."""
    numbers = {
        name: means_over_training(runs, rows, {column: axis.title for column, axis in axes.items()})
        for name, rows, axes in (
            ("gaps", runs.trajectory, gap_axes(runs)),
            ("picks", weights(runs), weight_axes(runs)),
        )
    }
    figures = []
    for name, (plot, words) in FIGURES.items():
        chart = plot(runs)
        interactive = (embedded(on_screen(chart).to_json()), narrowest(chart))
        figures.append(
            draw(printed(chart), out, name + suffix, words, interactive=interactive, numbers=numbers.get(name))
        )
    return {
        "setting": setting,
        "figures": figures,
        "summary": per_method(runs),
        "runs": per_run(runs),
        "distances": distance_grid(runs),
        "hypervolumes": hypervolume_grid(runs),
        "measure": {2: "area", 3: "volume"}.get(len(runs.axes), "hypervolume"),
        "corner": corner(runs),
        "compared": comparison_grid(runs, each=False),
        "compared_each": comparison_grid(runs),
        "runtimes": runtime_grid(runs),
        "claims": claims(runs),
        "certificates": certificate_grid(runs),
        "notes": _notes(runs),
        "answers": answers(runs),
    }


def at(runs: Runs) -> str:
    """Say what tells the runs of a method apart."""
    return "λ" if runs.table["lam"].notna().any() else "weights"


def corner(runs: Runs) -> str:
    """The reference point of hypervolumes: "(f_DPO, f_SFT) = (2.57, 0.150)"."""
    names = ", ".join(f"f_{one.label}" for one in runs.axes.values())
    return f"({names}) = ({', '.join(map(number, reference_point(runs)))})"


def _scripts() -> dict[str, Any]:
    """Return plotly.js, compressed, what unpacks and uses it here, and the hashes of both for the page's policy."""
    plotly, ours = get_plotlyjs(), (HERE / "report.js").read_text(encoding="utf-8")
    codes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (plotly, ours)]
    return {"plotly": embedded(plotly), "ours": Markup(ours), "hashes": [f"'sha256-{code}'" for code in codes]}


def machines(table: pd.DataFrame) -> list[tuple[str, str, int]]:
    """(device, "library version, …", number of runs) for each kind of machine the runs saw."""
    versions = [key for key in map(str, table) if key.startswith("versions.")]

    def line(row: pd.Series) -> str:
        return ", ".join(f"{key.removeprefix('versions.')} {row[key]}" for key in versions if pd.notna(row[key]))

    counts = pd.DataFrame({"device": table["device"], "versions": table.apply(line, axis=1)}).value_counts()
    return [(device, version, int(count)) for (device, version), count in counts.items()]


def _notes(runs: Runs) -> list[str]:
    """Return what a reader of the numbers has to know, where it applies."""
    gaps = runs.table[[f"gap_{name}" for name in runs.axes]]
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
