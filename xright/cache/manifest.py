"""Whether an entry of the cache is what was built: `manifest.json` holds the size and SHA-256 of each of its files.

    {"format": 1, "files": {"model/config.json": [604, "9f86d081…"], …}}

What is found changed, cut or missing is named, and never removed: it is the user's disk, and a cause to look into.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

from xright.errors import UserError
from xright.machine import files

FORMAT = 1  # of an entry: its layout, and what stages write into it
NAME = "manifest.json"
# Larger files are compared by size alone: to hash a model of many gigabytes at every start would take minutes. A copy
# or a write that was cut short shows in the size, and small files are the ones that people edit.
HASHED = 64 * 2**20  # bytes


def write(folder: Path, without: str) -> None:
    """List all files of `folder` but those in its subfolder `without`. Flushed to the disk first: a full disk may be
    told as late as that, and a renamed folder must not be ahead of its bytes when the power fails."""
    files.sync_all(folder, without)
    listed = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and name.parts[0] not in (without, NAME):
            listed[name.as_posix()] = [path.stat().st_size, files.sha256(path)]
    files.write(folder / NAME, json.dumps({"format": FORMAT, "files": listed}, indent=1))


@cache  # jobs of a sweep in one process find the same entries again and again
def check(folder: Path) -> None:
    """UserError naming the first file of the entry that is not what was written, and how."""
    for name, (size, digest) in _listed(folder).items():
        path = folder / name
        if not path.is_file():
            raise _damaged(folder, name, "is missing")
        if (found := path.stat().st_size) != size:
            raise _damaged(folder, name, f"is damaged ({found:,} bytes, of {size:,} that were written)")
        try:
            same = size > HASHED or files.sha256(path) == digest
        except OSError as error:
            raise _damaged(folder, name, f"cannot be read ({error.strerror})") from error
        if not same:
            raise _damaged(folder, name, "is not as it was written")


def read_json(folder: Path, name: str) -> dict[str, Any]:
    """A JSON object of the entry. UserError if the file does not hold one."""
    try:
        found = json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(folder, name, f"cannot be read ({error})") from error
    if not isinstance(found, dict):
        raise _damaged(folder, name, "is not a JSON object")
    return found


def _listed(folder: Path) -> dict[str, tuple[int, str]]:
    if not (folder / NAME).is_file():
        raise _damaged(folder, NAME, "is missing: the entry is damaged, or of an older version of xright")
    manifest = read_json(folder, NAME)
    if (written := manifest.get("format")) != FORMAT:
        raise _damaged(folder, NAME, f"is of another version of xright (format {written!r}; this one reads {FORMAT})")
    try:
        return {str(name): (int(size), str(digest)) for name, (size, digest) in manifest["files"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(folder, NAME, "is damaged") from error


def _damaged(folder: Path, name: str, what: str) -> UserError:
    return UserError(
        f"{folder / name} {what}; remove the entry with `python -m xright.cache prune {folder.name}`, or by deleting "
        f"the folder {folder}, and it will be built again."
    )
