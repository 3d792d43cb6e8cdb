"""Kills runs at random and at chosen moments, starts them again, and compares what they end with. `make chaos`.

For each configuration a command runs once without interruption. Then trials: the same command in a folder of its own,
with an empty cache or a full one, is ended by SIGKILL again and again (every second time by a power cut, too: what had
not reached the disk is lost, `disk.py`), started again each time, and at last left alone. It must end as the
uninterrupted one has: `compare.py`.

Exits with 1 where anything differs, and where a moment that was aimed at never came.
"""

import argparse
import itertools
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from compare import cache_differences, differences
from configurations import AIMED, CONFIGURATIONS, ROWS, write_rows
from forks import Forks
from places import Aim
from trial import Kill, Trial


@dataclass
class Chaos:
    """All trials of one session, in a scratch folder."""

    scratch: Path
    draw: random.Random
    forks: Iterator[Forks]
    kills: list[Kill] = field(default_factory=list)
    different: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    wholes: dict[str, Trial] = field(default_factory=dict)
    caches: dict[tuple[str, ...], Path] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)  # of the last run with an empty cache, a full one
    trials: int = 0

    @property
    def failed(self) -> bool:
        """Whether anything differed, or an aimed kill never came."""
        return bool(self.different or self.missed)

    def whole(self, name: str) -> Trial:
        """The uninterrupted run of a configuration; after the first one its control, which must be equal."""
        if name not in self.wholes:
            whole = self._run_whole(name, f"whole_{len(self.wholes):02d}")
            if not self.wholes:
                self._compare("two uninterrupted runs", whole, self._run_whole(name, "control"))
            self.wholes[name] = whole
        return self.wholes[name]

    def _run_whole(self, name: str, folder: str) -> Trial:
        # how a step is cut changes the last bits of shared stages, so that only what cuts alike shares them here
        cuts = ("model", "data", "trainer")
        material = tuple(x for x in CONFIGURATIONS[name] if x.split(".")[0].split("=")[0] in cuts)
        cache = self.caches.setdefault(material, self.scratch / f"cache_{len(self.caches)}")
        kind = "full" if cache.exists() else "empty"
        trial = Trial(self.forks, name, self.scratch / folder, cache)
        self.seconds[kind] = trial.finish()
        return trial

    def trial(self, name: str, kills: Sequence[Aim | None], full_cache: bool) -> None:
        """Kill, start again, …, finish, compare. kills: None for a random moment."""
        whole, self.trials = self.whole(name), self.trials + 1
        folder = self.scratch / f"trial_{self.trials:03d}"
        trial = Trial(self.forks, name, folder, whole.cache if full_cache else folder / "cache")
        try:
            for aim in kills:
                moment = self.draw.uniform(0, self.seconds["full" if full_cache else "empty"])
                kill = trial.kill_at(aim) if aim else trial.kill_after(moment)
                if kill is not None:
                    if len(self.kills) % 2:
                        trial.power_cut(kill)
                    self.kills.append(kill)
                    print(f"kill {len(self.kills)}: {kill}", flush=True)
                elif aim:
                    self.missed.append(f"{name}: {aim}")
                else:
                    break  # it is finished
            trial.finish()
        except RuntimeError as error:
            self._differs(f"{name}, {folder}: {error}")
            return
        self._compare("interrupted", whole, trial)

    def _compare(self, what: str, whole: Trial, other: Trial) -> None:
        found = differences(whole.run_folder, other.run_folder)
        if whole.cache != other.cache:
            found += cache_differences(whole.cache, other.cache)
        for line in found:
            self._differs(f"{other.name}, {what}, {other.folder}: {line}")

    def _differs(self, line: str) -> None:
        print(f"DIFFERENT: {line}", flush=True)
        self.different.append(line)


def unleash(kills: int, seed: int, scratch: Path, forks: Iterator[Forks]) -> Chaos:
    """At least so many kills: the aimed ones, then random ones, always in the configuration with the fewest so far."""
    chaos = Chaos(scratch, random.Random(seed), forks)
    write_rows(scratch / ROWS.name)
    for name, aims in AIMED.items():
        chaos.trial(name, aims, full_cache=not any(aim.place.startswith("stage") for aim in aims))
    while len(chaos.kills) < kills:
        killed = Counter(kill.configuration for kill in chaos.kills)
        chaos.trial(min(CONFIGURATIONS, key=killed.__getitem__), [None] * 3, full_cache=bool(chaos.trials % 2))
    return chaos


@contextmanager
def two_forks(seed: int) -> Iterator[Iterator[Forks]]:
    """Two preloaded processes, with different hash seeds, that take turns: no start has the one's before it."""
    servers = [Forks(hash_seed=seed + 1), Forks(hash_seed=seed + 2)]
    try:
        yield itertools.cycle(servers)
    finally:
        for server in servers:
            server.close()


def places(kills: Iterable[Kill]) -> list[str]:
    """Markdown: what was killed while doing what."""
    counts = Counter((kill.owner, kill.doing) for kill in kills)
    owners = sorted({owner for owner, _ in counts}, key=lambda owner: (owner == "joint run", owner))
    lines = [f"| killed while | {' | '.join(owners)} |", "| --- |" + " ---: |" * len(owners)]
    for doing in sorted({doing for _, doing in counts}):
        lines.append(f"| {doing} | {' | '.join(str(counts[owner, doing] or '') for owner in owners)} |")
    return lines


def configurations(kills: Sequence[Kill]) -> list[str]:
    """Markdown: kills per configuration."""
    counts = Counter(kill.configuration for kill in kills)
    return ["| configuration | kills |", "| --- | ---: |", *(f"| {name} | {counts[name]} |" for name in CONFIGURATIONS)]


def main() -> int:
    """From the command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--kills", type=int, default=100, help="at least so many (the aimed ones are always done)")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments")
    arguments = parser.parse_args()
    started, scratch = time.perf_counter(), Path(tempfile.mkdtemp(prefix="chaos_"))
    with two_forks(arguments.seed) as forks:
        chaos = unleash(arguments.kills, arguments.seed, scratch, forks)
    print("", *places(chaos.kills), "", *configurations(chaos.kills), "", sep="\n")
    print(f"{len(chaos.kills)} kills in {chaos.trials} trials, {time.perf_counter() - started:.0f} s.")
    print(f"{len(chaos.different)} differences; {len(chaos.missed)} aimed kills without their moment {chaos.missed}.")
    if chaos.failed:
        print(f"The folders are kept: {scratch}")
    else:
        shutil.rmtree(scratch)
    return int(chaos.failed)


if __name__ == "__main__":
    sys.exit(main())
