"""What is measured, and how much of it: in full, or on sizes that prove nothing but that it runs."""

import json
import multiprocessing
import os
import platform
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any

import pandas as pd
import torch
from bars import EVALUATION, NEAR, NEAR_FULL, REAL, REAL_FULL
from contestants import OURS, TECHNIQUES, others
from evaluating import evaluation
from peaks import peak
from pilot import Kinds
from race import race
from real import Real
from rows import Lengths, describe
from setting import Setting
from sweep import sweep

from xright.machine.quiet import quiet
from xright.training.fit import versions

BARS = [f"{objective}/{name}" for objective in ("dpo", "sft") for name in ("naive", "bare", "TRL compact")]
BARE = ["dpo/bare", "sft/bare"]
STOCK = ["dpo/TRL stock", "sft/TRL stock"]
ON_THE_WAY = [f"dpo/{name}" for name in TECHNIQUES if name not in ("naive", "trie")]
ON_THE_WAY += ["sft/completion logits", "sft/no padding"]
PURE = ["dpo/ours", "sft/ours"]
REMEMBERED = [
    f"{objective}/{name}" for objective in ("dpo", "sft") for name in ("naive", "bare", "TRL compact", "ours")
]
KINDS_FROM, KINDS_WARM = 2, 64  # steps that are profiled, and tokens of a row in the one before them
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
    """races, growth: by name; peaks: setting and batches per contestant; sweep: whether bar 9 is measured; evaluated:
    setting, distinct prompts, and rounds; profiled: of whose steps it is told where their time goes; apart: each of
    these in a process of its own."""

    races: Mapping[str, Race]
    growth: Mapping[str, Race] = field(default_factory=dict)
    peaks: tuple[Setting, int] | None = None
    sweep: bool = False
    evaluated: tuple[Real, int, int] | None = None
    profiled: Mapping[str, Setting] = field(default_factory=dict)
    apart: bool = True


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


def real() -> Plan:
    """SmolLM2-135M on real rows; as many rows to a step as where it was first tried (8, and 4 pairs, of 384 tokens)."""
    rows = Lengths(sft=8, pairs=4)
    lora, all_of_it = Real(lengths=rows), Real(lengths=rows, lora=False, noise=0.0)
    on_the_way = [*ON_THE_WAY, "dpo/trie", "sft/trie"]
    ours = [name for name in OURS if "without" not in name]
    races = {
        REAL: Race(lora, [*BARS, *STOCK, *on_the_way], ours, 5, (*on_the_way, *STOCK)),
        REAL_FULL: Race(all_of_it, [*BARS, *STOCK], PURE, 5, tuple(STOCK)),
        NEAR: Race(lora, BARE, PURE, 10),
        NEAR_FULL: Race(all_of_it, BARE, PURE, 10),
    }
    return Plan(races, peaks=(lora, 1), evaluated=(lora, 12, 2), profiled={REAL: lora, REAL_FULL: all_of_it})


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
    return Plan(races, growth, apart=False)


def measure(plan: Plan, folder: Path, only: str = "") -> None:
    """`results.csv`: a row per step (race, round, contestant, seconds, cpu, losses); `results.json`: everything else.
    Each part is written when it is done. only: what has this in its name is measured again, and the rest of both files
    kept."""
    found: dict[str, Any] = {"gradients": {}, "batches": {}, "about": {"minutes": 0.0}}
    steps = pd.DataFrame({"race": []})
    if only:
        steps = pd.read_csv(folder / "results.csv")
        found = json.loads((folder / "results.json").read_text(encoding="utf-8"))

    def raced(name: str, values: list[dict[str, Any]], batches: Mapping[str, Any]) -> None:
        nonlocal steps
        steps = pd.concat([steps[steps["race"] != name], pd.DataFrame(values).assign(race=name)])
        steps.round(7).to_csv(folder / "results.csv", index=False)
        found["batches"][name] = batches

    for name, part in parts(plan).items():
        if only not in name:
            continue
        print(name, flush=True)
        started = perf_counter()
        result = part()
        if name in plan.races | plan.growth:
            values, found["gradients"][name], batches = result
            raced(name, values, batches)
        elif name == EVALUATION:
            raced(name, *result)
        else:
            found[name] = result
        found["about"] = about() | {"minutes": found["about"]["minutes"] + (perf_counter() - started) / 60}
        (folder / "results.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def parts(plan: Plan) -> dict[str, Callable[[], Any]]:
    """What there is to measure, by name."""
    found: dict[str, Callable[[], Any]] = {}
    call = alone if plan.apart else here
    for name, one in {**plan.races, **plan.growth}.items():
        found[name] = partial(call, run, one)
    if plan.evaluated:
        found[EVALUATION] = partial(call, evaluated, *plan.evaluated)
    if plan.peaks and sys.platform == "linux":  # the books that are read are its own
        setting, batches = plan.peaks
        names = [*REMEMBERED, "Mix", "MAXRIGHT look, dpo wins"]
        found["peaks"] = lambda: {name: call(peak, setting, name, batches) for name in names}
    if plan.sweep:
        found["sweep"] = sweep
    if plan.profiled:
        found["kinds"] = lambda: {name: call(kinds, setting) for name, setting in plan.profiled.items()}
    return found


def alone(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call it in a fresh process: what others have left in memory neither helps nor hinders."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "transformers", "peft", "lightning", "trl", "hydra"])
    with context.Pool(1, initializer=prepared, maxtasksperchild=1) as pool:
        return pool.apply(function, arguments)


def here(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call it in this process."""
    prepared()
    return function(*arguments)


def prepared() -> None:
    """One thread, and no noise."""
    quiet()
    warnings.filterwarnings("ignore", module="(trl|torch|transformers|peft)")
    torch.set_num_threads(1)


def evaluated(setting: Real, prompts: int, rounds: int) -> tuple[list[dict[str, Any]], dict[str, dict[str, float]]]:
    """Steps of the evaluation race, and what its rows look like."""
    rows = setting.held_out(prompts)
    return evaluation(setting, rows, rounds), {stream: describe(own) for stream, own in rows.items()}


def run(one: Race) -> tuple[list[dict[str, Any]], dict[str, float], dict[str, dict[str, float]]]:
    """Steps, gradient differences, and what the batches looked like (means over the measured rounds)."""
    setting = one.setting
    rounds = setting.rounds(one.rounds, first=max(8, setting.lengths.longest // SHORT))
    with tempfile.TemporaryDirectory() as folder:
        entered = others(one.others, setting, rounds, folder)
        ours = {name: OURS[name] for name in one.ours}
        result = race(setting, rounds, ours, entered, Path(folder), seldom=one.seldom)
    batches = {stream: means(describe(rows[stream]) for rows in rounds[1:]) for stream in rounds[0]}
    return result.values, result.gradients, batches


def kinds(setting: Setting) -> dict[str, dict[str, float]]:
    """Seconds of each kind of work in a step of ours, means over some steps, by objective."""
    rounds, ours = setting.rounds(KINDS_FROM, first=KINDS_WARM), {name: OURS[name] for name in PURE}
    with tempfile.TemporaryDirectory() as folder:
        steps = pd.DataFrame(race(setting, rounds, ours, {}, Path(folder), Kinds()).values)
    counted = steps[steps["round"] > 0].drop(columns=["round", "dpo", "sft"]).groupby("contestant").mean()
    return counted.to_dict("index")


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
