"""The files of a run folder, one at a time: found, read, and refused in a sentence where they are damaged.

Others may have written them: whatever is read is text and numbers of the expected types, or the file is refused. Half
of a character (a lone surrogate), which no file could hold, becomes "?".
"""

import fnmatch
import io
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from xright.config.dotted import flatten
from xright.errors import UserError

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's, where there is one, is ten times as fast
SKIPPED_FOLDERS = (".*", "__pycache__", "cache", "*.old-*")
SURROGATE = re.compile("[\ud800-\udfff]")


def find_runs(folder: Path) -> Iterator[Path]:
    """Run folders at or below `folder`, sorted; a run folder is not looked into any further."""
    for here, below, files in os.walk(folder):
        if "config.yaml" in files or "result.json" in files:
            below.clear()
            yield Path(here)
        below[:] = sorted(name for name in below if not any(fnmatch.fnmatch(name, skip) for skip in SKIPPED_FOLDERS))


def name_of(path: Path) -> str:
    """A path as text that can be written: what of its bytes is no UTF-8 becomes the replacement character."""
    return os.fsencode(path.as_posix()).decode("utf-8", errors="replace")


def read_json(path: Path) -> Any:
    """The value that a JSON file holds. UserError where it cannot be read; the remedy is the caller's."""
    try:
        return loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read ({error})") from error


def loads(text: str) -> Any:
    """`json.loads`, but without halves of characters. ValueError, or RecursionError for a text nested too deeply."""
    found = json.loads(text)
    if SURROGATE.search(text) or "\\ud" in text.lower():
        found = json.loads(json.dumps(found, ensure_ascii=False).encode(errors="replace"))
    return found


def read_config(path: Path) -> dict[str, Any]:
    """config.yaml with nested keys joined by dots. UserError where it is missing or holds no settings."""
    try:
        config = LOADER(_whole(path)).get_single_data()
        if not isinstance(config, dict):
            raise ValueError("it holds no settings")
        return cells(loads(json.dumps(config, default=str)))
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing, so nobody knows what the run may be compared with; restore it.") from error
    except (OSError, ValueError, TypeError, RecursionError, yaml.YAMLError) as error:
        raise UserError(f"{path} cannot be read ({error}); restore it, or move its folder elsewhere.") from error


def read_rows(path: Path, columns: Mapping[str, type]) -> pd.DataFrame:
    """A csv or jsonl file with at least `columns` {name: float or str}; no rows where a run has no such file.

    UserError where the file is damaged: cut short, without its first column, or with values of another type.
    """
    if not path.exists():
        return pd.DataFrame(columns=list(columns))
    try:
        rows = _lines(path) if path.suffix == ".jsonl" else pd.read_csv(io.BytesIO(_whole(path)), encoding="utf-8")
        if (first := next(iter(columns))) not in rows and len(rows):
            raise ValueError(f"it has no column {first!r}")
        for column, kind in columns.items():
            if column not in rows:
                rows[column] = None
            elif kind is float:
                rows[column] = pd.to_numeric(rows[column])
            elif not all(isinstance(value, str) or pd.isna(value) for value in rows[column].unique()):
                raise ValueError(f"not all in its column {column!r} is text")
    except (OSError, ValueError, TypeError, RecursionError) as error:  # pandas' parser errors are ValueErrors
        raise UserError(f"{path} cannot be read ({error}); restore it, or move its folder elsewhere.") from error
    return rows


def _lines(path: Path) -> pd.DataFrame:
    """A JSON object per line; lines end with a newline character and nothing else."""
    rows = [loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError("not every line is an object")
    return pd.DataFrame(rows)


def _whole(path: Path) -> bytes:
    """Return what a file holds of which the last line ends with a newline character, as in all that we write."""
    content = path.read_bytes()
    if b"\0" in content:
        raise ValueError("it holds NUL bytes")
    if not content.endswith(b"\n"):
        raise ValueError("its last line is cut short")
    return content


def cells(nested: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values by dotted key, each fit for a cell of a table: an empty mapping is none."""
    return {key: value for key, value in flatten(nested).items() if not isinstance(value, Mapping)}
