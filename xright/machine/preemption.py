"""Asked to go: SIGTERM (schedulers, `kill`), SIGUSR1, SIGUSR2 (SLURM's early warnings).

A training finishes its step (an evaluation its chunk), agrees with the other ranks, saves, and ends with `Preempted`:
for its length a signal only sets a flag. At any other moment `Preempted` is raised where the program stands: stages
leave the cache as if they had been killed. Either way the same command goes on from there.

The handler itself saves nothing and talks to nobody: one that does deadlocks (Lightning #20806).
"""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

log = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
EXIT_CODE = 75  # sysexits.h, EX_TEMPFAIL: run the same command again
INTERRUPTED = 130  # a shell's code for what Ctrl-C has ended
ABSENT = 127  # a shell's code for a command that is not there
REQUEUE_SECONDS = 5.0  # in which the first rank has asked SLURM

_listening = _deferred = False
_received: signal.Signals | None = None


class Preempted(BaseException):
    """The job was asked to go, and is ready to. No `except Exception` of a library may swallow it."""


def from_the_start(speaks: bool = True) -> None:
    """Until a job listens, and after it: nothing is at work, so that a signal ends the program at once, with the code
    of a job that has saved. To be called before anything that takes long to import."""

    def leave(number: int, _frame: Any) -> None:
        first = os.environ.get("SLURM_PROCID", "0") == "0"
        then = requeue(speaks and first) or "the same command goes on from here"
        if speaks and first:
            print(f"xright: asked to go ({signal.Signals(number).name}); {then}.", file=sys.stderr, flush=True)
        os._exit(EXIT_CODE)

    for number in SIGNALS:
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, leave)


@contextmanager
def handled_by(handler: Callable[[int, Any], None], *numbers: signal.Signals) -> Iterator[None]:
    """For the length of the block, signals go to `handler` (in the main thread; another cannot have handlers)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in numbers}
    for number in before:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, found in before.items():
            if signal.getsignal(number) is not signal.SIG_IGN:  # `requeue` has: this program ends
                signal.signal(number, found)


@contextmanager
def listening() -> Iterator[None]:
    """Handle signals for the length of a whole job."""
    global _listening, _received
    _received = None
    with handled_by(_on_signal, *SIGNALS):
        _listening = threading.current_thread() is threading.main_thread()
        try:
            yield
        finally:
            _listening, _received = False, None


def listen() -> None:
    """Take the signals (back) from whoever has handlers: Lightning and submitit install their own."""
    if _listening:
        for number in SIGNALS:
            signal.signal(number, _on_signal)


@contextmanager
def deferred() -> Iterator[None]:
    """Defer signals for the length of a training: one only makes `requested()` true. Ends with Preempted if one
    came."""
    global _deferred
    _deferred = True
    try:
        yield
    finally:
        _deferred = False
        if _received is not None:
            raise Preempted(_received.name)


def requested() -> bool:
    """Tell whether a signal has come."""
    return _received is not None


def interrupted(error: BaseException | None) -> bool:
    """Tell whether an error is Ctrl-C, or arose while a library cleaned up after it.

    >>> late = RuntimeError("call iter() first")
    >>> late.__context__ = KeyboardInterrupt()
    >>> interrupted(late), interrupted(RuntimeError())
    (True, False)
    """
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


def requeue(speaks: bool) -> str | None:
    """In a SLURM job: put it back into the queue, under its own number. What was done, in words; None elsewhere.

    speaks: one rank does; the others wait for it here, since many clusters kill a job when its first task ends. A job
    that SLURM is ending anyway (cancelled, or requeued by somebody else) is left alone: to requeue it would revive it.
    """
    if (job := slurm_job()) is None:
        return None
    for number in (*SIGNALS, signal.SIGCONT):  # a requeue sends them, too; we are going
        signal.signal(number, signal.SIG_IGN)
    if not speaks:
        time.sleep(REQUEUE_SECONDS)
        return None
    state = _ask("squeue", "--noheader", "--format=%T", f"--jobs={job}")
    if state.returncode == ABSENT:
        return f"SLURM job {job} cannot be requeued from here ({state.stderr})"
    if state.stdout.strip() != "RUNNING":
        return f"SLURM is ending job {job} already"
    done = _ask("scontrol", "requeue", job)
    if done.returncode:
        return f"SLURM did not requeue job {job} ({done.stderr.strip()})"
    return f"SLURM job {job} is requeued"


def slurm_job() -> str | None:
    """The job's number, or array_task; None outside of SLURM's batch jobs (a shell of `salloc` is not requeued)."""
    if "SLURM_JOB_ID" not in os.environ or os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive"):
        return None
    if array := os.environ.get("SLURM_ARRAY_JOB_ID"):
        return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    return os.environ["SLURM_JOB_ID"]


def _ask(*command: str) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError as error:
        return subprocess.CompletedProcess(command, ABSENT, "", str(error))


def _on_signal(number: int, _frame: Any) -> None:
    global _received
    _received = signal.Signals(number)
    if not _deferred:
        raise Preempted(_received.name)
