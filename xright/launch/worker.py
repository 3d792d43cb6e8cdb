"""A process of its own for work that may die: what ends it ends nobody else.

The cells of a sweep are worked on in one, the sweep's own process only waits (and never imports torch, so that to fork
is safe and quick, with a GPU too). A worker does one job after the other. When a job fails, its worker ends, with
whatever it leaves behind, and the next job gets a fresh one.

Signals that reach the process that waits are passed on. Asked to go once, it starts no other work.
"""

import importlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from multiprocessing.util import Finalize
from typing import Any

from xright.machine import preemption

GOING = (preemption.EXIT_CODE, preemption.INTERRUPTED)  # exit codes of a job that was asked to go

_worker: tuple[Any, Connection] | None = None
_asked = 0  # the exit code of a job that was asked to go


class Ended(Exception):
    """A worker has ended before its work was done. code: its exit code (-n: by signal n). reason: its last words."""

    def __init__(self, code: int, reason: str | None = None) -> None:
        super().__init__(code, reason)
        self.code, self.reason = code, reason


def call(function: str, *args: Any) -> Any:
    """Return what `function` ("module.name") returns for these arguments (all picklable) in a worker. Raises Ended."""
    global _worker, _asked
    if _asked:
        raise Ended(_asked)
    process, connection = _worker = _worker or _start()
    finished, value = False, None
    with _passing_on(process.pid), suppress(EOFError, OSError):  # the end of a pipe is the worker's end
        connection.send((function, args))
        finished, value = connection.recv()
    if finished:
        return value
    close()
    _asked = process.exitcode if process.exitcode in GOING else _asked
    raise Ended(process.exitcode, value)


def close() -> None:
    """End the worker, where there is one, and wait for its end."""
    global _worker
    if _worker is not None:
        (process, connection), _worker = _worker, None
        connection.close()
        process.join()


def _start() -> tuple[Any, Connection]:
    ours, theirs = multiprocessing.Pipe()
    process: Any = multiprocessing.get_context("fork").Process(target=_work, args=(theirs, ours))
    process.start()
    theirs.close()
    Finalize(None, close, exitpriority=1)  # else the exit of this process would wait for one that waits for it
    return process, ours


def _work(connection: Connection, other_end: Connection) -> None:
    """In the worker: do what is asked, until the pipe or a job ends."""
    other_end.close()  # so that the pipe ends with the process at its other end
    threading.Thread(target=die_with_parent, daemon=True).start()
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _interrupt_once)
    while True:
        try:
            function, args = connection.recv()
        except EOFError:
            return
        try:
            module, _, name = function.rpartition(".")
            value = getattr(importlib.import_module(module), name)(*args)
        except KeyboardInterrupt:
            sys.exit(preemption.INTERRUPTED)
        except BaseException as error:
            from xright.pipeline.folders import why

            connection.send((False, why(error)))
            raise
        connection.send((True, value))


def die_with_parent() -> None:
    """End this process with the one that started it, whatever ended that."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _interrupt_once(*_: Any) -> None:
    """Ctrl-C: a terminal sends it to us and to the process that waits, which passes it on."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


@contextmanager
def _passing_on(worker: int) -> Iterator[None]:
    def pass_on(number: int, _frame: Any) -> None:
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)  # a second Ctrl-C does not wait
        with suppress(ProcessLookupError):
            os.kill(worker, number)

    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN  # as in a shell's background job
    numbers = preemption.SIGNALS if ignored else (*preemption.SIGNALS, signal.SIGINT)
    with preemption.handled_by(pass_on, *numbers):
        yield
