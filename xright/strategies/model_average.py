"""Model averaging: no training; the weights λ·θ_DPO + (1−λ)·θ_SFT of the two single-objective models
("Model Avg." in figs 3 and 8 of arXiv 2410.15483).

>>> ModelAverage(lam=0.25).start()
{'dpo': 0.25, 'sft': 0.75}
"""

from xright.strategies.selector import Selector, check_lam


class ModelAverage(Selector):
    """A run of zero steps that starts from the average of the optima's models. UserError for λ outside [0, 1]."""

    objectives = ("dpo", "sft")

    def __init__(self, lam: float) -> None:
        self.lam = check_lam(lam)

    @property
    def label(self) -> str:
        """Model average with its λ."""
        return f"Model average λ={self.lam:g}"

    def start(self) -> dict[str, float]:
        """λ of the DPO model, 1 − λ of the SFT model."""
        return {"dpo": self.lam, "sft": 1.0 - self.lam}

    def phases(self, steps_per_epoch: int, epochs: int) -> tuple[int, ...]:
        """No step at all."""
        return ()

    def weights(self, step: int) -> dict[str, float]:
        """Never asked: there is no step."""
        return {}

    def __repr__(self) -> str:
        return f"ModelAverage(lam={self.lam})"
