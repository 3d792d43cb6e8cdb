"""Files that are whole after a kill and after a power cut: written beside their place, flushed, renamed, flushed.

A rename is seen at once by whoever looks, but on the disk it may come before the bytes of the file, or not at all; so
the file reaches the disk before it is renamed, and its folder after that.
"""

import os
import shutil
from contextlib import suppress
from pathlib import Path


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


def remove(path: Path) -> None:
    """Remove a folder, where there is one, or a link to one: never what the link points to."""
    if path.is_symlink():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)
