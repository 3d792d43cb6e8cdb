"""Tables, pictures and verdicts of the study, from its csv files alone."""

from collections.abc import Iterator
from dataclasses import replace

import contests
import held_out
import judges
import objective_space as space
import pandas as pd
from benchmarked import gains
from cells import STUDIES, table_of
from evaluated import grid, methods
from matplotlib.figure import Figure
from publish import DPI, between_markers, having, read_rows, shrink, untimed
from published import CELLS, HERE, VERSIONS
from side_by_side import side_by_side

from xright.analysis.figures.benchmark_figures import categories_figure, verdicts_figure, win_rate_figure
from xright.analysis.figures.objective_space import objective_space
from xright.analysis.figures.paths_figure import paths_figure
from xright.analysis.figures.printed import printed
from xright.analysis.figures.radar_figure import radar_figure
from xright.analysis.numbers.claims import claims
from xright.analysis.numbers.statistics import mean_interval
from xright.analysis.text.flat_table import from_rows
from xright.analysis.text.seed_tables import with_interval
from xright.analysis.text.tables import Grid, markdown

FIGURES = {  # of the paper, that a study is the place of
    "smollm2_safety": "Safety, DPO first (fig 9)",
    "smollm2_dpo_first": "General preferences, DPO first (figs 3 and 12; 14 for k)",
    "smollm2_sft_first": "General preferences, SFT first (figs 8 and 13)",
    "smollm2_ultrafeedback": "Minimal conflict (fig 5)",
}
SHOWN = "smollm2_safety"  # in the project's README, its figure.png
PAPERS = ("Sequential", "Mix", "ALRIGHT", "MAXRIGHT", "Model average")
TABLE_3 = ("mmlu.acc", "hellaswag.acc_norm", "sorry.compliance", "xstest.safe/full_compliance")
BASELINE = "Sequential DPO→SFT (2,2)"  # of Δm
COLUMNS = {key: name for key, name in space.COLUMNS.items() if key not in ("increase", "gpu")}


def write() -> None:
    """Everything between the README's markers, and the pictures it shows."""
    told = [part for study in STUDIES for hub in (False, True) for part in of_study(study, hub)]
    told += [part for hub in (False, True) for part in (*of_benchmarks(hub), *of_contests(hub))]
    told += [*of_answers(), *of_judges(), made()] if told else ["Not run yet.\n"]
    between_markers(HERE / "README.md", "\n".join(told))


def of_study(study: str, hub: bool) -> Iterator[str]:
    """Ends, verdicts and paths of a study, if it has begun. hub: with the hub's rows."""
    table = table_of(study, hub)
    rows = read_rows(HERE / f"{table}.csv")
    if rows.empty:
        return
    runs = from_rows(rows, space.OBJECTIVES)
    usual = runs.only((runs.table["variant"] == runs.table["method"]) | runs.table["first"].ne(""))
    yield f"## {FIGURES[study]}{', rows of the hub' if hub else ''}\n"
    yield markdown(space.grid(runs.table, COLUMNS))
    common = runs.of_every_seed()
    papers = common.only(common.table["method"].isin(PAPERS))
    if table == SHOWN and len(papers.table):
        yield picture(printed(objective_space(papers)), "figure.png", "objective space and ideal distance")
    found = [[one.verdict, one.text, one.evidence] for one in claims(common, untimed(common))]
    if len(common.table) < len(runs.table):
        yield f"Of what all {runs.table['seed'].nunique()} seeds have been run with:\n"
    yield markdown(Grid(["verdict", "statement", "evidence"], found, 3))
    usual = replace(usual, table=usual.table.assign(phases=[[]] * len(usual.table)))  # no times: the machine was shared
    yield picture(paths_figure(usual), f"{table}.png", "paths through objective space; ideal distance")
    if len(rows := read_rows(held_out.FILE)) and len(own := rows[rows["study"] == table]):
        yield "On rows that none was trained on; the reference of f_DPO is the model before:\n"
        yield markdown(of_rest(own))


def of_rest(rows: pd.DataFrame) -> Grid:
    """Rows of held_out.csv, a method a line, means over seeds."""
    keys = {"f_DPO": "f_DPO", "f_SFT": "f_SFT", "kl_from_base": "KL from it (nats per token)"}
    lines = [
        [label, str(len(own)), *(with_interval(mean_interval(own[key])) for key in keys)]
        for label, own in rows.groupby("label", sort=False)
    ]
    return Grid(["method", "seeds", *keys.values()], lines, 2)


