"""In what the configurations of runs differ."""

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

from xright.analysis.text.tables import Grid

MOST = 6  # values of a key that are named; the file has all
LONGEST = 60  # characters of a value


def configuration_table(configs: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """One row per run (`folder`), a column per key in which the runs differ; "" where a run does not have the key."""
    keys = list(dict.fromkeys(key for config in configs.values() for key in config))
    texts = {key: [json.dumps(config[key]) if key in config else "" for config in configs.values()] for key in keys}
    return pd.DataFrame({"folder": list(configs)} | {key: text for key, text in texts.items() if len(set(text)) > 1})


def difference_grid(table: pd.DataFrame) -> Grid:
    """A row per key of `configuration_table`: its values, each with the number of runs that have it."""
    rows = []
    for key in table.columns.drop("folder"):
        counts = table[key].value_counts(sort=False)
        named = [f"{_short(value) or 'absent'} ({count})" for value, count in counts.head(MOST).items()]
        rest = len(counts) - len(named)
        rows.append([str(key), " · ".join(named) + (f" · and {rest} more" if rest else "")])
    return Grid(["key", "values (in how many runs)"], rows, 2)


def _short(value: str) -> str:
    return value if len(value) <= LONGEST else value[: LONGEST - 1] + "…"
