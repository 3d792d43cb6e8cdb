"""Fig 1: four methods at λ = .5: paths in objective space, gaps, ideal distance and runtime. See `paths.py`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from paths import comparison

from xright.analysis.figures.paths_figure import summary_figure

LABELS = ("Sequential DPO→SFT (3,3)", "Mix λ=0.5", "ALRIGHT λ=0.5", "MAXRIGHT λ=0.5")

if __name__ == "__main__":
    comparison(Path(__file__).resolve().parent, "dpo", LABELS, summary_figure)
