"""What is optimised: each objective is a pure loss function and a thin class around it."""

from xright.objectives.dpo import DPO
from xright.objectives.ipo import IPO
from xright.objectives.objective import Batch, Group, Objective
from xright.objectives.orpo import ORPO
from xright.objectives.sft import SFT

JOINT = ("dpo", "sft")  # names of the two objectives of the paper, in the order files and tables list them

__all__ = ["DPO", "IPO", "JOINT", "ORPO", "SFT", "Batch", "Group", "Objective"]
