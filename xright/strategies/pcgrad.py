"""PCGrad: from each gradient, what runs against another is taken away, one after the other, and the rest is summed (Yu
et al. 2020, arXiv 2001.06782).

ĝ_i = w_i g_i;   for j ≠ i in random order: ĝ_i ← ĝ_i − min(0, ⟨ĝ_i, g_j⟩)/‖g_j‖² g_j;   d = Σ_i ĝ_i

The weights enter times K, so that equal ones give the published rule. The order is drawn from (seed, step).

>>> PCGrad({"dpo": 0.5, "sft": 0.5}).combine(0, np.array([[1.0, -1.0], [-1.0, 4.0]]))  # twice UPGrad's
{'dpo': 2.0, 'sft': 1.25}
"""

from collections.abc import Mapping

import numpy as np

from xright.strategies.compared import Compared, factors


class PCGrad(Compared):
    """Pairwise projections in a drawn order."""

    def alphas(self, gramian_KK: np.ndarray, weights: Mapping[str, float], step: int) -> np.ndarray:
        """In coefficients: row i of C_KK says what ĝ_i is made of."""
        draw = np.random.default_rng((self.seed, step))
        made_KK = np.diag(factors(weights))
        for own, made_K in enumerate(made_KK):
            for other in draw.permutation(len(made_KK)):
                against = made_K @ gramian_KK[:, other]
                if other != own and against < 0:
                    made_K[other] -= against / gramian_KK[other, other]
        return made_KK.sum(axis=0)
