"""Bar 9: what a second λ of a sweep pays for the stages that all runs share. Measured from outside: the command line,
a fresh cache, and the log's lines as they come."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from time import perf_counter
from typing import Any

SMALL = (  # the embedded world in a quarter of a minute; which stages there are does not depend on it
    "epochs=1", "model.pretrain.steps=100", "data.source.text_rows=640", "data.source.sft_rows=240",
    "data.source.preference_rows=80", "threads=1",
)  # fmt: skip
FIRST, READY, BUILT, FOUND = "\t#", "[xright] optima:", ": building ", ": from the cache, "


def sweep(lams: str = "0.25,0.5,0.75") -> list[dict[str, Any]]:
    """Per λ: seconds from its start until everything shared is there, stages built, stages found in the cache."""
    with tempfile.TemporaryDirectory() as scratch:
        return list(started(Path(scratch), lams))


def started(folder: Path, lams: str) -> Iterable[dict[str, Any]]:
    """Run it in a folder with a cache of its own."""
    command = [
        sys.executable, "-m", "xright.run", "name=speed", f"runs_dir={folder / 'runs'}", "trainer=cpu", "logger=csv",
        *SMALL, "strategy=alright", f"lam={lams}", "-m",
    ]  # fmt: skip
    environment = os.environ | {"XRIGHT_CACHE": str(folder / "cache"), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdout is not None
    yield from read((perf_counter(), line.rstrip("\n")) for line in process.stdout)
    if code := process.wait():
        raise RuntimeError(f"the sweep of bar 9 ended with {code}: {' '.join(command)}")


def read(lines: Iterable[tuple[float, str]]) -> Iterable[dict[str, Any]]:
    """Cells of a sweep from its log; lines: (time in seconds, text).

    >>> log = [(0, "[HYDRA] \\t#0 : lam=0"), (1, "[xright] base: building x"), (9, "[xright] optima: f = 1")]
    >>> list(read(log))
    [{'seconds': 9, 'built': 1, 'found': 0}]
    """
    cell: dict[str, Any] = {}
    since = 0.0
    for moment, text in lines:
        if FIRST in text:
            since, cell = moment, {"seconds": 0.0, "built": 0, "found": 0}
        elif cell:
            cell["built"] += BUILT in text
            cell["found"] += FOUND in text
            if READY in text:
                yield cell | {"seconds": moment - since}
                cell = {}
