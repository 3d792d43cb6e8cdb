"""Recompute the convex results of arXiv 2410.15483: OUT/theory.json (every number) and three figures as PDF, SVG and
PNG: figure_2 (two parameters), figure_6 (one), gap_against_horizon (E[G] against T with the bound).

Files of the same name are replaced. The last line printed is the path of theory.json.

Examples
  python -m xright.theory theory                             every number of the paper, in a minute on two cores
  python -m xright.theory theory --seeds 16 --processes 2    fewer runs of ALRIGHT
"""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np

from xright import __version__
from xright.errors import UserError
from xright.machine.command import exits, help_of
from xright.machine.files import write
from xright.theory.figures import FIGURES
from xright.theory.recompute import recompute

PNG_DPI = 200
NO_DATE = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}  # the same input gives the same file


@exits
def main(arguments: Sequence[str] | None = None) -> None:
    """Compute, write, print the path of theory.json."""
    asked = parser().parse_args(arguments)
    _check(asked.out, asked.seeds, asked.processes)
    print(_write(asked.out, asked.seeds, asked.processes))


def _write(out: Path, seeds: int, processes: int | None) -> Path:
    """theory.json last: its presence means that everything is there."""
    started = time.perf_counter()
    results = recompute(seeds, processes)
    for name, draw in FIGURES.items():
        figure = draw(results)
        for kind, metadata in NO_DATE.items():
            with matplotlib.rc_context({"svg.hashsalt": "xright"}):
                figure.savefig(out / f"{name}.{kind}", dpi=PNG_DPI, facecolor="white", metadata=metadata)
    versions = {"xright": __version__, "python": platform.python_version(), "numpy": np.__version__}
    machine = {"cpu": platform.machine(), "cores": os.cpu_count()}
    results["about"] = {
        "versions": versions | {"matplotlib": matplotlib.__version__},
        "machine": machine,
        "seconds": round(time.perf_counter() - started, 1),
    }
    path = out / "theory.json"
    write(path, json.dumps(results, indent=1, allow_nan=False) + "\n")
    return path


def _check(out: Path, seeds: int, processes: int | None) -> None:
    """Everything that could go wrong at the end, before the beginning."""
    if seeds < 2:
        raise UserError(f"--seeds {seeds} must be at least 2: a standard error needs two runs.")
    if processes is not None and processes < 1:
        raise UserError(f"--processes {processes} must be at least 1.")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"OUT={str(out)!r} cannot be made a folder ({error.strerror}); name another.") from error
    if not os.access(out, os.W_OK):
        raise UserError(f"OUT={str(out)!r} is not writable; name another folder.")


def parser() -> argparse.ArgumentParser:
    """Return the parser of this command line."""
    made = argparse.ArgumentParser(prog="python -m xright.theory", **help_of(__doc__))
    made.add_argument("out", metavar="OUT", type=Path, help="folder to write to; made if it does not exist")
    made.add_argument("--seeds", type=int, default=256, help="runs of ALRIGHT per T; an eighth at T = 100,000 (256)")
    made.add_argument("--processes", type=int, help="worker processes (default: one per core)")
    return made


if __name__ == "__main__":
    sys.exit(main())
