"""Files that are whole after a kill and after a power cut: written beside their place, flushed, renamed, flushed; and
what identifies their content.

A rename is seen at once by whoever looks, but on the disk it may come before the bytes of the file, or not at all; so
the file reaches the disk before it is renamed, and its folder after that.
"""

import hashlib
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import IO

BLOCK = 2**20  # bytes read at a time


def write(path: Path, text: str) -> None:
    """The whole text in UTF-8, or what was there before."""
    scratch = path.with_suffix(".tmp")
    with scratch.open("w", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    replace(scratch, path)


def replace(source: Path, target: Path) -> None:
    """Rename what has reached the disk, and see that its new name does, too."""
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


def remove(path: Path) -> None:
    """Remove a folder, where there is one, or a link to one: never what the link points to."""
    if path.is_symlink():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)
