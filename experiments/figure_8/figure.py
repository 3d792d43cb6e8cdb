"""Fig 8: paths in objective space, ideal distance and runtime increase, SFT first. See `experiments/artefact.py`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from paths import comparison

if __name__ == "__main__":
    comparison(Path(__file__).resolve().parent, first="sft")
