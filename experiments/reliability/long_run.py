"""Is a run of 20,000 steps as small and as fast at its end as at its beginning? Real commands, watched from outside.

The embedded world with a model and batches so small that a step takes milliseconds, everything else as ever:
callbacks, evaluations, samples, checkpoints, W&B offline; Mix, since all of its steps are equal work. Resident memory
is read every second; after the warm-up (the first tenth of the training) a line is fitted to it.

A machine's speed drifts by more than a run could, so the run is not compared with its own past: when it is old (two
thirds of its steps) the same command starts once more, and both go on side by side. What counts is the CPU time that
either spends per step in the same seconds.
"""

import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from xright.analysis.numbers.statistics import Mean, mean_interval

STEPS_PER_EPOCH = 25
OVERRIDES = (
    "debug=fast", "trainer=cpu", "logger=wandb", "strategy=mix", "optima={dpo: 0.3, sft: 1.0}",
    "model.init.hidden_size=32", "model.init.num_hidden_layers=1", "model.init.intermediate_size=64",
    "data.source.sft_rows=100", "data.streams.sft.batch_size=4", "data.source.preference_rows=50",
    "data.streams.preference.batch_size=2", "eval_every=100", "checkpoint_every=200", "callbacks.steps.every=10",
    "callbacks.samples.every=10",
)  # fmt: skip
WARM_UP = 0.1  # of the training
OLD, YOUNG = 0.65, 0.33  # parts of the steps: when the twin starts, and how many it takes
SKIPPED, WINDOW = 300, 3  # the twin's first steps; seconds over which CPU time per step is taken
GROWTH_BAR, SLOWER_BAR = 0.02, 0.10

Progress = tuple[int, float]  # steps written, seconds of CPU


class Training:
    """A command that runs in a folder of its own."""

    def __init__(self, folder: Path, cache: Path, steps: int) -> None:
        folder.mkdir()
        environment = os.environ | {"XRIGHT_CACHE": str(cache), "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}
        command = [sys.executable, "-m", "xright.run", *OVERRIDES, f"epochs={steps // STEPS_PER_EPOCH}"]
        self.folder = folder
        with (folder / "log").open("w") as log:
            self.job = psutil.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)

    def goes_on(self) -> bool:
        """False once it has finished. Raises RuntimeError with its log if it failed."""
        if code := self.job.poll():
            raise RuntimeError(f"exit code {code}: {(self.folder / 'log').read_text()}")
        return code is None

    def file(self, name: str) -> Path | None:
        """A file of the run folder, once there is one."""
        return next(self.folder.glob(f"runs/*/*/{name}"), None)

    def progress(self) -> Progress:
        """Now."""
        steps = self.file("steps.csv")
        times = self.job.cpu_times()
        return (steps.read_bytes().count(b"\n") - 1 if steps else 0), times.user + times.system


@dataclass(frozen=True)
class LongRun:
    """memory: resident MiB after the warm-up, by second. beside: CPU milliseconds per step of (the old process, the
    young one), by window. sizes: bytes of what was written. checkpoints: bytes, by second."""

    steps: int
    memory: list[float]
    beside: list[tuple[float, float]]
    sizes: dict[str, int]
    checkpoints: list[int]
    seconds: float

    @property
    def growth(self) -> float:
        """Of the fitted line from its beginning to its end, as a fraction of its beginning."""
        slope, start = np.polyfit(np.arange(len(self.memory)), self.memory, 1)
        return slope * (len(self.memory) - 1) / start

    @property
    def slower(self) -> Mean:
        """What a step costs the old process more than the young one, as a fraction, with its interval over windows."""
        return mean_interval(old / young - 1 for old, young in self.beside)

    @property
    def holds(self) -> dict[str, bool]:
        """The bars, in words with their numbers."""
        old, young = np.mean(self.beside, axis=0)
        return {
            f"resident memory grows by at most {GROWTH_BAR:.0%} after the warm-up: {self.growth:+.2%} "
            f"({np.mean(self.memory):.0f} MiB, {len(self.memory)} readings)": self.growth <= GROWTH_BAR,
            f"a step costs at most {SLOWER_BAR:.0%} more CPU time after {OLD:.0%} of the run than at the beginning of "
            f"another at the same time: {self.slower.mean:+.1%} ± {self.slower.half:.1%} ({old:.2f} and {young:.2f} "
            f"ms, {len(self.beside)} windows of {WINDOW} s)": self.slower.high <= SLOWER_BAR,
            f"checkpoints take no more room at the end: {self.checkpoints[-1] / 1024:.0f} KiB, at most "
            f"{max(self.checkpoints) / 1024:.0f} KiB": max(self.checkpoints) <= 3 * self.checkpoints[-1] / 2,
        }


def long_run(steps: int, folder: Path) -> LongRun:
    """Run so many steps, a multiple of 250 and enough for the twin to be there for some windows: 4,000 or more."""
    started = time.perf_counter()
    old = Training(folder / "old", folder / "cache", steps)
    young: Training | None = None
    readings: list[float] = []
    checkpoints: list[int] = []
    together: list[tuple[Progress, Progress]] = []
    while old.goes_on():
        if file := old.file("steps.csv"):
            readings.append(old.job.memory_info().rss / 2**20)
            checkpoints.append(_size(file.parent / "checkpoints"))
        if young and young.goes_on():
            together.append((old.progress(), young.progress()))
        elif young is None and old.progress()[0] >= OLD * steps:
            young = Training(folder / "young", folder / "cache", int(YOUNG * steps))
        time.sleep(1)
    seconds = time.perf_counter() - started
    while young and young.goes_on():
        time.sleep(1)
    result = old.file("result.json")
    assert result is not None
    sizes = {name: _size(result.parent / name) for name in ("steps.csv", "trajectory.csv", "samples.jsonl", "wandb")}
    sizes["stdout and stderr"] = _size(old.folder / "log")
    trained = [both for both in together if SKIPPED <= both[1][0] < YOUNG * steps]
    beside = [_costs(*ends) for ends in zip(trained[::WINDOW], trained[WINDOW::WINDOW], strict=False)]
    # The last second is not the training's.
    return LongRun(steps, readings[int(WARM_UP * len(readings)) : -1], beside, sizes, checkpoints, seconds)


def _costs(before: tuple[Progress, Progress], after: tuple[Progress, Progress]) -> tuple[float, float]:
    """CPU milliseconds per step of either."""
    old, young = (1e3 * (b[1] - a[1]) / max(1, b[0] - a[0]) for a, b in zip(before, after, strict=True))
    return old, young


def page(run: LongRun) -> list[str]:
    """Markdown."""
    return [
        "### The long run", "", f"{run.steps:,} steps in {run.seconds:.0f} s.", "",
        *(f"- **{'holds' if met else 'does not hold'}**: {bar}" for bar, met in run.holds.items()), "",
        "| written | KiB | bytes per step |", "| --- | ---: | ---: |",
        *(f"| {name} | {size / 1024:.0f} | {size / run.steps:.1f} |" for name, size in run.sizes.items()),
    ]  # fmt: skip


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if not file.is_symlink()]
    return sum(file.stat().st_size for file in files if file.is_file())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="long_run_") as scratch:
        done = long_run(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000, Path(scratch))
    print("\n".join(page(done)))
    print([round(x, 1) for x in done.memory[:: max(1, len(done.memory) // 20)]])
    sys.exit(not all(done.holds.values()))
