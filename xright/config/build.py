"""What a configuration node with `_target_` describes, made; with the constructor's own sentence when it refuses.

Hydra finds the target, but is not given the arguments: its `instantiate` reads every text as a configuration, twice, so
that a path or a name that holds `${…}` would become something else. Here a node is resolved once, where it still is one
of a configuration, and plain values are what they are. As in Hydra: `_args_`, `_partial_`, `_recursive_`.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from xright.errors import UserError, reason_of

LONGEST = 1000  # characters of a constructor's own sentence
SPECIAL = ("_target_", "_args_", "_partial_", "_recursive_", "_convert_")


def build(node: Any, **kwargs: Any) -> Any:
    """Make what a node describes; kwargs come on top. UserError where the configuration is to blame."""
    try:
        plain: Any = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
    except OmegaConfBaseException as error:
        raise _refused(node.get("_target_"), error) from error
    return _made({**plain, **kwargs})


def _made(node: Any) -> Any:
    """The value of a part of a node: with `_target_` what that makes, else itself with its parts made."""
    if isinstance(node, list):
        return [_made(part) for part in node]
    if not isinstance(node, Mapping):
        return node
    if "_target_" not in node:
        return {key: _made(part) for key, part in node.items()}
    make = _made if node.get("_recursive_", True) else (lambda part: part)
    positional = [make(part) for part in node.get("_args_", ())]
    named = {key: make(part) for key, part in node.items() if key not in SPECIAL}
    try:
        target = instantiate({"_target_": node["_target_"], "_partial_": True}).func
        return partial(target, *positional, **named) if node.get("_partial_") else target(*positional, **named)
    except UserError:
        raise
    except InstantiationException as error:
        raise _refused(node["_target_"], error.__cause__ or error) from error
    except Exception as error:  # whatever a constructor raises for what it was given
        raise _refused(node["_target_"], error) from error


def _refused(target: object, error: BaseException) -> UserError:
    return UserError(f"{target} cannot be built from the configuration: {reason_of(error, LONGEST)}.")
