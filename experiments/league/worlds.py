"""The worlds of the league, and what every run in one of them is measured by."""

import json
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from threading import Lock
from typing import NamedTuple

TUNED, SEEDS = (100, 101), range(10)  # with seed s, world s too
RATES = ("1e-4", "2e-4", "4e-4", "8e-4")  # AdamW's learning rate; the embedded recipe has the second
# Of a run, that costs time and changes nothing of its result.
QUICK = ("logger=csv", "callbacks.samples=null", "callbacks.device=null", "eval_every=180")
LOCK = Lock()


class Ends(NamedTuple):
    """Where a world's runs begin, and how far they could come.

    optima: of each objective f*, the lowest that training on it alone reaches with any of RATES. gaps and behaviour:
    the base's, from which every run starts.
    """

    optima: Mapping[str, float]
    gaps: Mapping[str, float]
    behaviour: Mapping[str, float]


def started(*options: str) -> None:
    """One command of xright."""
    subprocess.run([sys.executable, "-m", "xright.run", *options, *QUICK, "-m"], check=True)


def ends(seed: int) -> Ends:
    """The ends of one world, whose stages are made once, whoever asks first."""
    with LOCK:
        return _ends(seed)


@cache
def _ends(seed: int) -> Ends:
    name = f"league_optima_{seed}"
    if len(results(name)) < len(RATES):
        started(*world(seed), "strategy=merge", "start=base", f"name={name}", f"optim.lr={','.join(RATES)}")
    found = results(name)
    told = [one["objectives"] for one in found]
    optima = {key: min(one[key]["optimum"] for one in told) for key in told[0]}
    return Ends(optima, {key: told[0][key]["f"] - value for key, value in optima.items()}, found[0]["behaviour"])


def world(seed: int) -> tuple[str, str]:
    """The options of a run in the world of this seed."""
    return f"seed={seed}", f"data.source.seed={seed}"


def results(name: str) -> list[dict]:
    """What result.json says of each finished run of a sweep."""
    return [json.loads(file.read_text()) for file in sorted(Path("runs", name).glob("*/result.json"))]
