"""Dropout is a pure function of (seed, step, rank): nothing to save, the same after a resume."""

import torch


def seed_dropout(seed: int, step: int, rank: int, device: torch.device) -> None:
    """Seed what draws on this device; `torch.manual_seed` would take half a millisecond."""
    own = hash((seed, step, rank))
    torch.default_generator.manual_seed(own)
    if device.type == "cuda":
        torch.cuda.manual_seed(own)
