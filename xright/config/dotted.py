"""Nested settings under dotted keys, as people write them on a command line."""

from collections.abc import Mapping
from typing import Any


def flatten(node: Any, key: str = "") -> dict[str, Any]:
    """Return {dotted key: value} of all that a mapping holds, at any depth; an empty mapping is a value.

    >>> flatten({"optim": {"lr": 0.1, "betas": [0.9, 0.95]}, "lora": {}})
    {'optim.lr': 0.1, 'optim.betas': [0.9, 0.95], 'lora': {}}
    """
    if not isinstance(node, Mapping) or not node:
        return {key: node}
    inner = [flatten(child, f"{key}.{name}" if key else str(name)) for name, child in node.items()]
    return {name: value for part in inner for name, value in part.items()}
