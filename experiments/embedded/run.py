"""The embedded comparison in three worlds: with seed s, world s too (its pools, rows and probes). `make seeds`."""

import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from publish import publish

SEEDS = (0, 1, 2)
RUN = [sys.executable, "-m", "xright.run", "name=embedded", "logger=csv"]
SWEEPS = (
    ["strategy=sequential", "strategy.first=dpo,sft"],
    ["strategy=mix,alright,maxright,model_average", "lam=0.25,0.5,0.75"],
)

if __name__ == "__main__":
    for seed in SEEDS:
        for sweep in SWEEPS:
            subprocess.run([*RUN, f"seed={seed}", f"data.source.seed={seed}", *sweep, "-m"], check=True)
    publish(Path("runs/embedded"), Path(__file__).parent)
