"""Lines of a log: a record is one line, and nothing in it is read by the terminal that shows it."""

import logging

from xright.errors import printable


class Formatter(logging.Formatter):
    """As logging's own, with messages that are `printable`: they name columns, files and values of data."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        record.message = printable(record.message)
        return super().formatMessage(record)


def to_stderr(form: str) -> None:
    """Warnings of all go to stderr, in this format: for commands that Hydra does not start."""
    handler = logging.StreamHandler()
    handler.setFormatter(Formatter(form))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
