"""Files that are whole after a kill and after a power cut: written beside their place, flushed, renamed, flushed; and
what identifies their content.

A rename is seen at once by whoever looks, but on the disk it may come before the bytes of the file, or not at all; so
the file reaches the disk before it is renamed, and its folder after that.
"""

import hashlib
import json
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

BLOCK = 2**20  # bytes read at a time


def write(path: Path, text: str) -> None:
    """Write a whole file in UTF-8, atomically: a reader finds all of it, or what was there before."""
    scratch = path.with_suffix(".tmp")
    scratch.write_text(text, encoding="utf-8", newline="")
    replace(scratch, path)


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON, as `write` does."""
    write(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def replace(source: Path, target: Path) -> None:
    """Rename a file, or a folder whose content is on the disk, and see that both bytes and name reach the disk."""
    sync(source)
    source.replace(target)
    sync(target.parent)


def sync(path: Path) -> None:
    """A file's bytes, or a folder's names, reach the disk. A file system that cannot do so for folders is let be."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:
        if not path.is_dir():
            raise
    finally:
        os.close(handle)


def sync_all(folder: Path, without: str | None = None) -> None:
    """Everything below a folder reaches the disk, but what is in its subfolder `without`. What another process removes
    meanwhile is no error."""
    for place, folders, names in os.walk(folder):
        if without in folders and Path(place) == folder:
            folders.remove(without)
        for name in (*names, "."):
            with suppress(FileNotFoundError):
                sync(Path(place, name))


def sha256(path: Path, copy: IO[bytes] | None = None) -> str:
    """The SHA-256 of a file's content, which is written to `copy` meanwhile."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
            if copy is not None:
                copy.write(block)
    return digest.hexdigest()


def hash_of(value: Any) -> str:
    """16 hexadecimal digits that stand for a value of JSON, in whatever order its keys are."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def remove(path: Path) -> None:
    """Remove a folder, where there is one, or a link to one: never what the link points to."""
    if path.is_symlink():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)
