"""Rows of text to the loggers that take them (W&B: one table per key and step)."""

from collections.abc import Mapping, Sequence
from typing import Any

import lightning as L

MOST = 100  # rows of a table


def log_table(trainer: L.Trainer, key: str, rows: Sequence[Mapping[str, Any]], step: int) -> None:
    """The first MOST rows, all with the same columns."""
    columns = list(rows[0])
    for logger in trainer.loggers:
        if hasattr(logger, "log_rows"):
            logger.log_rows(key, columns, [list(row.values()) for row in rows[:MOST]], step)
