"""MAXRIGHT: each step goes to the objective whose weighted optimality gap is largest (arXiv 2410.15483, alg 2 with
alg 3, eqs 13-14 and 53-54).

i_t = argmax_i w_i (f_i(θ_t; batch) − f_i*);   a tie goes to the first.          two objectives: w = (λ, 1 − λ)

Every k steps (t mod k = 0) all objectives are looked at on the step's batches. In between the last-seen values are
used, and each step replaces the chosen objective's value by its own loss of that step, before the update. k = 1 is the
exact algorithm. weights: w ≥ 0; optima f*: nats, per token (SFT) and per pair (DPO).

The last-seen gaps are the only state.
"""

from collections.abc import Mapping
from typing import Any

from xright.errors import UserError
from xright.strategies.gapped import WeightedGaps

USUAL_K = 10


class MAXRIGHT(WeightedGaps):
    """Largest weighted gap first. Raises UserError for weights that are none, k < 1, or unknown optima."""

    def __init__(
        self, weights: Mapping[str, float | None], optima: Mapping[str, float | None] | None, k: int = USUAL_K
    ) -> None:
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise UserError(
                f"strategy.k={k!r} of MAXRIGHT must be a whole number >= 1: it looks at all objectives every k steps."
            )
        super().__init__(weights, optima)
        self.k = k

    @property
    def settings(self) -> dict[str, Any]:
        return {"k": (self.k, USUAL_K)}

    def looks(self, step: int) -> tuple[str, ...]:
        """All objectives when t mod k = 0."""
        return self.objectives if step % self.k == 0 else ()

    def weights(self, step: int) -> dict[str, float]:
        """One-hot on the largest weighted gap; `max` keeps the first of equals."""
        return {max(self.objectives, key=lambda name: self.importance[name] * self.gaps[name]): 1.0}