def of_benchmarks(hub: bool) -> Iterator[str]:
    """What the models do with prompts and questions (figs 4, 10, 11, table 3), if any have been asked. hub: those of
    the hub's rows."""
    table, where = table_of("smollm2_safety", hub), "_hub" if hub else ""
    scores, counts = (read_rows(HERE / f"{name}.csv") for name in ("scores", "counts"))
    if scores.empty or (scores := in_order(scores, table)).empty:
        return
    counts = in_order(counts, table)
    yield f"## Benchmarks of the safety study (figs 4, 10, 11, table 3){', rows of the hub' if hub else ''}\n"
    yield markdown(gains(scores, BASELINE, TABLE_3))
    yield picture(radar_figure(methods(scores, "", BASELINE)), f"radar{where}.png", "radar of the benchmarks")
    for detail, draw in (("categories", categories_figure), ("verdicts", verdicts_figure)):
        found = methods(counts[counts["detail"] == detail], detail, BASELINE)
        yield picture(draw(found), f"{detail}{where}.png", f"{detail} of answers")


def in_order(rows: pd.DataFrame, table: str) -> pd.DataFrame:
    """The rows of a study, in the order of its runs: cells are published as they are finished."""
    own = rows[rows["study"] == table]
    if own.empty:
        return own
    labels = from_rows(read_rows(HERE / f"{table}.csv"), space.OBJECTIVES).table["label"].unique()
    return own.assign(place=own["label"].map([*labels].index)).sort_values(["place", "seed"], kind="stable")


def of_contests(hub: bool) -> Iterator[str]:
    """Win rates over the chosen answer, study by study (fig 5), and how far their judge can be trusted."""
    scores, whose = read_rows(HERE / "scores.csv"), ", rows of the hub" if hub else ""
    for study, title in FIGURES.items():
        own = in_order(scores, table_of(study, hub)) if len(scores) else scores
        if len(own) and len(own := own[own["key"].str.startswith("winrate.")]):
            yield f"## Win rates over the chosen answer: {title}{whose}\n"
            yield markdown(grid(own))
            yield picture(win_rate_figure(methods(own)), f"win_rates_{table_of(study, hub)}.png", "win rates")
    tested = having(read_rows(contests.TESTED), source="hub" if hub else "folder")
    if len(tested):
        yield f"## The judge of win rates, on held-out pairs{whose}\n"
        lines = [
            [one.pairs, f"{one.learnt}", f"{one.n}", f"{one.accuracy:.2f} ({one.low:.2f} to {one.high:.2f})"]
            for one in tested.itertuples()
        ]
        yield markdown(Grid(["pairs", "learnt", "tested", "prefers the chosen answer"], lines, 1))


def of_answers() -> Iterator[str]:
    """What the models answer to the same prompts (D.1), of each study's lowest seed."""
    rows = read_rows(HERE / "completions.csv")
    for study, own in rows.groupby("study", sort=False) if len(rows) else ():
        yield f"## Answers side by side: {study}\n"
        yield markdown(side_by_side(own[own["seed"] == own["seed"].min()]))


def of_judges() -> Iterator[str]:
    """How far the judges of refusal agree with a reader of answers."""
    yield "## Judges of refusal, held to a reader\n"
    rows = judges.read()
    yield markdown(judges.agreement(rows))
    yield markdown(judges.compliance(rows))


def picture(figure: Figure, name: str, alternative: str) -> str:
    """Save it beside the page; Markdown that shows it."""
    figure.savefig(HERE / name, dpi=DPI)
    shrink(HERE / name, HERE / name)
    return f"![{alternative}]({name})\n"


def made() -> str:
    """Who made the cells, as a sentence."""
    cells = read_rows(CELLS)
    hours = (cells["train_seconds"] + cells["eval_seconds"]).sum() / 3600
    versions = ", ".join(f"{name} {'/'.join(map(str, cells[name].unique()))}" for name in VERSIONS)
    where = ", ".join(map(str, cells["device"].unique()))
    return f"{len(cells)} cells, {hours:.1f} hours of training and evaluating their losses, on {where}; {versions}.\n"
