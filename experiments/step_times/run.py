"""What a step of each method takes, in short runs one after the other on a quiet machine. `make step-times`.

Their results mean nothing: the reference is the base, the optima are only about right, so that MAXRIGHT picks as it
would. XRIGHT_DATA names the folder with the real rows and the tokenizer.
"""

import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from options import no_options
from paths import grid
from publish import between_markers

from xright.analysis.numbers.runtime import runtime_grid
from xright.analysis.read.runs import read_runs
from xright.analysis.report import machines
from xright.analysis.text.tables import markdown

METHODS = [
    ["strategy=sequential", "strategy.epochs=[1,1]", "strategy.first=dpo"],
    ["strategy=sequential", "strategy.epochs=[1,1]", "strategy.first=sft"],
    ["strategy=alright"],
    ["strategy=maxright"],
    ["strategy=mix"],
]
LOOKS = [["strategy=maxright", f"strategy.k={k}"] for k in (1, 100, 1000)]
STUDIES = {  # options, methods, seeds, and what is drawn by them
    "step_times_embedded": (
        ["optima={dpo: 0.326, sft: 0.053}"], [*METHODS, *LOOKS], range(6), ["seed", "data.source.seed"],
    ),
    "step_times_real_rows": (
        ["experiment=real_rows", "optima={dpo: 0.332, sft: 5.905}"], METHODS, range(3),
        ["seed", "data.source.seed", "model.pretrain.seed"],
    ),
}  # fmt: skip
COLUMNS = {
    "step_ms": "ms per step",
    "tokens_per_second": "tokens/s",
    "picks.dpo": "DPO steps",
    "picks.sft": "SFT steps",
}
COMMON = ["reference=base", "lam=0.5", "epochs=2", "eval_every=1000", "logger=csv"]


def measure() -> None:
    """Seed by seed, method by method."""
    for study, (options, methods, seeds, drawn) in STUDIES.items():
        for seed in seeds:
            for method in methods:
                drawing = [f"{key}={seed}" for key in drawn]
                command = [sys.executable, "-m", "xright.run", *options, f"name={study}", *COMMON, *drawing, *method]
                subprocess.run(command, check=True)


def publish() -> None:
    """The times of what was measured, as tables."""
    told = []
    for study in STUDIES:
        runs = read_runs([Path("runs") / study])
        told += [f"### {study.removeprefix('step_times_').replace('_', ' ')}", ""]
        told += [markdown(grid(runs.table, COLUMNS)), markdown(runtime_grid(runs))]
    (device, versions, _), *_ = machines(runs.table)
    told += [f"Measured on {device}, {versions}.", ""]
    between_markers(Path(__file__).parent / "README.md", "\n".join(told))


if __name__ == "__main__":
    no_options(__doc__)
    measure()
    publish()
