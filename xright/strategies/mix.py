"""Mix: every step descends the weighted sum (the costly baseline of arXiv 2410.15483).

G_λ(θ) = λ f_DPO(θ) + (1−λ) f_SFT(θ);   λ = 0 is SFT only, λ = 1 is DPO only.

>>> Mix(lam=0.25).weights(step=0)
{'dpo': 0.25, 'sft': 0.75}
"""

from xright.strategies.selector import Selector, check_lam


class Mix(Selector):
    """Both objectives every step; one whose weight is 0 is not computed. UserError for λ outside [0, 1]."""

    objectives = ("dpo", "sft")

    def __init__(self, lam: float) -> None:
        self.lam = check_lam(lam)

    @property
    def label(self) -> str:
        """Mix with its λ."""
        return f"Mix λ={self.lam:g}"

    def weights(self, step: int) -> dict[str, float]:
        """λ on DPO, 1 − λ on SFT."""
        weights = {"dpo": self.lam, "sft": 1.0 - self.lam}
        return {name: weight for name, weight in weights.items() if weight > 0}

    def __repr__(self) -> str:
        return f"Mix(lam={self.lam})"
