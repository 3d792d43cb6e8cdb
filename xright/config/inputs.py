"""What a configuration names that lies on the disk: its content may change while its name stays.

A key of the cache and a finished run hold this beside the settings, so that neither is taken for another's.
"""

from collections.abc import Mapping
from typing import Any

from xright.errors import UserError
from xright.machine import files
from xright.machine.paths import place

LONGEST = 4096  # bytes of a path, in Linux; longer text (a question to a judge) names no file
PARTS = ("data", "model", "reference")  # of a configuration: what is read


def inputs(config: Mapping[str, Any]) -> dict[str, str]:
    """{name: fingerprint} of every file and model's folder that decides a run with this (resolved) configuration."""
    return on_disk([config[part] for part in PARTS])


def on_disk(node: Any) -> dict[str, str]:
    """{text: fingerprint} of every text in plain data that names a file (its SHA-256) or a folder (as a model's)."""
    if isinstance(node, Mapping | list | tuple):
        parts = node.values() if isinstance(node, Mapping) else node
        return {text: found for part in parts for text, found in on_disk(part).items()}
    if not isinstance(node, str) or not node or "\0" in node or len(node.encode(errors="replace")) > LONGEST:
        return {}
    try:
        there = place(node)
        if there.is_file():
            return {node: files.sha256(there)}
        if not there.is_dir():
            return {}
        from xright import models  # brings transformers and peft, which a run that is finished does not need

        return {node: models.fingerprint(there)}
    except (OSError, UserError):  # too long a name, or no permission: its reader will tell
        return {}


def check_same(where: Any, then: Mapping[str, str], now: Mapping[str, str]) -> None:
    """UserError if what was read when the run in `where` was made has changed since."""
    changed = sorted(name for name in then.keys() & now.keys() if then[name] != now[name])
    if changed:
        raise UserError(
            f"{where} was made from another content of {', '.join(map(repr, changed))}; give another name=, or "
            "overwrite=true to start afresh (the old folder is kept aside)."
        )
