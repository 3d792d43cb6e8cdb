"""Where the configuration lies: a checkout keeps conf/ at the top level; a wheel ships it inside the package."""

from pathlib import Path

PACKAGED = Path(__file__).parents[1] / "conf"
CONF = PACKAGED if PACKAGED.is_dir() else Path(__file__).parents[2] / "conf"
