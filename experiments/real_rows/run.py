"""Joint post-training on real rows: Sequential in both orders, the joint methods at five λ. `make real-rows`.

Three seeds, each with base, reference, held-out rows and optima of its own. XRIGHT_DATA names the folder with the rows
and the tokenizer (see conf/experiment/real_rows.yaml).
"""

import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from options import no_options
from publish import publish, write_rows

from xright.analysis.read.runs import read_runs
from xright.analysis.text.flat_table import to_rows

HERE, RUNS = Path(__file__).parent, Path("runs/real_rows")
SEEDS = (0, 1, 2)
SWEEPS = (
    ["strategy=sequential", "strategy.first=dpo,sft", "strategy.epochs=[1,1]"],
    ["strategy=mix,alright,maxright", "lam=0.01,0.25,0.5,0.75,0.99"],
    ["strategy=maxright", "strategy.k=1,1000", "lam=0.5"],
)

if __name__ == "__main__":
    no_options(__doc__)
    for seed in SEEDS:
        for sweep in SWEEPS:
            seeds = [f"seed={seed}", f"data.source.seed={seed}", f"model.pretrain.seed={seed}"]
            options = ["experiment=real_rows", "logger=csv", *seeds, *sweep]
            subprocess.run([sys.executable, "-m", "xright.run", *options, "-m"], check=True)
    write_rows(to_rows(read_runs([RUNS]), "k"), HERE / "runs.csv")
    publish(RUNS, HERE, without=" k=")
