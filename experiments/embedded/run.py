"""The embedded comparison in five worlds: with seed s, world s too (its pools, rows and probes). `make seeds`.

Twice: with the reference of "DPO first" (trained on the chosen responses), and, in three of them, with that of "SFT
first".
"""

import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from options import no_options
from publish import publish

SEEDS = {"embedded": range(5), "embedded_sft_first": range(3)}
LAMS = "lam=0.01,0.25,0.5,0.75,0.99"
SPLITS = "strategy.epochs=[1,5],[2,4],[3,3],[4,2],[5,1]"  # (first, second): with DPO first, the budgets of these λ
JOINT = ["strategy=mix,alright,maxright,model_average", LAMS]
LOOKS = ["strategy=maxright", "strategy.k=1,100,1000", LAMS]
STUDIES = {
    "embedded": ["reference=chosen", ["strategy=sequential", "strategy.first=dpo,sft", SPLITS], JOINT, LOOKS],
    "embedded_sft_first": ["reference=sft", ["strategy=sequential", "strategy.first=sft", SPLITS], JOINT],
}

if __name__ == "__main__":
    no_options(__doc__)
    for name, (reference, *sweeps) in STUDIES.items():
        for seed in SEEDS[name]:
            for sweep in sweeps:
                options = [f"name={name}", reference, "logger=csv", f"seed={seed}", f"data.source.seed={seed}", *sweep]
                subprocess.run([sys.executable, "-m", "xright.run", *options, "-m"], check=True)
    publish(Path("runs/embedded"), Path(__file__).parent, without=" k=")
