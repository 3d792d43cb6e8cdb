"""What a user can mend is told in one sentence: the value, where it stands, and what it must be."""

import math
from collections.abc import Callable


class UserError(Exception):
    """Bad input. The message is the whole story: the bad value, where it stands, and the remedy.

    The commands print it without a traceback and exit with code 2.
    """


def check_number(key: str, value: object, holds: Callable[[float], bool], domain: str) -> float:
    """`value` as a float if it is a finite number for which `holds` is true, else UserError: it must be `domain`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or not holds(value):
        raise UserError(f"{key}={value!r} must be {domain}.")
    return float(value)
