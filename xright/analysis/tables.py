"""The table of runs as people read it: text for terminal, page and Markdown, from one list of columns.

`per_run` has one row per run; `per_method` has one row per method and λ, with mean ± half the width of its 95 %
t interval over its runs (seeds). A column without any value is left out; a missing value is "–".
"""

from typing import NamedTuple

import pandas as pd

from xright.analysis.runs import Runs
from xright.analysis.statistics import mean_interval

COLUMNS = {  # key in Runs.table: (heading, unit or digits)
    "f_dpo": ("f_DPO", "{:.3f}"),
    "f_sft": ("f_SFT", "{:.3f}"),
    "gap_dpo": ("DPO gap", "{:.3f}"),
    "gap_sft": ("SFT gap", "{:.3f}"),
    "ideal_distance": ("ideal distance", "{:.3f}"),
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
METHOD = ["setting", "strategy", "variant", "lam", "label"]


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
    columns = {COLUMNS[key][0]: [_text(value, key) for value in table[key]] for key in present(table)}
    return _grid(words, columns | {"stopped by": table["stopped_by"], "folder": table["folder"]})


def per_method(runs: Runs) -> Grid:
    """One row per method and λ: mean ± half of its interval over its runs; no "±" where there is a single run."""
    groups = runs.table.groupby(METHOD, dropna=False, sort=False)
    counts = groups.size()
    words = {
        "method": counts.index.get_level_values("label"),
        "setting": counts.index.get_level_values("setting"),
        "runs": counts.astype(str),
    }
    columns = {
        COLUMNS[key][0]: [_with_interval(values, key) for _, values in groups[key]] for key in present(runs.table)
    }
    return _grid(words, columns)


def markdown_table(runs: Runs) -> str:
    """`per_method` as a Markdown table, ending in a newline."""
    return markdown(per_method(runs))


def markdown(grid: Grid) -> str:
    """As a Markdown table, numbers to the right, ending in a newline."""
    rule = ["---" if place < grid.words else "---:" for place in range(len(grid.headings))]
    lines = [grid.headings, rule, *([cell.replace("|", "\\|") for cell in row] for row in grid.rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def present(table: pd.DataFrame) -> list[str]:
    """The keys of COLUMNS for which the table has any value."""
    return [key for key in COLUMNS if key in table and table[key].notna().any()]


def _with_interval(values: pd.Series, key: str) -> str:
    found = mean_interval(values)
    return _text(found.mean, key) + ("" if pd.isna(found.half) else f" ± {_text(found.half, key)}")


def _text(value: float, key: str) -> str:
    return "–" if pd.isna(value) else COLUMNS[key][1].format(value).replace("-", "−")


def _grid(words: dict, columns: dict) -> Grid:
    """Columns of words that are all empty are left out."""
    words = {heading: cells for heading, cells in words.items() if any(cells)}
    every = words | {heading: cells for heading, cells in columns.items() if any(cells)}
    return Grid(list(every), [list(row) for row in zip(*every.values(), strict=True)], len(words))
