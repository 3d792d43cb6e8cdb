"""`python -m xright.run [overrides] [-m]`: Hydra composes a configuration, the job does the rest."""

import os
import sys
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

# A checkout keeps conf/ at the top level; a wheel ships it inside the package.
PACKAGED = Path(__file__).parent / "conf"
CONF = PACKAGED if PACKAGED.is_dir() else Path(__file__).parent.parent / "conf"


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def main(cfg: DictConfig) -> float | None:
    """Run one job. Exit codes: 0 finished, 2 bad input, 75 asked to go and saved, 1 anything else."""
    from xright.job import job  # what it imports takes seconds, and --help needs none of it

    hydra_cfg = HydraConfig.get()
    # As a container: a list of Hydra's would resolve the interpolations that an override may hold.
    overrides: Any = OmegaConf.to_container(hydra_cfg.overrides.task)
    return job(cfg, hydra_cfg.runtime.choices["strategy"], overrides)


def _refuse_null(argument: str) -> None:
    """`logger=null` and the like, which Hydra meets with a traceback."""
    group, _, option = argument.partition("=")
    if option == "null" and (CONF / group).is_dir():
        options = ", ".join(sorted(file.stem for file in (CONF / group).glob("*.yaml")))
        print(f"xright: {argument}: a group cannot be null; leave it out, or choose one of {options}.", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # debug and experiment stand in the defaults list, where Hydra refuses the + that other projects need.
    sys.argv = [arg[1:] if arg.startswith(("+debug=", "+experiment=")) else arg for arg in sys.argv]
    for arg in sys.argv[1:]:
        _refuse_null(arg)
    main()
