"""`python -m xright.run [overrides] [-m]`: Hydra composes a configuration, the pipeline does the rest."""

import os
import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

# A checkout keeps conf/ at the top level; a wheel ships it inside the package.
PACKAGED = Path(__file__).parent / "conf"
CONF = PACKAGED if PACKAGED.is_dir() else Path(__file__).parent.parent / "conf"


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def main(cfg: DictConfig) -> float | None:
    """Run one job; bad input ends it with one sentence and exit code 2."""
    from xright.errors import UserError
    from xright.pipeline import run
    from xright.quiet import quiet

    quiet()
    hydra_cfg = HydraConfig.get()
    try:
        return run(cfg, hydra_cfg.runtime.choices["strategy"], hydra_cfg.overrides.task)
    except UserError as error:
        print(f"xright: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    main()
