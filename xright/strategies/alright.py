"""ALRIGHT: each step is a DPO step with probability λ, else an SFT step (arXiv 2410.15483, alg 2, eq 10).

i_t ~ Bernoulli(λ),   θ_{t+1} = θ_t − α_t (i_t ∇f_DPO(θ_t) + (1 − i_t) ∇f_SFT(θ_t))

In expectation a step of the mixture λ f_DPO + (1−λ) f_SFT, at the price of one gradient. λ in [0, 1]; seed: the
draws' seed; draw t is a pure function of (seed, t).

>>> ALRIGHT(lam=1.0, seed=0).weights(step=7)
{'dpo': 1.0}
"""

import numpy as np

from xright.strategies.selector import Selector, check_lam


class ALRIGHT(Selector):
    """The stateless coin. Raises UserError for λ outside [0, 1]."""

    objectives = ("dpo", "sft")

    def __init__(self, lam: float, seed: int) -> None:
        self.lam = check_lam(lam)
        self.seed = seed

    @property
    def label(self) -> str:
        """ALRIGHT with its λ."""
        return f"ALRIGHT λ={self.lam:g}"

    def weights(self, step: int) -> dict[str, float]:
        """One-hot: DPO with probability λ."""
        heads = np.random.default_rng((self.seed, step)).random() < self.lam
        return {"dpo": 1.0} if heads else {"sft": 1.0}

    def __repr__(self) -> str:
        return f"ALRIGHT(lam={self.lam}, seed={self.seed})"
