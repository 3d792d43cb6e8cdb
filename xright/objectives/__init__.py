"""What is optimised: each objective is a pure loss function and a thin class around it."""

from xright.objectives.apo import APODown, APOZero
from xright.objectives.bco import BCO
from xright.objectives.cpo import CPO
from xright.objectives.dft import DFT
from xright.objectives.discopop import DiscoPOP
from xright.objectives.dpo import DPO
from xright.objectives.dpo_norm import DPONorm
from xright.objectives.exo import EXO
from xright.objectives.hinge import Hinge
from xright.objectives.ipo import IPO
from xright.objectives.kto import KTO
from xright.objectives.memory import Memory
from xright.objectives.nca import NCA
from xright.objectives.objective import Objective, labels
from xright.objectives.orpo import ORPO
from xright.objectives.robust_dpo import RobustDPO
from xright.objectives.rpo import RPO
from xright.objectives.sft import SFT
from xright.objectives.simpo import SimPO
from xright.objectives.sppo import SPPO

__all__ = [
    "BCO",
    "CPO",
    "DFT",
    "DPO",
    "EXO",
    "IPO",
    "KTO",
    "NCA",
    "ORPO",
    "RPO",
    "SFT",
    "SPPO",
    "APODown",
    "APOZero",
    "DPONorm",
    "DiscoPOP",
    "Hinge",
    "Memory",
    "Objective",
    "RobustDPO",
    "SimPO",
    "labels",
]
