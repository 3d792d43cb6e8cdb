"""Peak memory of a step above the model: each contestant in a fresh process, from Linux's own books.

The process builds its contestant, makes a step on very short rows (the optimizer's state exists then), and hands what
the allocator holds free back to the system. Then, for every batch: resident memory before the step, the kernel's
high-water mark reset (`/proc/self/clear_refs`), the step, the mark. The difference is what the step took at its peak,
whoever allocated it; weights and optimizer state are not in it, gradients are.
"""

import ctypes
import gc
import tempfile
from pathlib import Path

from contestants import OURS, others
from pilot import STREAM, objective_of
from race import race
from setting import Setting

MB = 1e6
TINY = 8  # longest sequence of the first step


class PeakMemory:
    """peak_mb: 10⁶ bytes above what was resident before the step."""

    def start(self) -> None:
        """Give back what is free, reset the mark, read what is resident."""
        gc.collect()
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
        self.before = _status("VmRSS")

    def stop(self) -> dict[str, float]:
        """The mark, above what was resident."""
        return {"peak_mb": (_status("VmHWM") - self.before) / MB}


def peak(setting: Setting, name: str, batches: int) -> list[float]:
    """One contestant's peaks in this process, MB."""
    rounds = setting.rounds(batches, first=TINY)
    meter = PeakMemory()
    with tempfile.TemporaryDirectory() as folder:
        if name in OURS:
            values = race(setting, rounds, {name: OURS[name]}, {}, Path(folder), meter).values
            return [row["peak_mb"] for row in values if row["round"] > 0]
        (contestant,) = others([name], setting, rounds, folder).values()
        found = []
        for rows in rounds:
            meter.start()
            contestant.step(rows[STREAM[objective_of(name)]])
            found.append(meter.stop()["peak_mb"])
        return found[1:]


def _status(key: str) -> int:
    """Bytes."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{key}:"))
    return int(line.split()[1]) * 1024
