"""List what runs share: tokens, base, reference, its log-probs, optima; kept in $XRIGHT_CACHE, by default xright in the
user's cache folder. Of each entry: its size (1 MB is 10^6 bytes), when it was built and last used by a run, what it is.

One that is being built, or was left unfinished by a process that was killed, says so in the place of its date.

Examples
  python -m xright.cache                                       what there is
  python -m xright.cache prune --older-than 30d --dry-run      what would be removed; `prune --help` says more
"""

import argparse
import re
import sys
import time
from collections.abc import Sequence

from rich.box import HEAVY_HEAD

from xright.cache.contents import Entry, entries, is_held, remove
from xright.errors import UserError
from xright.machine.command import exits, help_of
from xright.machine.paths import cache_root
from xright.machine.screen import screen, table

PRUNE = """Remove entries, finished or not, at once and without a question. Several choices narrow each other down.

Nothing is lost but time, since a run builds again what it needs. Others may have been built from an entry that is
removed: they stay, and it is built again, from the same key and under the same hash, by the next run that needs it. An
entry that a process is building is left alone; which entries a run is reading is not known, so spare those that were
used today.

Examples
  python -m xright.cache prune 3f2a 9c01                                by the first letters of their hashes
  python -m xright.cache prune --stage optimum_dpo --older-than 8w      what is both
  python -m xright.cache prune --unfinished                             what processes left that were killed
"""
HEADINGS = ("stage", "hash", "MB", "built", "last used", "what")
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


@exits
def main(arguments: Sequence[str] | None = None) -> None:
    """List the entries, or remove those that are asked for."""
    asked = parser().parse_args(arguments)
    found = entries(cache_root())
    if asked.command == "prune":
        _prune(_selected(found, asked), asked.dry_run)
    else:
        _show(found)


def _show(found: Sequence[Entry]) -> None:
    """A table on a terminal; elsewhere columns of plain text, of any width."""
    if not found:
        print(f"Nothing is cached in {cache_root()}.")
        return
    rows = [(entry.stage, entry.hash, _mb(entry.size), *_state(entry), entry.about) for entry in found]
    console = screen()
    console.print(table(HEADINGS, rows, (2,), box=HEAVY_HEAD if console.is_terminal else None))
    print(f"{_count(found)} of {_mb(sum(entry.size for entry in found))} MB in {cache_root()}")


def _state(entry: Entry) -> tuple[str, str]:
    """Return when the entry was built, and when it was last used."""
    used = _date(entry.used)
    if entry.built is not None:
        return _date(entry.built), used
    return ("being built" if is_held(entry) else "unfinished"), used


def _prune(chosen: Sequence[Entry], dry_run: bool) -> None:
    freed = []
    for entry in chosen:
        name = f"{entry.stage}/{entry.hash}{'' if entry.built else ' (unfinished)'}"
        if is_held(entry) if dry_run else not remove(entry):
            print(f"left alone: {name} is being built by a process that runs")
        else:
            print(f"{'would remove' if dry_run else 'removed'}: {name}, {_mb(entry.size)} MB, {entry.about}")
            freed.append(entry)
    verb = "would be removed" if dry_run else "removed"
    print(f"{_count(freed)} {verb}, {_mb(sum(entry.size for entry in freed))} MB freed")


def _selected(found: Sequence[Entry], asked: argparse.Namespace) -> list[Entry]:
    """Return the entries that meet every choice."""
    if not (asked.hashes or asked.stage or asked.older_than or asked.unfinished or asked.all):
        raise UserError("prune needs to know what: hashes, --stage, --older-than, --unfinished or --all.")
    hashes = {_full(found, start) for start in asked.hashes}
    before = time.time() - _seconds(asked.older_than) if asked.older_than else None
    if asked.stage and asked.stage not in (stages := sorted({entry.stage for entry in found})):
        raise UserError(f"--stage {asked.stage!r} is not in {cache_root()}; there are: {', '.join(stages) or 'none'}.")
    return [
        entry
        for entry in found
        if (not hashes or entry.hash in hashes)
        and (not asked.stage or entry.stage == asked.stage)
        and (before is None or entry.used < before)
        and (not asked.unfinished or entry.built is None)
    ]


def _full(found: Sequence[Entry], start: str) -> str:
    """Return the one hash that begins with these letters."""
    hashes = sorted({entry.hash for entry in found if entry.hash.startswith(start)})
    if len(hashes) != 1:
        reason = f"may be {', '.join(hashes)}" if hashes else "is not there"
        raise UserError(f"{start!r} {reason}; `python -m xright.cache` lists what {cache_root()} holds.")
    return hashes[0]


def _seconds(age: str) -> float:
    if not (match := re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", age)):
        raise UserError(f"--older-than {age!r} must be a number and a unit (s, m, h, d or w), such as 30d.")
    return float(match[1]) * SECONDS[match[2]]


def _date(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def _mb(size: int) -> str:
    return f"{size / 1e6:,.1f}"


def _count(some: Sequence[Entry]) -> str:
    return f"{len(some)} {'entry' if len(some) == 1 else 'entries'}"


def parser() -> argparse.ArgumentParser:
    """Return the parser of this command line."""
    made = argparse.ArgumentParser(prog="python -m xright.cache", **help_of(__doc__))
    about = "remove entries; `prune --help` says which can be chosen"
    commands = made.add_subparsers(dest="command", metavar="COMMAND")
    prune = commands.add_parser("prune", help=about, **help_of(PRUNE))
    prune.add_argument("hashes", metavar="HASH", nargs="*", help="of an entry, or its first letters")
    prune.add_argument("--stage", metavar="NAME", help="the entries of one stage, such as tokens or optimum_dpo")
    prune.add_argument("--older-than", metavar="AGE", help="not used for so long: 12h, 30d, 8w")
    prune.add_argument("--unfinished", action="store_true", help="left by processes that were killed")
    prune.add_argument("--all", action="store_true", help="everything")
    prune.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    return made


if __name__ == "__main__":
    sys.exit(main())
