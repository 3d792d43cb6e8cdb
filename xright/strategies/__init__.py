"""Rules of joint training, and their schedules.

    one objective a step             ALRIGHT, MAXRIGHT, EXP3, Blocks; Only
    weights without a look           Mix, ScheduledMix, DWA
    weights from losses              STCH, GroupDRO, Constrained, FAMO
    weights from gradients           MGDA, UPGrad, PCGrad, NashMTL, CAGrad, RACO, PCD, MoCo, MoDo (`compared.py`)
    one rule after another           Schedule, Sequential

Lightning's `Trainer(strategy=…)` is parallelism; here a strategy chooses objectives.
"""

from xright.strategies.alright import ALRIGHT
from xright.strategies.blocks import Blocks
from xright.strategies.cagrad import CAGrad
from xright.strategies.constrained import Constrained
from xright.strategies.dwa import DWA
from xright.strategies.exp3 import EXP3
from xright.strategies.famo import FAMO
from xright.strategies.group_dro import GroupDRO
from xright.strategies.maxright import MAXRIGHT
from xright.strategies.mgda import MGDA
from xright.strategies.mix import Mix
from xright.strategies.moco import MoCo
from xright.strategies.modo import MoDo
from xright.strategies.nash_mtl import NashMTL
from xright.strategies.only import Only
from xright.strategies.pcd import PCD
from xright.strategies.pcgrad import PCGrad
from xright.strategies.raco import RACO
from xright.strategies.schedule import Phase, Schedule
from xright.strategies.scheduled_mix import ScheduledMix
from xright.strategies.selector import Selector
from xright.strategies.sequential import Sequential
from xright.strategies.stch import STCH
from xright.strategies.upgrad import UPGrad

__all__ = [
    "ALRIGHT",
    "DWA",
    "EXP3",
    "FAMO",
    "MAXRIGHT",
    "MGDA",
    "PCD",
    "RACO",
    "STCH",
    "Blocks",
    "CAGrad",
    "Constrained",
    "GroupDRO",
    "Mix",
    "MoCo",
    "MoDo",
    "NashMTL",
    "Only",
    "PCGrad",
    "Phase",
    "Schedule",
    "ScheduledMix",
    "Selector",
    "Sequential",
    "UPGrad",
]
