"""The cache of shared stages: content-addressed, one builder at a time, never half-written, never changed.

`$XRIGHT_CACHE/<stage>/<hash>/` holds `config.yaml` (the key: exactly what the stage depends on), `result.json` (its
numbers), whatever else the stage writes, and `manifest.json` (sizes and checksums of all that). A stage is built in
`<hash>.building` beside it, which is renamed when whole. What a builder that was killed left there is gone on from
where it holds a checkpoint, and cleared otherwise. The lock `<hash>.lock` is the operating system's (fcntl): when its
holder dies it is free.

    manifest.py   whether an entry is what was built
    contents.py   what is in the cache; removing it
    __main__.py   `python -m xright.cache` lists and prunes
"""

import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from xright.cache import manifest
from xright.errors import disk_error, disk_sentence
from xright.machine import files
from xright.machine.locks import held
from xright.machine.paths import cache_root

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stage:
    """A finished stage: its folder, its numbers, and its identity for stages that depend on it."""

    folder: Path
    result: dict[str, Any]

    @property
    def id(self) -> str:
        """Return the hash of the key: of all that the stage depends on."""
        return self.folder.name


def cached_stage(
    name: str,
    key: Mapping[str, Any],
    build: Callable[[Path], dict[str, Any]],
    alone: bool = False,
    patient: bool = True,
) -> Stage:
    """Return the stage with this key, building it if need be: `build(folder)` fills a folder and returns the result.

    `checkpoints/` in that folder is for build itself: it is there again after a kill, and no part of the entry.
    A hit is announced with its path. Jobs that need the same stage at once wait for the first; one that is not patient
    raises Busy (`machine/locks.py`).

    Called by all ranks, who share the disk; all get the stage. All of them build, or with `alone` only rank 0. The
    result and the entry are rank 0's.

    Raises UserError if the entry is not what was once built, and if the disk is full or not to be written to.
    """
    from xright.machine.ranks import first

    folder = cache_root() / name / files.hash_of(key)
    scratch = scratch_of(folder)
    with ExitStack() as building:  # what rank 0 holds until the stage is finished

        @_disk_told(folder.parent)
        def find_or_begin() -> Stage | None:
            if not folder.exists():
                building.enter_context(held(lock_of(folder), f"builds {folder}", patient))
            if folder.exists():
                return _hit(name, folder)
            building.enter_context(_cleared_on_failure(scratch))
            _begin(name, folder, key)
            return None

        make = _disk_told(folder.parent)(build)
        finish = _disk_told(folder.parent)(_finish)
        if stage := first(find_or_begin):
            return stage
        if alone:
            return first(lambda: finish(folder, make(scratch)))
        result = make(scratch)
        return first(lambda: finish(folder, result))


def scratch_of(folder: Path) -> Path:
    """Return the folder in which the entry `folder` is being built."""
    return folder.with_name(f"{folder.name}.building")


def lock_of(folder: Path) -> Path:
    """Return the lock that is held while the entry `folder` is built or removed."""
    return folder.with_name(f"{folder.name}.lock")


def _hit(name: str, folder: Path) -> Stage:
    manifest.check(folder)
    stage = Stage(folder, manifest.read_json(folder, "result.json"))
    with suppress(OSError):  # a cache that is only read, or another user's
        os.utime(folder)  # when it was last used; the files keep their time
    log.info("%s: from the cache, %s", name, folder)
    return stage


def _begin(name: str, folder: Path, key: Mapping[str, Any]) -> None:
    """A folder to build in: empty, or with the checkpoints of a builder that died. We hold the lock."""
    scratch = scratch_of(folder)
    if _can_go_on(scratch):
        log.info("%s: building %s, from the checkpoint that an earlier process left", name, folder)
    else:
        files.remove(scratch)
        scratch.mkdir()
        log.info("%s: building %s", name, folder)
    text = yaml.safe_dump(dict(key), sort_keys=False, allow_unicode=True)
    (scratch / "config.yaml").write_text(text, encoding="utf-8")


def _finish(folder: Path, result: dict[str, Any]) -> Stage:
    scratch = scratch_of(folder)
    (scratch / "result.json").write_text(json.dumps(result, indent=2), encoding="utf-8")
    manifest.write(scratch, without="checkpoints")
    files.remove(scratch / "checkpoints")  # only now: hashing a large model takes a while, in which we may be killed
    if folder.is_symlink():  # to what is no longer there
        folder.unlink()
    files.replace(scratch, folder)
    manifest.check(folder)  # what is on the disk, not what we think we wrote
    return Stage(folder, manifest.read_json(folder, "result.json"))


@contextmanager
def _cleared_on_failure(scratch: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        if not _can_go_on(scratch):
            shutil.rmtree(scratch, ignore_errors=True)
        raise


def _can_go_on(scratch: Path) -> bool:
    """There may be a previous checkpoint alone: while the last one is being replaced."""
    return any((scratch / "checkpoints" / f"{name}.ckpt").exists() for name in ("last", "previous"))


@contextmanager
def _disk_told(place: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if sentence := disk_sentence(error, place):
            raise disk_error(sentence) from error
        raise
