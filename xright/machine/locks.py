"""One process at a time: locks of the operating system's (flock, through `filelock`), free when their holder dies."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout

from xright.errors import UserError

T = TypeVar("T")

log = logging.getLogger(__name__)

REMIND = 60.0  # seconds between two messages of a process that waits
POLL = 0.2  # seconds between two looks at the lock


class Busy(UserError):
    """Another process holds a lock that was not to be waited for."""


@contextmanager
def held(file: Path, work: str, patient: bool = True) -> Iterator[None]:
    """Hold the lock `file` for the length of the block. Where another process has it, wait, and log what for; or raise
    Busy, if not patient.

    work: what the lock is for, in words that go on from "another process that …". The file is never removed: somebody
    may be waiting at it.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    lock, started, wait = FileLock(file), time.monotonic(), 0.0
    while not lock.is_locked:
        try:
            lock.acquire(timeout=wait, poll_interval=POLL)
        except Timeout:
            if not patient:
                raise Busy(f"another process {work}; wait for it.") from None
            since = f" ({(time.monotonic() - started) / 60:.0f} min)" if wait else ""
            log.info("%s for another process that %s%s", "still waiting" if wait else "waiting", work, since)
            wait = REMIND
    try:
        yield
    finally:
        lock.release()


def free_first(names: Sequence[str], ask: Callable[[str, bool], T]) -> dict[str, T]:
    """Return {name: ask(name, patient)}. What is Busy is asked for again at the end, and waited for: so processes that
    start together and need the same things make different ones."""
    found: dict[str, T] = {}
    for patient in (False, True):
        for name in (name for name in names if name not in found):
            with suppress(Busy):
                found[name] = ask(name, patient)
    return {name: found[name] for name in names}
