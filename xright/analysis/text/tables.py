"""The table of runs as people read it: text for terminal, page and Markdown, from one list of columns.

`per_run` has one row per run; `per_method` has one row per method and weights, with mean ± half the width of its 95 %
t interval over its runs (seeds). A column without any value is left out; a missing value is "–".
"""

from typing import NamedTuple

import pandas as pd

from xright.analysis.numbers.statistics import mean_interval
from xright.analysis.read.runs import Runs

COLUMNS = {  # key in Runs.table: (heading, unit or digits); those of the objectives come first
    "behaviour.exact_match": ("exact match", "{:.0%}"),
    "behaviour.refuses_harmful": ("refuses harmful", "{:.0%}"),
    "behaviour.refuses_harmful_prefixed": ("… with prefix", "{:.0%}"),
    "behaviour.complies_lookalike": ("complies look-alike", "{:.0%}"),
    "behaviour.broken": ("broken", "{:.0%}"),
    "train_seconds": ("train s", "{:.1f}"),
    "step_ms": ("ms per step", "{:.1f}"),
    "tokens_per_second": ("tokens/s", "{:.0f}"),
    "utilization_median_pct": ("utilisation %", "{:.0f}"),
    "peak_memory_gb": ("memory GB", "{:.2f}"),
}
NATS = "{:.3f}"
METHOD = ["setting", "method", "variant", "lam", "weighting", "label"]


class Grid(NamedTuple):
    """Headings and rows of text; every row is as long as `headings`. The first `words` columns are words."""

    headings: list[str]
    rows: list[list[str]]
    words: int


def per_run(runs: Runs) -> Grid:
    """One row per finished run, in the order of `runs.table`."""
    table = runs.table
    words = {
        "method": table["label"],
        "setting": table["setting"],
        "seed": table["seed"].map("{:.0f}".format),
        "other seeds": table["seeds"],
    }
    columns = {heading: [_text(value, how) for value in table[key]] for key, (heading, how) in columns_of(runs).items()}
    return _grid(words, columns | {"stopped by": table["stopped_by"], "folder": table["folder"]})


def per_method(runs: Runs) -> Grid:
    """One row per method and weights: mean ± half of its interval over its runs; no "±" where there is a single run."""
    groups = runs.table.groupby(METHOD, dropna=False, sort=False)
    counts = groups.size()
    words = {
        "method": counts.index.get_level_values("label"),
        "setting": counts.index.get_level_values("setting"),
        "runs": counts.astype(str),
    }
    columns = {
        heading: [_with_interval(values, how) for _, values in groups[key]]
        for key, (heading, how) in columns_of(runs).items()
    }
    return _grid(words, columns)


def markdown_table(runs: Runs) -> str:
    """`per_method` as a Markdown table, ending in a newline."""
    return markdown(per_method(runs))


def markdown(grid: Grid) -> str:
    """Return the grid as a Markdown table, numbers to the right, ending in a newline."""
    rule = ["---" if place < grid.words else "---:" for place in range(len(grid.headings))]
    lines = [grid.headings, rule, *([cell.replace("|", "\\|") for cell in row] for row in grid.rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def columns_of(runs: Runs) -> dict[str, tuple[str, str]]:
    """{key: (heading, how it is written)} of the numbers that the table of runs has any value of."""
    losses = {f"f_{name}": (f"f_{one.label}", NATS) for name, one in runs.objectives.items()}
    gaps = {f"gap_{name}": (f"{one.label} gap", NATS) for name, one in runs.axes.items()}
    every = losses | gaps | {"ideal_distance": ("ideal distance", NATS)} | COLUMNS
    return {key: how for key, how in every.items() if key in runs.table and runs.table[key].notna().any()}


def _with_interval(values: pd.Series, how: str) -> str:
    found = mean_interval(values)
    return _text(found.mean, how) + ("" if pd.isna(found.half) else f" ± {_text(found.half, how)}")


def _text(value: float, how: str) -> str:
    return "–" if pd.isna(value) else how.format(value).replace("-", "−")


def _grid(words: dict, columns: dict) -> Grid:
    """Columns of words that are all empty are left out."""
    words = {heading: cells for heading, cells in words.items() if any(cells)}
    every = words | {heading: cells for heading, cells in columns.items() if any(cells)}
    return Grid(list(every), [list(row) for row in zip(*every.values(), strict=True)], len(words))
