"""What is optimised: each objective is a pure loss function and a thin class around it."""

from xright.objectives.dpo import DPO
from xright.objectives.ipo import IPO
from xright.objectives.objective import Objective, labels
from xright.objectives.orpo import ORPO
from xright.objectives.sft import SFT

__all__ = ["DPO", "IPO", "ORPO", "SFT", "Objective", "labels"]
