"""Where things are: the one place that turns what a user wrote into a path.

A path in a setting, an environment variable or a file may begin with `~` or be relative; whoever opens, compares or
stores one asks here first, so that no two parts of the program can mean different places by the same words.
"""

import os
from pathlib import Path

from xright.errors import UserError


def place(path: str | Path) -> Path:
    """The absolute path that a user means: `~` is their home. UserError where no home is known for it.

    >>> place("/data/./rows.jsonl")
    PosixPath('/data/rows.jsonl')
    """
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError as error:  # neither $HOME nor the list of users tells
        raise UserError(f"{str(path)!r} begins with ~, and no home folder is known for it; write it out.") from error


def cache_root() -> Path:
    """The cache of stages: `$XRIGHT_CACHE`, by default `xright` in the user's cache folder. UserError where neither is
    known."""
    if given := os.environ.get("XRIGHT_CACHE"):
        return place(given)
    try:
        return place(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "xright"
    except UserError as error:
        raise UserError(
            "no home folder is known to keep the cache of stages in; set XRIGHT_CACHE to a folder."
        ) from error
