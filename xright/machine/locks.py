"""One process at a time: locks of the operating system's (flock, through `filelock`), free when their holder dies."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

log = logging.getLogger(__name__)

REMIND = 60.0  # seconds between two messages of a process that waits
POLL = 0.2  # seconds between two looks at the lock


@contextmanager
def held(file: Path, work: str) -> Iterator[None]:
    """Hold the lock `file` for the length of the block. Where another process has it, wait, and log what for.

    work: what the lock is for, in words that go on from "another process that …". The file is never removed: somebody
    may be waiting at it.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    lock, started, wait = FileLock(file), time.monotonic(), 0.0
    while not lock.is_locked:
        try:
            lock.acquire(timeout=wait, poll_interval=POLL)
        except Timeout:
            since = f" ({(time.monotonic() - started) / 60:.0f} min)" if wait else ""
            log.info("%s for another process that %s%s", "still waiting" if wait else "waiting", work, since)
            wait = REMIND
    try:
        yield
    finally:
        lock.release()
