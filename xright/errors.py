"""What a user can mend is told in one sentence: the value, where it stands, and what it must be."""

import errno
import math
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)  # full, and read-only
LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS)  # of flock, on some network disks
PLACE = (errno.EACCES, errno.EPERM, errno.ENOTDIR)  # only of a file above or below where we write: not of data
# What is left of "No space left on device" in numpy's tofile and in torch's zip writer.
CUT_SHORT = re.compile(r"\d+ requested and \d+ written|basic_ios::clear|inline_container.*unexpected pos")


class UserError(Exception):
    """Bad input. The message is the whole story: the bad value, where it stands, and the remedy.

    The commands print it without a traceback and exit with its code. It is `printable`: it names files and values.
    """

    code = 2

    def __init__(self, sentence: object = "") -> None:
        super().__init__(printable(str(sentence)))


class DiskFull(UserError):
    """There is no room left: no fault of the command's, which goes on when there is."""

    code = 1


def printable(text: str) -> str:
    """Words that may come from data, for a terminal or a line of a log: no control sequence, no further line, no change
    of direction. White space becomes a blank, whatever else does not print the replacement character.

    >>> printable("red\\x1b[31m\\nline")
    'red\ufffd[31m line'
    """
    other = {"\t": " ", "\n": " ", "\r": " "}
    return "".join(x if x.isprintable() else other.get(x, "\N{REPLACEMENT CHARACTER}") for x in text)


def reason_of(error: BaseException, most: int = 200) -> str:
    """What another library says of an error, for a sentence of ours: one line of at most `most` characters."""
    return (" ".join(str(error).split()) or type(error).__name__)[:most].rstrip(" .")


def check_number(key: str, value: object, holds: Callable[[float], bool], domain: str) -> float:
    """`value` as a float if it is a finite number for which `holds` is true, else UserError: it must be `domain`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or not holds(value):
        raise UserError(f"{key}={value!r} must be {domain}.")
    return float(value)


def check_whole(key: str, value: object, least: int) -> None:
    """UserError unless `value` is a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise UserError(f"{key}={value!r} must be a whole number >= {least}.")


def disk_sentence(error: BaseException, path: Path | str) -> str | None:
    """Return what to tell the user if `error`, met while writing at `path`, means that the disk is full, over quota,
    too small a file system for the file, or not to be written to. None for any other error, and for what is a sentence
    already.

    Call it before removing what was half-written: it says how much space is free. Not every library raises OSError:
    safetensors and torch put the system's words, or less, into errors of their own.
    """
    if isinstance(error, UserError) or not isinstance(error, Exception):
        return None
    path, reason = Path(path).absolute(), None
    if isinstance(error, OSError) and error.errno in PLACE and error.filename is not None:
        place = Path(os.fsdecode(error.filename)).absolute()
        reason = error.strerror if place == path or place in path.parents or path in place.parents else None
    if isinstance(error, OSError) and error.errno in LOCKS:
        return (
            f"{path} cannot be locked, so that two processes could write into it at once: {os.strerror(error.errno)}; "
            "choose a place on a file system with locks (XRIGHT_CACHE for the cache, runs_dir= for runs)."
        )
    found: BaseException | None = error
    while not reason and found is not None:
        said = [os.strerror(code) for code in DISK if getattr(found, "errno", None) == code]
        said += [words for words in map(os.strerror, DISK) if words in str(found)]
        said += ["it took less than was written"] if CUT_SHORT.search(str(found)) else []
        reason, found = said[0] if said else None, found.__cause__ or found.__context__
    if not reason:
        return None
    free = shutil.disk_usage(next(place for place in (path, *path.parents) if os.path.exists(place))).free
    return (
        f"{path} cannot be written: {reason} ({free / 1e6:,.1f} MB free there); make room, or let it be written to, or "
        "choose another place (XRIGHT_CACHE for the cache, runs_dir= for runs)."
    )


def disk_error(sentence: str) -> UserError:
    """A `disk_sentence` as an error: DiskFull, but for a place that was never to be written to (bad input)."""
    bad_place = any(f": {os.strerror(code)}" in sentence for code in (errno.EROFS, *PLACE, *LOCKS))
    return UserError(sentence) if bad_place else DiskFull(sentence)


def memory_sentence(error: BaseException) -> str | None:
    """Return what to tell the user if `error` means that memory is full: the machine's (Python's, numpy's, torch's
    words for it), or a GPU's. None for any other error."""
    words = " ".join(str(error).split())
    if not isinstance(error, MemoryError) and not re.search(r"can't allocate memory|[Oo]ut of memory", words):
        return None
    return (
        f"there is not enough memory ({words[:150].rstrip('. ') or 'no more could be had'}); lower model.micro_batch, "
        "data.max_length or eval_batch_size, or set model.gradient_checkpointing=true."
    )
