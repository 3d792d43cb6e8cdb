"""The whole table of bars: measures, and puts numbers, figures and tables beside this file. `make bench`.

With `--quick` the same code runs on sizes that prove nothing but that it runs, and writes to `report/speed`.
"""

import sys
import warnings
from pathlib import Path

import torch
from measure import full, measure, quick
from page import HERE, between_markers, write

from xright.machine.quiet import quiet

QUICK = Path("report") / "speed"


def main(short: bool, folder: Path) -> str:
    """Measure, write results and figures into `folder`; returns the tables as Markdown."""
    quiet()
    warnings.filterwarnings("ignore", module="(trl|torch|transformers|peft)")
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    measure(quick() if short else full(), folder)
    return write(folder)


if __name__ == "__main__":
    if "--quick" in sys.argv[1:]:
        print(main(True, QUICK))
    else:
        between_markers(HERE / "README.md", main(False, HERE))
