"""How far apart two right results may be: differences relative to the norm, and what rounding alone makes of them.

Pretrained models have channels fifty times as large as the others, so a difference is held to the norm of the whole and
not to the mean of its parts.
"""

import torch
from torch import Tensor


def relative(found: Tensor, expected: Tensor) -> float:
    """‖found − expected‖ / ‖expected‖; infinite where only the denominator is zero.

    >>> relative(torch.tensor([3.0, 4.0]), torch.tensor([3.0, 5.0])) == 1 / 34**0.5
    True
    """
    off, size = (float(tensor.detach().double().norm()) for tensor in (found - expected, expected))
    return off / size if size else (0.0 if off == 0 else float("inf"))


def rounding(dtype: torch.dtype, layers: int | None, width: int) -> float:
    """A bound on the relative difference of two right results of a network of that depth and width:

        4 · √L · (ε_dtype + ε_fp32 · √D)

    Each result is rounded to the dtype; a sum of D products, taken in fp32 at least, is off by some ε_fp32·√D; the
    errors of L layers add up as the steps of a random walk. SmolLM2 (L 30, D 576): 7e-5 in fp32, .2 in bfloat16.
    """
    own = torch.finfo(dtype).eps
    sums = min(own, torch.finfo(torch.float32).eps)
    return 4 * (layers or 1) ** 0.5 * (own + sums * width**0.5)
