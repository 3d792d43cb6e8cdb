"""What a run is called, and where its folder is: by what was asked for, never by the time.

`<runs_dir>/<name>/<cell>/`, where <cell> is made of the overrides that matter in a fixed order, so that a single run
and the same cell of a sweep are the same folder, and two runs that differ are never the same.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser

from xright.config.dotted import flatten
from xright.machine.paths import place

# Where to write, how to log and on what machine: these do not make another experiment. What is computed in does.
ARITHMETIC = ("trainer.precision",)
IMMATERIAL = ("name", "runs_dir", "stage", "overwrite", "logger", "trainer", "threads", "hydra")
LONGEST = 150  # bytes of a cell's name; file systems stop at 255, and locks and old folders are named after it
HASH = 8  # hexadecimal digits


def run_path(cfg: Mapping[str, Any], strategy: str, overrides: Sequence[str]) -> Path:
    """The run's folder, relative where `runs_dir` is: so it is told to people. cfg: resolved."""
    runs_dir = str(cfg["runs_dir"])
    there = place(runs_dir) if runs_dir.startswith("~") else Path(runs_dir)
    return there / str(cfg["name"]) / cell_name(cfg, strategy, overrides)


def cell_name(cfg: Mapping[str, Any], strategy: str, overrides: Sequence[str]) -> str:
    """Folder name of a run: strategy, λ (where weights are asked for), seed, then the other overrides, sorted.

    >>> cell_name({"strategy": {"weights": {}}, "lam": 0.25, "seed": 0}, "mix", ["lam=0.250", "data.max_length=9"])
    'strategy-mix_lam-0.25_seed-0_data.max_length-9'
    """
    parts = [f"strategy-{strategy}"]
    if any("weights" in cfg.get(part, {}) for part in ("strategy", "start")) and cfg["lam"] is not None:
        lam = float(cfg["lam"])
        parts.append(f"lam-{lam:g}" if float(f"{lam:g}") == lam else f"lam-{lam!r}")
    parts.append(f"seed-{cfg['seed']}")
    for override in sorted(map(_canonical, overrides)):
        key = override.split("=")[0]
        if key not in ("strategy", "lam", "seed") and is_material(key):
            parts.append(_part(override))
    name = "_".join(parts)
    if len(name.encode()) > LONGEST:
        whole = name.encode()[: LONGEST - HASH - 1].decode(errors="ignore")  # no half character at the end
        name = f"{whole}_{_hash(name)}"
    return name


def material(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that make a run what it is, flat: {"optim.lr": …}."""
    return {key: value for key, value in flatten(config).items() if is_material(key)}


def is_material(key: str) -> bool:
    """Tell whether a setting, or a group, makes another run."""
    return key.startswith(ARITHMETIC) or re.split(r"[./@]", key)[0] not in IMMATERIAL


def _part(override: str) -> str:
    """An override as a part of a file's name; with a hash where that does not tell it from any other.

    >>> _part("strategy.epochs=[1,2]"), _part("model.path=a/b")
    ('strategy.epochs-1,2', 'model.path-a-b-ee317895')
    """
    safe = re.sub(r"[^\w.,+-]+", "-", override).strip("-")
    _, equals, value = override.partition("=")
    several = re.fullmatch(r"\[([^,]+(,[^,]+)+)\]", value)
    plain = several[1] if several else value
    # "_a-b" could be the next part
    exact = re.fullmatch(r"[\w.,+-]*[\w.,+]", plain) and not re.search(r"_[^_]*-", plain)
    return safe if exact or not equals else f"{safe}-{_hash(override)}"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:HASH]


def _canonical(override: str) -> str:
    """An override as Hydra's sweeper would spell it: lr=1e-4 -> lr=0.0001; without a leading + or ~."""
    parsed = OverridesParser.create().parse_override(override)
    key = parsed.get_key_element().lstrip("+~")
    return key if parsed.is_delete() else f"{key}={parsed.get_value_element_as_str()}"
