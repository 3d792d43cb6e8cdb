"""The files of a run folder, one at a time: found, read, and refused in a sentence where they are broken."""

import fnmatch
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from xright.errors import UserError

REQUIRED = ("label", "strategy", "lam", "seed", "f_dpo", "f_sft")
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's, where there is one, is ten times as fast
SKIPPED_FOLDERS = (".*", "__pycache__", "cache", "*.old-*")


def find_runs(folder: Path) -> Iterator[Path]:
    """Run folders at or below `folder`, sorted; a run folder is not looked into any further."""
    for here, below, files in os.walk(folder):
        if "config.yaml" in files or "result.json" in files:
            below.clear()
            yield Path(here)
        below[:] = sorted(name for name in below if not any(fnmatch.fnmatch(name, skip) for skip in SKIPPED_FOLDERS))


def read_result(path: Path) -> dict[str, Any]:
    """result.json; UserError where it is unreadable or lacks what every result has."""
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}); run it again with overwrite=true.") from error
    missing = [key for key in REQUIRED if not isinstance(result, dict) or key not in result]
    if missing:
        raise UserError(
            f"{path} lacks {', '.join(missing)}, so it is not the result of a run; move its folder elsewhere."
        )
    return result


def read_config(path: Path) -> dict[str, Any]:
    """config.yaml with nested keys joined by dots; empty where there is none."""
    if not path.exists():
        return {}
    try:
        config = LOADER(path.read_text(encoding="utf-8")).get_single_data()
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{path} is not readable as YAML; restore it or move its folder elsewhere.") from error
    return _flatten(config if isinstance(config, dict) else {})


def read_rows(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """A csv or jsonl file with at least `columns`; no rows where a run has no such file (no training)."""
    if not path.exists():
        return pd.DataFrame(columns=list(columns))
    try:
        if path.suffix == ".jsonl":
            lines = path.read_text(encoding="utf-8").splitlines()
            rows = pd.DataFrame([json.loads(line) for line in lines if line.strip()])
        else:
            rows = pd.read_csv(path)
    except (OSError, ValueError) as error:  # pandas' parser errors are ValueErrors
        raise UserError(f"{path} cannot be read ({error}); repair it or move its folder elsewhere.") from error
    missing = [column for column in columns if column not in rows]
    return rows.reindex(columns=[*rows.columns, *missing]) if missing else rows


def _flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in config.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat
