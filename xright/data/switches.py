"""Turns that their owner has switched off: `weight: 0`, `train: false` and the like in an assistant's message.

Such a turn is prompt for the turns after it and never an answer. Each of SWITCHES is known from public formats: weight
(OpenAI's fine-tuning, Mistral, Together), train and training (axolotl), train_on_turn (home-assistant data), loss
(ms-swift). Where a message has several, one that is off decides.

    >>> is_off({"role": "assistant", "content": "5", "weight": 0})
    True
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xright.errors import UserError

SWITCHES = ("weight", "train", "training", "train_on_turn", "loss")
IN_PARTS = "train_detail"  # axolotl's spans within a turn: to learn a turn in parts is not offered


def check(turn: Mapping[str, Any], where: str) -> None:
    """UserError for a switch that is neither on nor off."""
    for key in (*SWITCHES, IN_PARTS):
        if key in turn and not (isinstance(turn[key], int | float) and turn[key] in (0, 1) and key != IN_PARTS):
            raise UserError(
                f"{where} has a message with {key}={turn[key]!r:.60}, but a turn is learnt as a whole or not at all; "
                "give 0 or 1 (false or true), or rename the key if it means something else."
            )


def is_off(turn: Mapping[str, Any]) -> bool:
    """Tell whether the turn is not to be learnt."""
    return any(key in turn and not turn[key] for key in SWITCHES)


def is_on(turn: Mapping[str, Any]) -> bool:
    """Does the turn say that it is to be learnt?"""
    return any(turn.get(key) for key in SWITCHES) and not is_off(turn)
