"""Joint post-training on real rows: Sequential in both orders, Mix, ALRIGHT and MAXRIGHT at three λ. `make real-rows`.

XRIGHT_DATA names the folder with the rows and the tokenizer (see conf/experiment/real_rows.yaml).
"""

import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from publish import publish

RUN = [sys.executable, "-m", "xright.run", "experiment=real_rows", "logger=csv"]
SWEEPS = (
    ["strategy=sequential", "strategy.first=dpo,sft", "strategy.epochs=[1,1]"],
    ["strategy=mix,alright,maxright", "lam=0.25,0.5,0.75"],
)

if __name__ == "__main__":
    for sweep in SWEEPS:
        subprocess.run([*RUN, *sweep, "-m"], check=True)
    publish(Path("runs/real_rows"), Path(__file__).parent)
