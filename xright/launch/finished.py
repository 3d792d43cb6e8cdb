"""Runs that are finished, found before what trains them is imported: the same command once more costs little."""

import logging
from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from xright.config.inputs import check_same, inputs
from xright.config.naming import run_path
from xright.config.settings import complete
from xright.errors import UserError
from xright.machine.ranks import started_with_others
from xright.pipeline.folders import RunFolder

log = logging.getLogger(__name__)


def finished(cfg: DictConfig, strategy: str, overrides: Sequence[str]) -> tuple[str, dict[str, Any]] | None:
    """The folder and the result of a run that was finished under this very configuration. None where there is
    none, and where anything about it is in doubt: the run's own checks will tell.

    Ranks that others have started look together, later: what one finds here another might not.
    """
    if cfg.stage != "run" or cfg.overwrite or started_with_others():
        return None
    cfg = cfg.copy()
    try:
        complete(cfg, overrides)
        config: Any = OmegaConf.to_container(cfg, resolve=True)
        folder = RunFolder(run_path(config, strategy, overrides))
        result = folder.finished(config) if folder.was_begun_with(config) else None
        if result is None:
            return None
        check_same(folder.path, result.get("inputs", {}), inputs(config))
    except (UserError, OmegaConfBaseException):
        return None
    return str(folder.path), result
