"""The generated world with held-out rows drawn anew: all else stays, what they are drawn from included."""

from random import Random
from typing import Any

from xright.data.world import World


class Draws(World):
    """draw: number of the held-out rows. The other arguments are those of `World`."""

    def __init__(self, draw: int = 0, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.draw = draw

    def _rng(self, purpose: str) -> Random:
        return super()._rng(f"{purpose}/{self.draw}" if purpose.endswith("/eval") else purpose)
