"""What a power cut leaves of a run: of every file as many bytes as had reached the disk by then.

SIGKILL ends a process and loses nothing of what it wrote; when the power fails, what was not flushed is lost, too. A
`Disk` in the command notes every fsync and every rename; after the kill `power_cut` cuts each file to the size that it
had at its last fsync (to nothing, where there was none). Renames are taken to have reached the disk, in their order:
so does a file that was renamed before its bytes were there come out empty, as on real disks.
"""

import functools
import json
import os
from pathlib import Path
from typing import Any

SPARED = ("wandb",)  # a process of W&B's writes there; what counts is kept in wandb/history.jsonl
KEPT = ("history.jsonl", "run_id")


class Disk:
    """notes: the file to write to. Nothing else changes."""

    def __init__(self, notes: Path) -> None:
        self.notes = notes

    def watch(self) -> None:
        """Wrap what flushes and renames."""
        fsync = os.fsync

        @functools.wraps(fsync)
        def noted(handle: Any) -> None:
            fsync(handle)
            number = handle if isinstance(handle, int) else handle.fileno()
            self._note("synced", os.readlink(f"/proc/self/fd/{number}"), os.fstat(number).st_size)

        os.fsync = noted
        for name in ("replace", "rename"):
            self._wrap(name)

    def _wrap(self, name: str) -> None:
        original = getattr(Path, name)

        @functools.wraps(original)
        def noted(path: Path, target: Any) -> Any:
            found = original(path, target)
            self._note("renamed", os.path.abspath(path), os.path.abspath(target))
            return found

        setattr(Path, name, noted)

    def _note(self, *what: Any) -> None:
        line = json.dumps(what).encode() + b"\n"
        handle = os.open(self.notes, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(handle, line)
        os.close(handle)


def power_cut(notes: Path, folder: Path) -> list[str]:
    """Cut the files below `folder`; which ones lost something."""
    synced: dict[str, int] = {}
    for line in notes.read_text().split("\n")[:-1] if notes.exists() else []:
        kind, path, value = json.loads(line)
        if kind == "synced":
            synced[path] = value
            continue
        moved = {place: size for place, size in synced.items() if place == path or place.startswith(f"{path}/")}
        for place in [place for place in synced if place == value or place.startswith(f"{value}/")]:
            del synced[place]  # what was there is replaced
        for place, size in moved.items():
            synced[value + place.removeprefix(path)] = size
            del synced[place]
    lost = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()):
        there = path.relative_to(folder)
        if (set(SPARED) & set(there.parts) and path.name not in KEPT) or path.suffix == ".lock":
            continue
        if path.stat().st_size > (size := synced.get(str(path), 0)):
            os.truncate(path, size)
            lost.append(str(there))
    return lost
