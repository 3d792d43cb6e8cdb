"""Memory: the negative log-likelihood of what the base wrote itself (context-free synthetic data, arXiv 2505.13811).

f(θ) = −(1/n) Σ_i log π_θ(y_i | x_i),   y_i ~ π_base(· | x_i), drawn once, before the run;   n = tokens of all y_i

Over many samples this is KL(π_base ‖ π_θ) plus the base's entropy, both per token (nats), so f* is what the base itself
has on the held-out samples: known without training. The gap estimates the KL; with few samples it may fall below 0.
"""

from xright.objectives.sft import SFT


class Memory(SFT):
    """SFT's loss on rows of kind sampled. stream: of these."""

    label, of_base = "Memory", True

    def __init__(self, stream: str = "memory") -> None:
        super().__init__(stream)

    def __repr__(self) -> str:
        return f"Memory(stream={self.stream!r})"
