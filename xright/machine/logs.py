"""Lines of a log: a record is one line, and nothing in it is read by the terminal that shows it."""

import logging

from xright.errors import printable


class Formatter(logging.Formatter):
    """Formats as logging's own does, with messages that are `printable`: they name columns, files and values of
    data."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        record.message = printable(record.message)
        return super().formatMessage(record)


def to_stderr() -> None:
    """Send warnings to stderr, in the format of conf/hydra/job_logging: for commands that Hydra does not start."""
    handler = logging.StreamHandler()
    handler.setFormatter(Formatter("[xright] %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
