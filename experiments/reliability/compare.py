"""What differs between the folder of an interrupted run and that of an uninterrupted one: nothing may, but times.

Compared as text or bytes, so to the last bit: every row of `trajectory.csv` and `steps.csv`, `samples.jsonl`,
`result.json`, every file of `model/`; and what both have built in their caches.
"""

import csv
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from wandb_files import history, run_ids

CLOCKS = {"seconds", "train_seconds", "eval_seconds", "step_seconds_median", "tokens_per_second"}
MACHINE = {"utilization_median_pct", "peak_memory_gb"}


def differences(whole: Path, other: Path) -> list[str]:
    """Between two run folders: a line per file. Scratch files left behind count."""
    found = list(_files(whole, other))
    for name in ("trajectory.csv", "steps.csv"):
        found += _tables(whole / name, other / name)
    if (whole / "result.json").exists() and (other / "result.json").exists():
        changed = _changed(*(json.loads((folder / "result.json").read_text()) for folder in (whole, other)))
        found += [f"result.json: {changed}"] if changed else []
    found += _wandb(whole, other)
    for pattern in ("config.yaml", "samples.jsonl", "model/**/*"):
        found += _bytes(whole, other, pattern)
    return found


def cache_differences(whole: Path, other: Path) -> list[str]:
    """Stages of the interrupted run's cache, their numbers and models, against those of a cache that holds them all."""
    found = [f"{path.relative_to(other)}: left in the cache" for path in other.glob("*/*.building*")]
    for stage in sorted(path.parent.relative_to(other) for path in other.glob("*/*/result.json")):
        tables = _tables(whole / stage / "trajectory.csv", other / stage / "trajectory.csv")
        found += [f"{stage}/{line}" for line in tables]
        for pattern in ("config.yaml", "result.json", "*.safetensors", "model/**/*"):
            found += _bytes(whole, other, f"{stage}/{pattern}")
    return found


def _files(whole: Path, other: Path) -> Iterable[str]:
    """Which files there are; checkpoints may have had a different number of saves, W&B's files count starts."""

    def names(folder: Path) -> set[str]:
        files = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
        return {str(file) for file in files if file.parts[0] not in ("checkpoints", "wandb")}

    for name in sorted(names(whole) ^ names(other)):
        yield f"{name}: only in the {'uninterrupted' if (whole / name).exists() else 'interrupted'} run"
    if not (other / "checkpoints" / "last.ckpt").exists() and (whole / "checkpoints" / "last.ckpt").exists():
        yield "checkpoints/last.ckpt: not there"


def _tables(whole: Path, other: Path) -> list[str]:
    """Rows in their order; so a row too many, or one that is there twice, is a difference."""
    if not whole.exists():
        return []
    expected, got = _rows(whole), _rows(other)
    if len(expected) != len(got):
        return [f"{whole.name}: {len(expected)} rows in the uninterrupted run, {len(got)} in the interrupted one"]
    for a, b in zip(expected, got, strict=True):
        if changed := _changed(a, b):
            return [f"{whole.name}, step {a['step']}: {changed}"]
    return []


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _wandb(whole: Path, other: Path) -> Iterable[str]:
    """One W&B run with the same points in it, each as often: in the offline files, all of them together."""
    if len(ids := run_ids(other)) > 1:
        yield f"wandb: {len(ids)} runs"
    expected, got = Counter(history(whole)), Counter(history(other))
    for points, what in ((expected - got, "missing"), (got - expected, "too many")):
        if points:
            yield f"wandb: {sum(points.values())} points {what}, for example {min(points)}"


def _bytes(whole: Path, other: Path, pattern: str) -> list[str]:
    found = []
    for file in sorted(path for path in whole.glob(pattern) if path.is_file()):
        twin = other / file.relative_to(whole)
        if twin.exists() and _portable(file) != _portable(twin):
            found.append(f"{file.relative_to(whole)}: {file.stat().st_size} and {twin.stat().st_size} bytes, not equal")
        elif not twin.exists():
            found.append(f"{file.relative_to(whole)}: not there")
    return found


def _portable(file: Path) -> bytes:
    """Content; an adapter and its model card name their base, which lies in the trial's own cache or run folder."""
    return re.sub(rb"""[^\s"'`]*(?=/base/[0-9a-f]{16}/model|/model/base\b)""", b"", file.read_bytes())


def _changed(expected: Mapping[str, Any], got: Mapping[str, Any]) -> str:
    keys = [key for key in {**expected, **got} if key not in CLOCKS | MACHINE]
    return "; ".join(
        f"{key} {expected.get(key)!r} and {got.get(key)!r}" for key in keys if expected.get(key) != got.get(key)
    )
