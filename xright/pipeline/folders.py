"""Run folders: never overwritten, never lost. Where they are: `naming.py`.

`result.json`, written last, means "finished"; `ended.json` says why a run is not, where it could still say so (one that
was killed could not).
"""

import datetime
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from xright.config.naming import material
from xright.errors import UserError, reason_of
from xright.machine import files, preemption
from xright.machine.locks import held
from xright.machine.ranks import barrier, is_first, lost

log = logging.getLogger(__name__)

LONGEST_REASON = 300  # characters
SAFE_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast where it is there


class RunFolder:
    """The folder of one run, of which nothing is created before `begin`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def result(self) -> dict[str, Any] | None:
        """The finished run's result, or None. UserError for a file that is damaged."""
        file = self.path / "result.json"
        try:
            return json.loads(file.read_text()) if file.is_file() else None
        except ValueError as error:
            raise UserError(
                f"{file} is damaged ({error}); remove it and the same command finishes the run again from its last "
                "checkpoint."
            ) from error

    def finished(self, config: Mapping[str, Any]) -> dict[str, Any] | None:
        """The result, where the folder holds this run and it is finished. UserError if it holds another, or lacks what
        tells which run it is and how it went."""
        self.check_holds(config)
        result = self.result
        absent = [name for name in ("config.yaml", "trajectory.csv") if not (self.path / name).is_file()]
        if result is not None and absent:
            raise UserError(
                f"{self.path} is a finished run without its {' and '.join(absent)}; put that back, or give "
                "overwrite=true to start afresh (the old folder is kept aside)."
            )
        return result

    def check_holds(self, config: Mapping[str, Any]) -> None:
        """UserError showing the difference if the folder holds a run of another configuration."""
        file = self.path / "config.yaml"
        if not file.is_file():
            return
        then, now = material(_written(file)), material(config)
        changed = [
            f"{key}: {then.get(key, 'absent')!r} there, {now.get(key, 'absent')!r} asked for"
            for key in sorted(then.keys() | now.keys())
            if then.get(key, "absent") != now.get(key, "absent")
        ]
        if changed:
            raise UserError(
                f"{self.path} holds a run with a different configuration ({'; '.join(changed)}); "
                "give another name=, or overwrite=true to start afresh (the old folder is kept aside)."
            )

    def was_begun_with(self, config: Mapping[str, Any]) -> bool:
        """Tell whether the folder holds a run of this very configuration, what makes no other run included."""
        file = self.path / "config.yaml"
        return file.is_file() and _written(file) == config

    def set_aside(self) -> None:
        """Move an existing folder to `<folder>.old-<n>`, the first n that is free."""
        if self.path.exists():
            number = next(n for n in range(1, 10**6) if not self.path.with_name(f"{self.path.name}.old-{n}").exists())
            aside = self.path.rename(self.path.with_name(f"{self.path.name}.old-{number}"))
            log.info("the old run is kept in %s", aside)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """One job at a time works on a run; a second one waits and then finds it finished. Rank 0 holds the lock."""
        if not is_first():
            barrier()
            yield
            return
        with held(self.path.parent / f".{self.path.name}.lock", f"works on {self.path}"):
            barrier()
            yield

    def begun_by(self) -> str | None:
        """The number of the SLURM job that began this run, where one did."""
        file = self.path / "slurm_job"
        return file.read_text() if file.is_file() else None

    def begin(self, config: Mapping[str, Any], slurm_job: str | None = None) -> None:
        """Create the folder with its configuration; how the run ended before no longer counts."""
        self.path.mkdir(exist_ok=True)
        files.sync(self.path.parent)
        self._forget_end()
        if slurm_job:
            files.write(self.path / "slurm_job", slurm_job)
        files.write(self.path / "config.yaml", yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True))

    def finish(self, result: Mapping[str, Any]) -> None:
        """Write `result.json`, atomically, once all beside it is on the disk."""
        self._forget_end()
        files.sync_all(self.path, without="checkpoints")  # a result stands for all that is beside it
        files.write_json(self.path / "result.json", dict(result))

    @contextmanager
    def telling_why(self) -> Iterator[None]:
        """Whatever ends the block too early is told in `ended.json`, by rank 0."""
        try:
            yield
        except BaseException as error:
            if is_first():
                self.ended(why(error))
            raise

    def ended(self, reason: str) -> None:
        """Write `ended.json`, {"reason", "when"}, unless the run is finished. A disk that refuses it is no error here:
        it would hide the one that is told."""
        if (self.path / "result.json").exists():
            return
        when = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
        try:
            files.write_json(self.path / "ended.json", {"reason": reason, "when": when})
        except OSError:
            with suppress(OSError):
                self._forget_end()

    def _forget_end(self) -> None:
        for name in ("ended.json", "ended.tmp"):
            (self.path / name).unlink(missing_ok=True)


def why(error: BaseException) -> str:
    """Return what ended a run, on one line of at most LONGEST_REASON characters.

    >>> why(ValueError("no room\\nat all"))
    'ValueError: no room at all'
    """
    if isinstance(error, preemption.Preempted):
        return "preempted"
    if preemption.requested() and not isinstance(error, UserError):
        return "preempted"  # another rank has gone first, and torch complains
    if lost(error):
        return "another rank ended"
    if isinstance(error, SystemExit) and error.__context__ is not None:
        error = error.__context__  # what ended it, in words
    if preemption.interrupted(error):
        return "interrupted (Ctrl-C)"
    words = " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")
    words = words.encode(errors="replace").decode()  # half a character, as of a file's name, cannot be written
    return words if len(words) <= LONGEST_REASON else words[: LONGEST_REASON - 1] + "…"


def _written(file: Path) -> Mapping[str, Any]:
    """The configuration of a run that was begun. UserError for a file that is damaged."""
    try:
        found = yaml.load(file.read_text(encoding="utf-8"), Loader=SAFE_LOADER)
        if isinstance(found, Mapping):
            return found
        reason = "it holds no settings"
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = reason_of(error, 150)
    raise UserError(
        f"{file} is damaged ({reason}); remove it and the same command goes on, if the checkpoints beside it are of "
        "this run."
    )
