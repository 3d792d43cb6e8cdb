"""What a command imports before it can work: five thousand modules, which take longer than anything it checks."""

import gc
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager

SIGNAL = "scipy.signal"


@contextmanager
def importing() -> Iterator[None]:
    """For the length of a command's imports: no garbage is looked for, which none of it is, and would take a fifth of
    the time; what was imported stays, and later collections leave it out.

    torchmetrics, which Lightning imports, imports scipy.signal, scipy.stats with it, to put an old name there for a
    package of theirs; that would take a tenth of the time. It finds an empty module, which goes when the block ends.
    """
    stand_in = types.ModuleType(SIGNAL)
    stand_in.hamming = None  # type: ignore[attr-defined]
    sys.modules.setdefault(SIGNAL, stand_in)
    before, collects = len(sys.modules), gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if sys.modules[SIGNAL] is stand_in:
            del sys.modules[SIGNAL]
        if len(sys.modules) > before:
            gc.freeze()
        if collects:
            gc.enable()
