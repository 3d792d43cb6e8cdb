"""How commands are typed: what one is about comes first, `--options` say how, key=value is a setting of conf/.

`python -m xright.run` is Hydra's: it has help of its own (conf/hydra/help), and ends with the same codes.
"""

import argparse
import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from xright.errors import UserError, disk_error, disk_sentence
from xright.machine.logs import to_stderr
from xright.machine.preemption import INTERRUPTED, interrupted

Main = Callable[[Sequence[str] | None], int | None]


def help_of(docstring: str | None, more: str = "") -> dict[str, Any]:
    """Arguments for an argparse parser, whose help is the docstring as it stands; its Examples come last.

    more: what is shown before the Examples.
    """
    about, _, examples = (docstring or "").partition("\nExamples\n")
    end = f"{more}Examples\n{examples}"
    return {"formatter_class": argparse.RawDescriptionHelpFormatter, "description": about, "epilog": end}


def exits(main: Main) -> Callable[..., int]:
    """Decorate a command's `main`: it returns an exit code, and prints an error that a user can mend as one sentence.

    0: done (or what `main` returns). 2: bad input. 1: no room on the disk. 130: Ctrl-C.
    """

    @functools.wraps(main)
    def command(arguments: Sequence[str] | None = None) -> int:
        to_stderr()
        try:
            return main(arguments) or 0
        except (KeyboardInterrupt, Exception) as error:
            if interrupted(error):
                return _say("interrupted (Ctrl-C); the same command does what is missing.", INTERRUPTED)
            if isinstance(error, UserError):
                return _say(error, error.code)
            if isinstance(error, OSError) and (sentence := disk_sentence(error, error.filename or ".")):
                return _say(sentence, disk_error(sentence).code)
            raise

    return command


def end(sentence: object, code: int = UserError.code) -> NoReturn:
    """End the program with this code, and with a sentence where there is one to say."""
    if sentence:
        _say(sentence)
    sys.exit(code)


def _say(sentence: object, code: int = 0) -> int:
    print(f"xright: {sentence}", file=sys.stderr, flush=True)
    return code
