"""What is measured, and how much of it: in full, or on sizes that prove nothing but that it runs."""

import json
import os
import platform
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any

import pandas as pd
import torch
from contestants import OURS, TECHNIQUES, others
from peaks import peaks
from race import race
from rows import Lengths, describe, draw
from setting import Setting
from sweep import sweep

from xright.training.fit import versions

BARS = [f"{objective}/{name}" for objective in ("dpo", "sft") for name in ("naive", "bare", "TRL compact")]
BARE = ["dpo/bare", "sft/bare"]
STOCK = ["dpo/TRL stock", "sft/TRL stock"]
ON_THE_WAY = [f"dpo/{name}" for name in TECHNIQUES if name != "naive"]
ON_THE_WAY += ["sft/completion logits", "sft/no padding"]
PURE = ["dpo/ours", "sft/ours"]
REMEMBERED = [
    f"{objective}/{name}" for objective in ("dpo", "sft") for name in ("naive", "bare", "TRL compact", "ours")
]
SHORT = 4  # the warm-up's rows are this many times shorter


@dataclass(frozen=True)
class Race:
    """Who races under which setting; rounds: measured ones."""

    setting: Setting
    others: list[str]
    ours: list[str]
    rounds: int
    seldom: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """races, growth: by name; peaks: setting and batches per contestant; sweep: whether bar 9 is measured."""

    races: Mapping[str, Race]
    growth: Mapping[str, Race]
    peaks: tuple[Setting, int] | None
    sweep: bool


def full() -> Plan:
    """The bars of the design, and how things grow."""
    between, everyone = tuple(ON_THE_WAY), [*BARS, *STOCK, *ON_THE_WAY]
    lora, large = Setting(), Setting(vocabulary=50304)
    races = {
        "overhead": Race(Setting(vocabulary=512, hidden=16, layers=1, heads=2), BARE, [*PURE, "ALRIGHT"], 40),
        "LoRA, 8k": Race(lora, everyone, list(OURS), 5, between),
        "LoRA, 50k": Race(large, everyone, PURE, 5, (*between, *STOCK)),
        "full, 8k": Race(Setting(lora=False), everyone, PURE, 5, (*between, *STOCK)),
    }  # fmt: skip
    few = Lengths(sft=4, pairs=2)
    growth = {
        f"length {longest}": Race(Setting(lengths=replace(few, longest=longest)), BARS, PURE, 2)
        for longest in (64, 256, 1024, 2048)
    }
    growth |= {
        f"vocabulary {size}": Race(Setting(vocabulary=size, lengths=few), BARS, PURE, 2)
        for size in (8192, 50304, 128256)
    }
    return Plan(races, growth, (large, 2), sweep=True)


def quick() -> Plan:
    """The same contestants on next to nothing."""
    tiny = Setting(vocabulary=300, hidden=32, layers=2, heads=2, lengths=Lengths(40, sft=4, pairs=3))
    everyone = [*BARS, *STOCK, *ON_THE_WAY]
    races = {
        "overhead": Race(tiny, BARE, [*PURE, "ALRIGHT"], 2),
        "LoRA, 8k": Race(tiny, everyone, list(OURS), 2),
        "LoRA, 50k": Race(tiny, BARS, PURE, 1),
        "full, 8k": Race(replace(tiny, lora=False), everyone, PURE, 2),
    }
    growth = {
        f"length {longest}": Race(replace(tiny, lengths=Lengths(longest, 2, 2)), BARS, PURE, 1) for longest in (32, 64)
    }
    growth |= {f"vocabulary {size}": Race(replace(tiny, vocabulary=size), BARS, PURE, 1) for size in (300, 600)}
    return Plan(races, growth, None, sweep=False)


def measure(plan: Plan, folder: Path) -> None:
    """`results.csv`: a row per step (race, round, contestant, seconds, cpu, losses), written after every race;
    `results.json`: everything else, written last."""
    started, tables, gradients, batches = perf_counter(), [], {}, {}
    for name, one in {**plan.races, **plan.growth}.items():
        print(f"race: {name}", flush=True)
        values, gradients[name], batches[name] = run(one)
        tables.append(pd.DataFrame(values).assign(race=name))
        pd.concat(tables).round(7).to_csv(folder / "results.csv", index=False)
    found: dict[str, Any] = {"about": about(), "gradients": gradients, "batches": batches}
    if plan.peaks and sys.platform == "linux":  # the books that are read are its own
        print("peak memory", flush=True)
        mixed = ["Mix", "MAXRIGHT look, dpo wins"]
        found["peaks"] = peaks(plan.peaks[0], [*REMEMBERED, *mixed], plan.peaks[1])
    if plan.sweep:
        print("sweep", flush=True)
        with tempfile.TemporaryDirectory() as scratch:
            found["sweep"] = sweep(Path(scratch))
    found["about"]["minutes"] = (perf_counter() - started) / 60
    (folder / "results.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def run(one: Race) -> tuple[list[dict[str, Any]], dict[str, float], dict[str, dict[str, float]]]:
    """Steps, gradient differences, and what the batches looked like (means over the measured rounds)."""
    setting = one.setting
    short = replace(setting.lengths, longest=max(8, setting.lengths.longest // SHORT))
    sizes = [short] + [setting.lengths] * one.rounds
    rounds = setting.with_reference([draw(size, setting.vocabulary, seed) for seed, size in enumerate(sizes)])
    with tempfile.TemporaryDirectory() as folder:
        entered = others(one.others, setting, rounds, folder)
        ours = {name: OURS[name] for name in one.ours}
        result = race(setting, rounds, ours, entered, Path(folder), seldom=one.seldom)
    batches = {stream: means(describe(rows[stream]) for rows in rounds[1:]) for stream in rounds[0]}
    return result.values, result.gradients, batches


def means(described: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Means of each number."""
    return {str(key): float(value) for key, value in pd.DataFrame(list(described)).mean().items()}


def about() -> dict[str, Any]:
    """Machine, versions and the settings that figures depend on."""
    cpuinfo = Path("/proc/cpuinfo")
    models = (
        [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")] if cpuinfo.exists() else []
    )
    return {
        "cpu": models[0].split(":")[1].strip() if models else platform.machine(),
        "cores": os.cpu_count(),
        "isa": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "allocator": " ".join(platform.libc_ver()) or "the system's",
        "malloc": {key: value for key, value in os.environ.items() if key.startswith(("MALLOC_", "LD_PRELOAD"))},
        "versions": versions() | {"trl": version("trl")},
    }
