"""result.json: what a finished run says of itself, checked value by value, since others may have written it."""

import math
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

from xright.analysis.read import old_form
from xright.analysis.read.files import cells, read_config, read_json
from xright.analysis.read.methods import Method, Objective, read_method, read_objectives
from xright.errors import UserError

NUMBER = (int, float, type(None))
REQUIRED: dict[str, tuple[type, ...]] = {"label": (str,), "strategy": (str,), "lam": NUMBER, "seed": (int,)}
AGAIN = "remove it, and the same command finishes the run again."


class Result(NamedTuple):
    """`values`: flat, with the method's settings (`k`, …) and without what `method` and `objectives` say."""

    values: dict[str, Any]
    method: Method
    objectives: dict[str, Objective]


def numbers_of(objectives: Collection[str]) -> list[str]:
    """The keys of a flat result that hold numbers of objectives, or null where they are unknown."""
    return [key for name in objectives for key in (f"f_{name}", f"f_{name}_opt", f"gap_{name}")]


def read_result(path: Path, numbers: Collection[str] = ()) -> Result:
    """One result.json; of the old form, completed from the config.yaml beside it.

    numbers: keys that hold numbers or null, beside those of the objectives. Raises UserError where the file is
    unreadable, or lacks what every result has, in the right type.
    """
    try:
        read = read_json(path)
    except UserError as error:
        raise UserError(f"{error}; {AGAIN}") from error
    if not isinstance(read, dict):
        raise UserError(f"{path} is not the result of a run, but {type(read).__name__}; move its folder elsewhere.")
    old = "method" not in read
    _has(read, path, *REQUIRED, *(old_form.REQUIRED if old else ["objectives"]))
    try:
        read = old_form.completed(read, read_config(path.with_name("config.yaml"))) if old else read
        objectives = read_objectives(read.pop("objectives"))
        method = read_method(read.pop("method"), objectives)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise UserError(f"{path} does not say what method it is of ({error!r:.80}); {AGAIN}") from error
    _has(read, path, *(f"f_{name}" for name in objectives))
    values = cells(read)
    kinds: dict[str, tuple[type, ...]] = dict.fromkeys([*numbers, *numbers_of(objectives)], NUMBER)
    kinds |= dict.fromkeys([key for key in values if key.startswith("behaviour.")], NUMBER)
    certified = [key for key in values if key.startswith("certificate.") and not key.endswith(".paired")]
    kinds |= {key: (str,) if key.endswith(".verdict") else NUMBER for key in certified}
    kinds |= {f"f_{name}": (int, float) for name in objectives} | REQUIRED
    for key, value in values.items():
        wrong = key in kinds and (not isinstance(value, kinds[key]) or isinstance(value, bool))
        if wrong or (isinstance(value, float) and not math.isfinite(value)):
            raise UserError(f"{path} says {key}={value!r:.80}, which no run ends with; {AGAIN}")
    return Result({**values, **cells(method.settings), **values}, method, objectives)


def _has(read: dict[str, Any], path: Path, *keys: str) -> None:
    if missing := [key for key in keys if key not in read]:
        raise UserError(
            f"{path} lacks {', '.join(missing)}, so it is not the result of a run; move its folder elsewhere."
        )
