"""One command in a folder of its own: started, killed, started again, and at last left alone."""

import signal
from collections.abc import Iterator
from dataclasses import astuple, dataclass, field
from pathlib import Path

from configurations import CONFIGURATIONS, SMALL
from disk import power_cut
from forks import Forks, Run
from places import Aim

PATIENCE = 300  # seconds for a run of two; more is a hang


@dataclass
class Kill:
    """What was done: to which configuration, where it landed, where it was aimed (None: at a random moment), how many
    seconds after the start, and which files lost bytes that had not reached the disk, where the power failed, too."""

    configuration: str
    place: list[str]
    aim: Aim | None
    seconds: float
    lost: list[str] = field(default_factory=list)

    @property
    def owner(self) -> str:
        """Who was at work: a stage, or the joint run."""
        return self.place[0] if self.place and self.place[0].startswith("stage") else "joint run"

    @property
    def doing(self) -> str:
        """What was being done, in few words."""
        kinds = {
            "evaluation": "evaluation", "checkpoint": "checkpoint", "rename last.ckpt": "checkpoint",
            "rename previous.ckpt": "checkpoint", "write": "write", "rename": "rename", "export": "export",
            "behaviour": "behaviour", "step": "training step", "training": "between steps", "after finish": "the end",
        }  # fmt: skip
        for kind, words in kinds.items():
            if any(place.startswith(kind) for place in self.place):
                return words
        return "start-up, between stages, exit"

    def __str__(self) -> str:
        how = f"aimed {self.aim}" if self.aim else f"at random, {self.seconds:.2f} s after its start"
        cut = f" | power cut: {', '.join(self.lost)}" if self.lost else ""
        return f"{self.configuration} | {' > '.join(self.place)} | {how}{cut}"


class Trial:
    """A command in a folder of its own, started as often as it is killed. forks take turns."""

    def __init__(self, forks: Iterator[Forks], name: str, folder: Path, cache: Path) -> None:
        self.forks, self.name, self.folder, self.cache = forks, name, folder, cache
        folder.mkdir()

    def start(self, aim: Aim | None = None) -> Run:
        """The command, once more."""
        overrides = [*SMALL, *CONFIGURATIONS[self.name]]
        sent = astuple(aim) if aim else None
        return next(self.forks).start(overrides, self.folder, self.cache, self.folder / "log", sent)

    def kill_at(self, aim: Aim) -> Kill | None:
        """Start it with an aim; None if it ended without meeting it."""
        run = self.start(aim)
        code = self._wait(run)
        return Kill(self.name, run.place, aim, run.seconds) if code in (-signal.SIGKILL, -signal.SIGXFSZ) else None

    def kill_after(self, seconds: float) -> Kill | None:
        """Start it and kill it after so long; None if it has ended before."""
        run = self.start()
        if run.wait(seconds) is not None:
            self._wait(run)
            return None
        run.kill()
        return Kill(self.name, run.place, None, seconds)

    def power_cut(self, kill: Kill) -> None:
        """After a kill: what had not reached the disk is lost."""
        for folder in (self.folder / "runs", self.folder / "cache"):
            kill.lost += power_cut(self.folder / "log.disk", folder)

    def finish(self) -> float:
        """Start it and leave it alone: seconds that it takes."""
        run = self.start()
        if code := self._wait(run):
            raise RuntimeError(f"exit code {code}")
        return run.seconds

    def _wait(self, run: Run) -> int:
        """Its exit code. RuntimeError for one that is neither 0 nor ours, and where it hangs."""
        code = run.wait(PATIENCE)
        if code is None:
            run.kill()
            raise RuntimeError(f"still running after {PATIENCE} s, in {' > '.join(run.place)}")
        if code not in (0, -signal.SIGKILL, -signal.SIGXFSZ):
            said = (self.folder / "log").read_text().partition("\nSet the environment variable HYDRA")[0]
            raise RuntimeError(f"exit code {code}; it said: {said.splitlines()[-1]}")
        return code

    @property
    def run_folder(self) -> Path:
        """Where the run is."""
        (config,) = (self.folder / "runs").glob("*/*/config.yaml")
        return config.parent
