"""Tables as csv that programs read and spreadsheets open: no cell is a formula, whatever the data say.

A spreadsheet takes text that begins with one of = + - @, a tab or a carriage return for a formula, which may call
programs and addresses (OWASP, "CSV Injection"); an apostrophe before it marks it as text.
"""

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd

from xright.machine import files

FORMULA = re.compile(r"[=+\-@\t\r]")


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write a table, without its index; mappings and lists as JSON."""
    safe = table.rename(columns=_no_formula)
    for place, kind in enumerate(safe.dtypes):
        if not pd.api.types.is_numeric_dtype(kind):
            safe.isetitem(place, safe.iloc[:, place].map(_no_formula))
    files.write(path, safe.to_csv(index=False, lineterminator="\r\n"))  # RFC 4180; so that \r in a cell is quoted too


def _no_formula(cell: Any) -> Any:
    """A cell or heading as it may be written; a number is no formula, whatever its sign.

    >>> _no_formula('=HYPERLINK("a")'), _no_formula("-0.5"), _no_formula("a = b")
    ('\\'=HYPERLINK("a")', '-0.5', 'a = b')
    """
    if isinstance(cell, dict | list):
        return json.dumps(cell, ensure_ascii=False)
    if not isinstance(cell, str) or not FORMULA.match(cell):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell
