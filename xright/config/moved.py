"""Settings that have another name now: the one table of them, and the sentence that answers an old one.

>>> refuse_overrides(["lam=0.5", "+data.source.sft.limit=9"])
Traceback (most recent call last):
xright.errors.UserError: data.source.sft.limit has moved; give ++data.streams.sft.limit=9.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from xright.config.dotted import flatten
from xright.errors import UserError

MOVED = {  # a pattern of the old key: the new key
    r"data\.source\.(sft|preference)((\..+)?)": r"data.streams.\1\2",
    r"data\.(template)s\.(.+)": r"data.streams.\2.\1",
    r"data\.(batch_size|batch_tokens)\.(.+)": r"data.streams.\2.\1",
    r"data\.source\.(eval_rows)\.(.+)": r"data.streams.\2.\1",
    r"optim\.(betas|weight_decay)": r"optim.optimizer.\1",
    r"data\.(template)s|data\.(batch_size|batch_tokens)|data\.source\.(eval_rows)": r"data.streams.<name>.\1\2\3",
}
GONE = {  # a pattern of a key that is none any more: what is in its place
    r"callbacks\.(trajectory|checkpoint)(\..+)?": "a run always writes these; see checkpoint_every",
    r"callbacks\.ideal_distance(\..+)?": "it is logged with the trajectory",
    r"run\..+": "the run fills it in by itself",
}
OVERRIDE = re.compile(r"(\+\+|\+|~)?([^=@]+)(?:=(.*))?", re.DOTALL)


def new_key(key: str) -> str | None:
    """Return what a key is called now, or None for one that has not moved."""
    found = ((re.fullmatch(old, key), new) for old, new in MOVED.items())
    return next((match.expand(new) for match, new in found if match), None)


def refuse_overrides(arguments: Iterable[str]) -> None:
    """UserError for arguments of Hydra's command line that set a key that has moved."""
    given: list[tuple[str, str, str]] = []
    for argument in arguments:
        match = OVERRIDE.fullmatch(argument)
        _refuse_gone(match[2] if match else "")
        if match and new_key(match[2]):
            sign, key, value = match.groups()
            parts = _parsed(argument) if value and value.startswith("{") else {}
            sign = "++" if sign == "+" else sign or ""  # what was to be added is there now
            given += [(old, sign, f"={_text(part)}") for old, part in flatten(parts, key).items()] if parts else [
                (key, sign, "" if value is None else f"={value}")
            ]  # fmt: skip
    _refuse([(key, _quoted(f"{sign}{new_key(key)}{value}")) for key, sign, value in given])


def refuse_keys(config: Mapping[str, Any]) -> None:
    """UserError for a configuration, as it came from yaml files, that holds a key that has moved."""
    for key in flatten(config):
        _refuse_gone(key)
    _refuse([(key, f"{new}={_text(value)}") for key, value in flatten(config).items() if (new := new_key(key))])


def renamed(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration of an earlier version, as a run's folder has it, with its settings under their new keys.
    ValueError for one that sets a key and what is below it."""
    found: dict[str, Any] = {}
    for key, value in flatten(config).items():
        *parents, name = (new_key(key) or key).split(".")
        node = found
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                raise ValueError(f"{key} is below {parent}, which is a value")
        node[name] = value
    return found


def _refuse_gone(key: str) -> None:
    for old, instead in GONE.items():
        if re.fullmatch(old, key):
            raise UserError(f"{key} is no setting any more: {instead}.")


def _refuse(moved: list[tuple[str, str]]) -> None:
    if moved:
        old, new = zip(*moved, strict=True)
        raise UserError(f"{', '.join(old)} {'has' if len(old) == 1 else 'have'} moved; give {' '.join(new)}.")


def _parsed(argument: str) -> dict[str, Any]:
    """The mapping that an override sets, or none where Hydra would not take it, or would sweep over several."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        value = OverridesParser.create().parse_override(argument).value()
    except HydraException:
        return {}
    return value if isinstance(value, dict) else {}


def _quoted(argument: str) -> str:
    """Return an argument as a shell takes it."""
    within = "'" in argument and not re.search(r'["$`\\!]', argument)
    return f'"{argument}"' if within else shlex.quote(argument)


def _text(value: Any) -> str:
    return value if isinstance(value, str) and re.fullmatch(r"[\w./:~?${}-]+", value) else json.dumps(value)
