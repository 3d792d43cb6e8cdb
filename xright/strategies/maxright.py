"""MAXRIGHT: each step goes to the objective whose weighted optimality gap is larger (arXiv 2410.15483, alg 2 with
alg 3, eqs 13-14 and 53-54).

i_t = argmax { λ (f_DPO(θ_t; batch) − f_DPO*),  (1−λ) (f_SFT(θ_t; batch) − f_SFT*) };   a tie goes to DPO.

Every k steps (t mod k = 0) both objectives are looked at on the step's batches. In between the last-seen values are
used, and each step replaces the chosen objective's value by its own loss of that step, before the update. k = 1 is the
exact algorithm. λ in [0, 1]; optima f*: nats, per token (SFT) and per pair (DPO).

The last-seen gaps are the only state.
"""

from collections.abc import Mapping
from typing import Any

from xright.errors import UserError
from xright.strategies.selector import Selector, check_lam


class MAXRIGHT(Selector):
    """Largest weighted gap first. Raises UserError for λ outside [0, 1], k < 1, or unknown optima."""

    objectives = ("dpo", "sft")

    def __init__(self, lam: float, optima: Mapping[str, float] | None, k: int = 10) -> None:
        self.lam = check_lam(lam)
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise UserError(
                f"strategy.k={k!r} of MAXRIGHT must be a whole number >= 1: it looks at both objectives every k steps."
            )
        if not optima or any(optima.get(name) is None for name in self.objectives):
            raise UserError(
                f"MAXRIGHT needs the optima of both objectives but optima={optima!r}; leave optima=auto to compute "
                "them, or give numbers: 'optima={dpo: 0.05, sft: 1.5}'."
            )
        self.importance = {"dpo": self.lam, "sft": 1.0 - self.lam}
        self.optima = {name: float(optima[name]) for name in self.objectives}
        self.k = k
        self._gaps: dict[str, float] = {}

    @property
    def label(self) -> str:
        """MAXRIGHT with its λ, and k where it is not the usual 10."""
        return f"MAXRIGHT λ={self.lam:g}" + ("" if self.k == 10 else f" k={self.k}")

    def looks(self, step: int) -> tuple[str, ...]:
        """Both objectives when t mod k = 0."""
        return self.objectives if step % self.k == 0 else ()

    def observe(self, losses: Mapping[str, float]) -> None:
        """Remember f − f* of every loss told."""
        self._gaps.update({name: loss - self.optima[name] for name, loss in losses.items()})

    def weights(self, step: int) -> dict[str, float]:
        """One-hot on the largest weighted gap; `max` keeps the first of equals, and DPO is first."""
        return {max(self.objectives, key=lambda name: self.importance[name] * self._gaps[name]): 1.0}

    def seen_gaps(self) -> dict[str, float]:
        """Last-seen gaps, unweighted."""
        return dict(self._gaps)

    def state_dict(self) -> dict[str, Any]:
        """The last-seen gaps."""
        return {"gaps": dict(self._gaps)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the last-seen gaps."""
        self._gaps = dict(state["gaps"])

    def __repr__(self) -> str:
        return f"MAXRIGHT(lam={self.lam}, optima={self.optima}, k={self.k})"
