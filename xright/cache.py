"""The cache of shared stages: content-addressed, one builder at a time, never half-written.

`$XRIGHT_CACHE/<stage>/<hash>/` holds `config.yaml` (the key: exactly what the stage depends on), `result.json` (its
numbers) and whatever else the stage writes. A stage is built in a temporary folder beside it and renamed when whole.
The lock is the operating system's (fcntl): when its holder dies it is free.
"""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stage:
    """A finished stage: its folder, its numbers, and its identity for stages that depend on it."""

    folder: Path
    result: dict[str, Any]

    @property
    def id(self) -> str:
        """The hash of what it depends on."""
        return self.folder.name


def cached_stage(name: str, key: Mapping[str, Any], build: Callable[[Path], dict[str, Any]]) -> Stage:
    """Return the stage with this key, building it if need be: `build(folder)` fills a folder and returns the result.

    A hit is announced with its path. Jobs that need the same stage at once wait for the first.
    """
    folder = cache_root() / name / _hash(key)
    if not (folder / "result.json").exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _lock(folder):
            if not (folder / "result.json").exists():
                _build(name, folder, key, build)
                return Stage(folder, json.loads((folder / "result.json").read_text()))
    log.info("%s: from the cache, %s", name, folder)
    return Stage(folder, json.loads((folder / "result.json").read_text()))


def cache_root() -> Path:
    """`$XRIGHT_CACHE`, by default `xright` in the user's cache folder."""
    default = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "xright"
    return Path(os.environ.get("XRIGHT_CACHE", default)).expanduser().absolute()


def _build(name: str, folder: Path, key: Mapping[str, Any], build: Callable[[Path], dict[str, Any]]) -> None:
    scratch = folder.with_name(f"{folder.name}.building")
    shutil.rmtree(scratch, ignore_errors=True)  # left by a builder that died; we hold the lock
    shutil.rmtree(folder, ignore_errors=True)  # a folder without result.json was never a finished stage
    scratch.mkdir()
    log.info("%s: building %s", name, folder)
    try:
        (scratch / "config.yaml").write_text(yaml.safe_dump(dict(key), sort_keys=False, allow_unicode=True))
        result = build(scratch)
        (scratch / "result.json").write_text(json.dumps(result, indent=2))
        scratch.rename(folder)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise


def _lock(folder: Path) -> FileLock:
    lock = FileLock(folder.with_name(f"{folder.name}.lock"))
    try:
        lock.acquire(blocking=False)
        lock.release()
    except Timeout:
        log.info("waiting for another job that is building %s", folder)
    return lock


def _hash(key: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
