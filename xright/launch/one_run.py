"""One job, whoever started it: checked, with all its ranks, and with an exit code for each way it may end.

0: finished. 2: bad input, told in one sentence. 75: asked to go; saved, the same command goes on. 130: Ctrl-C. 1:
anything else. `python -m xright.launch.one_run` is a rank started by another (`processes.py`).
"""

from xright.machine import preemption
from xright.machine.importing import importing

if __name__ == "__main__":
    preemption.from_the_start(speaks=False)  # before what takes seconds to import
    with importing():
        import xright.pipeline.run  # noqa: F401

import logging
import os
from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig

from xright.config.settings import complete
from xright.errors import UserError, disk_sentence, memory_sentence
from xright.launch.processes import RankDied, processes, told_by_first
from xright.machine.command import end
from xright.machine.paths import place
from xright.machine.quiet import quiet
from xright.pipeline.checks import check_config
from xright.pipeline.run import run
from xright.training.fit import environment


def job(cfg: DictConfig, strategy: str, overrides: Sequence[str], number: int = 0) -> dict[str, Any] | None:
    """`pipeline.run` on all ranks; returns the run's result, or ends the program with one of those codes.

    number: of this job in its sweep; its ranks meet under it.
    """
    quiet()
    speaks = environment().global_rank() == 0 and os.environ.get("LOCAL_RANK", "0") == "0"  # the others say the same
    with preemption.listening():
        try:
            complete(cfg, overrides)
            check_config(cfg)
            with processes(cfg, strategy, overrides, number):
                return run(cfg, strategy, overrides)
        except preemption.Preempted as signal:
            then = preemption.requeue(speaks) or "the same command goes on from here"
            end(f"asked to go ({signal}); {then}." if speaks else None, preemption.EXIT_CODE)
        except BaseException as error:
            if preemption.interrupted(error):
                end("interrupted (Ctrl-C); the same command goes on." if speaks else None, preemption.INTERRUPTED)
            if isinstance(error, UserError):
                end(str(error) if speaks else None, error.code)
            if isinstance(error, RankDied):
                end(str(error), 1)
            if not isinstance(error, Exception):
                raise
            if preemption.requested():  # another rank has gone first, and torch complains
                preemption.requeue(speaks)
                end(None, preemption.EXIT_CODE)
            if sentence := disk_sentence(error, place(cfg.runs_dir)) or memory_sentence(error):
                end(sentence, 1)
            raise


if __name__ == "__main__":
    logging.basicConfig(format="[xright] %(message)s", level=logging.WARNING)
    job(*told_by_first())
