"""Where a run begins: one file per start, one yaml in conf/start.

the base                        Base
merges of the optima's models   Average, TaskArithmetic, TIES, DARE, SLERP
"""

from xright.starts.average import Average
from xright.starts.base import Base
from xright.starts.dare import DARE
from xright.starts.slerp import SLERP
from xright.starts.start import Start
from xright.starts.task_arithmetic import TaskArithmetic
from xright.starts.ties import TIES

__all__ = ["DARE", "SLERP", "TIES", "Average", "Base", "Start", "TaskArithmetic"]
