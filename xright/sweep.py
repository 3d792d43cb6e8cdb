"""Checks every cell of a sweep before the first one starts: a bad value in the last would else be found hours later."""

import sys
from typing import Any

from hydra import compose
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

BASIC = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"


class CheckSweep(Callback):
    """A Hydra callback. Sweepers that choose their values as they go (Optuna, …) are left to the run's own check."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Compose and check all cells; a bad one ends the program with its sentence and exit code 2."""
        from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

        from xright.checks import check_config
        from xright.errors import UserError
        from xright.quiet import quiet

        quiet()
        if config.hydra.sweeper._target_ != BASIC:
            return
        overrides = OverridesParser.create().parse_overrides(list(config.hydra.overrides.task))
        for batch in BasicSweeper.split_arguments(overrides, max_batch_size=None):
            for cell in batch:
                try:
                    check_config(compose(config.hydra.job.config_name, overrides=list(cell)))
                except UserError as error:
                    print(f"xright: in the cell {' '.join(cell)}: {error}", file=sys.stderr)
                    sys.exit(2)
