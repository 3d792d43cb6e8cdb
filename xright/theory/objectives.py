"""The objectives of a softmax policy over fixed features, in closed form (arXiv 2410.15483, sections 2-3, appendix A).

    π_θ(y|x) = exp(θᵀφ_{y,x}) / Σ_y' exp(θᵀφ_{y',x})

    DPO   f = mean_i softplus(−h_i),   h_i = β (θ − θ_ref)ᵀ Δφ_i,   Δφ_i = φ_{w,i} − φ_{l,i}        (eqs 1-3, 17-19)
          ∇f = −mean_i β σ(−h_i) Δφ_i,   ∇²f = mean_i β² σ(h_i) (1 − σ(h_i)) Δφ_i Δφ_iᵀ
    SFT   f = −mean_i log π_θ(y_i|x_i)                                                        (eqs 4-5, 20-22)
          ∇f = mean_i (E_π[φ] − φ_{y_i}),   ∇²f = mean_i Cov_π[φ]
    Mix   Σ_i w_i f_i

The normaliser of π cancels in DPO, so only Δφ matters. Eq 24 of the paper omits the factor (1 − σ(h)) of the DPO
Hessian. All three are convex: both Hessians are averages of positive semi-definite matrices.

Shapes: θ is (*runs, d), so that many runs are evaluated at once; a loss is then (*runs,), a gradient (*runs, d), a
Hessian (*runs, d, d). float64, losses in nats.

>>> dpo = DPO(differences=[[0.5]], reference=[0.0], beta=1.0)
>>> float(dpo.loss(np.zeros(1)).round(6)), dpo.gradient(np.zeros(1)).tolist()
(0.693147, [-0.25])
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

Array = np.ndarray


class Objective(ABC):
    """A differentiable function of θ. All three take (*runs, d)."""

    @abstractmethod
    def loss(self, theta: Array) -> Array:
        """Return the loss f(θ), shape (*runs,)."""

    @abstractmethod
    def gradient(self, theta: Array) -> Array:
        """Return ∇f(θ), shape (*runs, d)."""

    @abstractmethod
    def hessian(self, theta: Array) -> Array:
        """Return ∇²f(θ), shape (*runs, d, d)."""


class DPO(Objective):
    """differences: Δφ, shape (pairs, d); reference: θ_ref, shape (d,); beta > 0."""

    def __init__(self, differences: ArrayLike, reference: ArrayLike, beta: float = 1.0) -> None:
        self.differences = np.asarray(differences, dtype=float)
        self.reference = np.asarray(reference, dtype=float)
        self.beta = beta

    def loss(self, theta: Array) -> Array:
        """Return the mean of softplus(−h) over the pairs."""
        return softplus(-self._margins(theta)).mean(-1)

    def gradient(self, theta: Array) -> Array:
        """Return −β times the mean of σ(−h) Δφ."""
        return -self.beta * sigmoid(-self._margins(theta)) @ self.differences / len(self.differences)

    def hessian(self, theta: Array) -> Array:
        """Return the mean of β² σ(h) σ(−h) Δφ Δφᵀ."""
        margins = self._margins(theta)
        curvature = self.beta**2 * sigmoid(margins) * sigmoid(-margins)
        return np.einsum("...n,ni,nj->...ij", curvature, self.differences, self.differences) / len(self.differences)

    def _margins(self, theta: Array) -> Array:
        """Return the margins h, shape (*runs, pairs)."""
        return self.beta * (theta - self.reference) @ self.differences.T


class SFT(Objective):
    """features: φ of every output of every input, shape (inputs, outputs, d); the first output is the target."""

    def __init__(self, features: ArrayLike) -> None:
        self.features = np.asarray(features, dtype=float)
        self.offsets = self.features - self.features[:, :1]  # of each output from the target

    def loss(self, theta: Array) -> Array:
        """Return the mean of −log π_θ(target) over the inputs."""
        return -self._log_policy(theta)[..., 0].mean(-1)

    def gradient(self, theta: Array) -> Array:
        """mean over inputs of E_π[φ − φ_target], which loses no digit where π is nearly all on the target."""
        inputs, outputs, d = self.features.shape
        policy = np.exp(self._log_policy(theta)).reshape(*theta.shape[:-1], inputs * outputs)
        return policy @ self.offsets.reshape(-1, d) / inputs

    def hessian(self, theta: Array) -> Array:
        """Return the mean of Cov_π[φ] over the inputs."""
        policy = np.exp(self._log_policy(theta))
        centred = self.offsets - np.einsum("...ny,nyd->...nd", policy, self.offsets)[..., None, :]
        return np.einsum("...ny,...nyi,...nyj->...ij", policy, centred, centred) / len(self.features)

    def _log_policy(self, theta: Array) -> Array:
        """log π_θ(y|x), shape (*runs, inputs, outputs)."""
        inputs, outputs, d = self.features.shape
        scores = (theta @ self.features.reshape(-1, d).T).reshape(*theta.shape[:-1], inputs, outputs)
        scores = scores - scores.max(-1, keepdims=True)
        return scores - np.log(np.exp(scores).sum(-1, keepdims=True))


class Mixture(Objective):
    """Σ w_i f_i over any number of named objectives; Mix's objective for weights {dpo: λ, sft: 1 − λ}."""

    def __init__(self, objectives: Mapping[str, Objective], weights: Mapping[str, float]) -> None:
        self.parts = [(weight, objectives[name]) for name, weight in weights.items()]

    def loss(self, theta: Array) -> Array:
        """Return the weighted sum Σ w f."""
        return sum((weight * part.loss(theta) for weight, part in self.parts), np.zeros(theta.shape[:-1]))

    def gradient(self, theta: Array) -> Array:
        """Return the weighted sum Σ w ∇f."""
        return sum((weight * part.gradient(theta) for weight, part in self.parts), np.zeros(theta.shape))

    def hessian(self, theta: Array) -> Array:
        """Return the weighted sum Σ w ∇²f."""
        zero = np.zeros((*theta.shape, theta.shape[-1]))
        return sum((weight * part.hessian(theta) for weight, part in self.parts), zero)


def sigmoid(x: Array) -> Array:
    """1 / (1 + e^−x) without overflow, to full relative precision."""
    return np.exp(-np.logaddexp(0.0, -x))


def softplus(x: Array) -> Array:
    """Return log(1 + e^x) without overflow."""
    return np.logaddexp(0.0, x)
