"""What a command imports before it can work: five thousand modules, which take longer than anything it checks."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importing() -> Iterator[None]:
    """For the length of a command's imports: no garbage is looked for, which none of it is, and would take a fifth of
    the time; what was imported stays, and later collections leave it out."""
    before, collects = len(sys.modules), gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) > before:
            gc.freeze()
        if collects:
            gc.enable()
