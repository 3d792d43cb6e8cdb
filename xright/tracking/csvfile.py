"""A CSV file that grows row by row and survives an interruption without a row lost or there twice (`journal.py`)."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from xright.tracking.journal import Journal


class CsvFile(Journal):
    """Rows with fixed columns, the first of which is `step`. A missing or None value is an empty cell."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        super().__init__(path)
        self.columns = columns

    def start(self, head: str = "") -> None:
        """Begin with the columns' names; or go on where a checkpoint was."""
        super().start(head or self._text([dict(zip(self.columns, self.columns, strict=True))]))

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write rows at the end."""
        self.append(self._text(rows))

    def read(self) -> list[dict[str, str]]:
        """All rows so far; none if there is no file."""
        if not self.path.exists():
            return []
        with self.path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def _text(self, rows: Iterable[Mapping[str, Any]]) -> str:
        text = io.StringIO(newline="")
        csv.DictWriter(text, self.columns).writerows(rows)
        return text.getvalue()
