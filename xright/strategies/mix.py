"""Mix: every step descends the weighted sum (the costly baseline of arXiv 2410.15483).

G_w(θ) = Σ_i w_i f_i(θ);   two objectives: λ f_DPO(θ) + (1−λ) f_SFT(θ).

>>> Mix({"dpo": 0.25, "sft": 0.75}).weights(step=0)
{'dpo': 0.25, 'sft': 0.75}
"""

from xright.strategies.weights import Weighted


class Mix(Weighted):
    """All objectives every step; one whose weight is 0 is not computed. UserError for weights that are none."""

    def weights(self, step: int) -> dict[str, float]:
        """The same in every step."""
        return {name: self.importance[name] for name in self.weighed}
