"""What is in the cache, finished or not, and removing it."""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from xright.cache import lock_of, scratch_of
from xright.errors import printable
from xright.machine import files

ENTRY = re.compile(r"([0-9a-f]{16})(\.building)?")
# What tells stages of one name apart, out of their config.yaml; the first few that are there are shown.
TELLING = (
    "stream", "split", "max_length", "objective._target_", "objective.beta", "steps", "optim.lr", "pretrain.steps",
    "pretrain.optim.lr", "init.model_type", "init.hidden_size", "init.num_hidden_layers", "base", "reference",
)  # fmt: skip
SHOWN = 5


@dataclass(frozen=True)
class Entry:
    """A finished stage, or one that is being built or was left unfinished."""

    folder: Path  # of the finished stage, whether it is there or not
    size: int  # bytes
    built: float | None  # seconds since 1970; None: unfinished
    used: float  # last found by a run; if unfinished, last written to
    about: str

    @property
    def stage(self) -> str:
        """Return the name of the stage."""
        return self.folder.parent.name

    @property
    def hash(self) -> str:
        """Return the hash of the entry's key."""
        return self.folder.name


def entries(root: Path) -> list[Entry]:
    """All there are, by stage, the last used first."""
    found = [_entry(path) for path in root.glob("*/*") if ENTRY.fullmatch(path.name) and path.is_dir()]
    return sorted(found, key=lambda entry: (entry.stage, -entry.used))


def is_held(entry: Entry) -> bool:
    """Tell whether a process is building it at this moment."""
    lock = lock_of(entry.folder)
    if not lock.exists():
        return False
    try:
        with FileLock(lock, blocking=False):
            return False
    except Timeout:
        return True
    except OSError:  # a cache that is only read
        return False


def remove(entry: Entry) -> bool:
    """Remove it; False if it was left alone, since a process is building it. The empty lock file stays."""
    try:
        with FileLock(lock_of(entry.folder), blocking=False):
            scratch = scratch_of(entry.folder)
            files.remove(scratch)
            if entry.built is not None and os.path.lexists(entry.folder):  # nobody else has removed it since
                entry.folder.rename(scratch)  # gone at once: nobody finds half of it
                files.remove(scratch)
    except Timeout:
        return False
    return True


def _entry(path: Path) -> Entry:
    folder = path.with_name(path.name.removesuffix(".building"))
    found, own = list(_files(path)), path.stat().st_mtime
    newest = max((file.st_mtime for file in found), default=own)
    built, used = (newest, own) if path == folder else (None, newest)
    size = 0 if path.is_symlink() else sum(file.st_size for file in found)  # of a link, what it points to stays
    return Entry(folder, size, built, used, about=_about(path))


def _files(folder: Path) -> Iterator[os.stat_result]:
    """Yield the status of every file below; one that is just being replaced is left out."""
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                yield os.stat(os.path.join(place, name), follow_symlinks=False)
            except FileNotFoundError:
                continue


def _about(folder: Path) -> str:
    """The telling part of its key, on one line; whatever comes from the file is printable."""
    try:
        key = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return "config.yaml cannot be read"
    found = [(name.split(".")[-1], _inside(key, name)) for name in TELLING]
    told = [f"{name} {value}" for name, value in found if isinstance(value, str | int | float)]
    return printable(", ".join(told[:SHOWN]).replace("_target_ xright.objectives.", ""))


def _inside(key: Any, name: str) -> Any:
    for part in name.split("."):
        key = key.get(part) if isinstance(key, Mapping) else None
    return key
