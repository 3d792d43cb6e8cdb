"""Where a run begins: one file per start, one yaml in conf/start."""

from xright.starts.average import Average
from xright.starts.base import Base
from xright.starts.start import Start

__all__ = ["Average", "Base", "Start"]
