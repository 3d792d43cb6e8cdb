"""`python -m xright.run [overrides] [-m]`: Hydra composes a configuration, the job does the rest."""

from xright.machine import preemption

if __name__ == "__main__":
    preemption.from_the_start()  # before what takes long to import

import logging
import os
import sys
from importlib.util import find_spec
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from xright.config.folder import CONF
from xright.config.moved import refuse_overrides
from xright.errors import UserError
from xright.machine.command import end
from xright.machine.importing import importing
from xright.machine.paths import cache_root


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def main(cfg: DictConfig) -> dict[str, Any] | None:
    """Run one job. Exit codes: 0 finished, 2 bad input, 75 asked to go and saved, 130 Ctrl-C, 1 anything else."""
    hydra_cfg = HydraConfig.get()
    # As a container: a list of Hydra's would resolve the interpolations that an override may hold.
    overrides: Any = OmegaConf.to_container(hydra_cfg.overrides.task)
    strategy = hydra_cfg.runtime.choices["strategy"]
    number = None if OmegaConf.is_missing(hydra_cfg.job, "num") else hydra_cfg.job.num  # of a sweep's cell
    if number is not None and not hydra_cfg.launcher._target_.endswith("SlurmLauncher"):  # it has a process of its own
        from xright.launch.cells import cell

        return cell(cfg, strategy, overrides, number)
    with importing():
        from xright.launch.finished import finished
    if run := finished(cfg, strategy, overrides):
        folder, result = run
        logging.getLogger("xright").info("finished already: %s", folder)
        print(folder, flush=True)
        return result
    with importing():
        from xright.launch.one_run import job

    return job(cfg, strategy, overrides, number or 0)


def _refuse(argument: str) -> None:
    """`logger=null` and the like, which Hydra meets with a traceback, and a sweeper that is not installed."""
    group, _, option = argument.partition("=")
    if argument == "hydra/sweeper=optuna" and not find_spec("optuna"):
        raise UserError("hydra/sweeper=optuna needs hydra-optuna-sweeper: pip install 'xright[sweep]'")
    if option == "null" and (CONF / group).is_dir():
        options = ", ".join(sorted(file.stem for file in (CONF / group).glob("*.yaml")))
        raise UserError(f"{argument}: a group cannot be null; leave it out, or choose one of {options}.")


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # debug and experiment stand in the defaults list, where Hydra refuses the + that other projects need.
    sys.argv = [arg[1:] if arg.startswith(("+debug=", "+experiment=")) else arg for arg in sys.argv]
    try:
        for arg in sys.argv[1:]:
            _refuse(arg)
        refuse_overrides(sys.argv[1:])
        os.environ["XRIGHT_CACHE"] = str(cache_root())  # for the yaml, and for whatever this starts elsewhere
    except UserError as error:
        end(error, error.code)
    main()
