"""Chaos, two processes against one, and the long run; their figures into the README. `make reliability`; half an hour.

Exits with 1 where a run was not the same, or a bar does not hold.
"""

import itertools
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from chaos import Chaos, configurations, places, two_forks, unleash
from ddp import two_against_one
from long_run import long_run
from long_run import page as long_run_page
from options import no_options
from publish import between_markers

HERE = Path(__file__).parent
KILLS, STEPS, SEED = 100, 20_000, 0
LIBRARIES = ("torch", "lightning", "transformers", "peft", "hydra-core", "wandb")


def main(scratch: Path) -> int:
    """All of it."""
    load, started = os.getloadavg()[0], time.perf_counter()
    (scratch / "chaos").mkdir()
    with two_forks(SEED) as forks:
        chaos = unleash(KILLS, SEED, scratch / "chaos", forks)
    kills = chaos_page(chaos, (time.perf_counter() - started) / 60)
    together = ["### Two processes against one", "", *two_against_one()]
    (scratch / "long_run").mkdir()
    long = long_run(STEPS, scratch / "long_run")
    lines = [*kills, "", *together, "", *long_run_page(long), "", *measured_on(load), ""]
    between_markers(HERE / "README.md", "\n".join(lines))
    print("\n".join(lines))
    return int(chaos.failed or not all(long.holds.values()))


def chaos_page(chaos: Chaos, minutes: float) -> list[str]:
    """Markdown."""
    aimed = sum(kill.aim is not None for kill in chaos.kills)
    return [
        "### Chaos", "",
        f"{len(chaos.kills)} kills ({aimed} aimed, {len(chaos.kills) - aimed} at random moments, seed {SEED}) in "
        f"{chaos.trials} trials, {minutes:.0f} minutes. **Files that differ: {len(chaos.different)}. Aimed kills whose "
        f"moment never came: {len(chaos.missed)}.**", "",
        *places(chaos.kills), "", *configurations(chaos.kills),
    ]  # fmt: skip


def measured_on(load: float) -> Iterator[str]:
    """The machine and the versions, in a sentence."""
    versions = itertools.chain([f"python {platform.python_version()}"], (f"{x} {version(x)}" for x in LIBRARIES))
    yield (
        f"Measured on CPU {platform.machine()} × {os.cpu_count()} (load average {load:.1f} before), "
        f"xright {version('xright')}, {', '.join(versions)}."
    )


if __name__ == "__main__":
    no_options(__doc__)
    with tempfile.TemporaryDirectory(prefix="reliability_") as folder:
        sys.exit(main(Path(folder)))
