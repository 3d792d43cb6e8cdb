"""Does xright do on this device what it promises? `python experiments/gpu/accept.py OUT`, in eight minutes at most.

Writes OUT/accept.json, OUT/accept.md and OUT/growth.png. Exits with 0 where all that was asked holds, with 1 where
something does not, or went wrong, or did not come to its end in time. Needs a CUDA device and the installed package;
trl and liger-kernel take part where they are installed. `--device cpu --quick` tries the program itself.

Each check has a process of its own: none can harm the next, and one that hangs is ended.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import platform
import sys
import time
import traceback
import warnings
from collections import Counter
from dataclasses import asdict
from datetime import date
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from finding import ERROR, FAILS, HOLDS, SKIPPED, Finding, accepted, failed
from page import NAME, write
from place import Place

from xright import __version__

CHECKS = {  # in this order, each with the seconds that it may take
    "layouts": 75, "mask": 75, "mask_memory": 20, "resume": 60, "look": 60, "steps": 130, "throughput": 160,
    "growth": 80,
}  # fmt: skip
TOTAL = 450  # seconds, of eight minutes
LIBRARIES = ("torch", "transformers", "lightning", "peft", "trl", "liger-kernel")
HEAVY = ["torch", "lightning", "transformers", "peft", "xright.training.fit", "matplotlib.figure"]


def main(arguments: list[str]) -> int:
    """Run the checks that are named, or all; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder for what is written")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--quick", action="store_true", help="sizes that prove nothing but that it runs")
    parser.add_argument(
        "--only", nargs="+", choices=CHECKS, default=list(CHECKS), metavar="CHECK", help=", ".join(CHECKS)
    )
    asked = parser.parse_args(arguments)
    if asked.device == "cuda" and not torch.cuda.is_available():
        parser.error("torch sees no CUDA device here; --device cpu --quick tries the program itself.")
    # Asked of the driver's library, CUDA is not begun in the process that the checks' are forked from.
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    asked.out.mkdir(parents=True, exist_ok=True)
    place, started = Place(asked.device, asked.quick), time.monotonic()
    said: list[dict[str, Any]] = []
    for name in asked.only:
        said += run(name, place, asked.out, left=TOTAL - (time.monotonic() - started))
    findings = [line for line in said if "verdict" in line]
    verdicts = Counter(line["verdict"] for line in findings)
    found = {
        "accepted": accepted([line["verdict"] for line in findings]),
        "counts": {verdict: verdicts[verdict] for verdict in (HOLDS, FAILS, SKIPPED, ERROR)},
        "about": {
            "device": place.name, "quick": place.quick, "date": date.today().isoformat(),
            "seconds": time.monotonic() - started, "versions": versions(),
        },
        "findings": findings,
        "lines": [line for line in said if "table" in line],
    }  # fmt: skip
    (asked.out / f"{NAME}.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(write(asked.out))
    return 0 if found["accepted"] else 1


def run(name: str, place: Place, out: Path, left: float) -> list[dict[str, Any]]:
    """What a check says in a process of its own, within its time and what is left of all; also what it said before it
    failed or was ended."""
    file, seconds = out / f"{name}.jsonl", min(CHECKS[name], left)
    file.unlink(missing_ok=True)
    print(f"{name} …", flush=True)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(HEAVY)
    process = context.Process(target=speak, args=(name, place, file))
    if seconds > 0:
        process.start()
        process.join(seconds)
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []
    file.unlink(missing_ok=True)
    error = None
    if seconds <= 0:
        error = "there was no time left for it"
    elif process.exitcode is None:
        process.kill()
        process.join()
        error = f"it did not come to its end in {seconds:.0f} seconds"
    elif process.exitcode and not any(line.get("verdict") == ERROR for line in lines):
        error = f"its process ended with {process.exitcode}"
    if error:
        lines.append(asdict(Finding(name, ERROR, why=error)))
    return [{"check": name, **line} for line in lines]


def speak(name: str, place: Place, file: Path) -> None:
    """In the check's process: a line of json for each thing that it says."""
    from xright.machine.quiet import quiet

    quiet()
    warnings.filterwarnings("ignore", module="(trl|torch|transformers|peft|lightning)")
    with file.open("a", encoding="utf-8") as lines:
        try:
            for said in import_module(f"checks.{name}").check(place):
                lines.write(json.dumps(asdict(said)) + "\n")
                lines.flush()
        except BaseException as error:
            traceback.print_exc()
            lines.write(json.dumps(asdict(failed(name, error))) + "\n")
            sys.exit(1)


def versions() -> dict[str, str]:
    """Of what decides the numbers; what is not installed is left out."""
    found = {"xright": __version__, "python": platform.python_version(), "CUDA": torch.version.cuda or "none"}
    for name in LIBRARIES:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
