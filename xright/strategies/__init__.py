"""Rules of joint training, and their schedules.

Lightning's `Trainer(strategy=…)` is parallelism; here a strategy chooses objectives.
"""

from xright.strategies.alright import ALRIGHT
from xright.strategies.maxright import MAXRIGHT
from xright.strategies.mix import Mix
from xright.strategies.only import Only
from xright.strategies.schedule import Phase, Schedule
from xright.strategies.selector import Selector
from xright.strategies.sequential import Sequential

__all__ = ["ALRIGHT", "MAXRIGHT", "Mix", "Only", "Phase", "Schedule", "Selector", "Sequential"]
