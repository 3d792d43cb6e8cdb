"""The whole table of bars: measures, and puts numbers, figures and tables beside this file. `make bench`

With `--quick` the same code runs on sizes that prove nothing but that it runs, and writes to `report/speed`. The real
model takes part where it is at hand: models/smollm2 (`make smollm2`), and XRIGHT_DATA=folder for its rows.
"""

import argparse
import os
from pathlib import Path

from measure import full, measure, parts, quick, real
from page import HERE, between_markers, write, write_real

QUICK = Path("report") / "speed"


def main(short: bool, folder: Path, again: str = "") -> str:
    """Measure, write results and figures into `folder`; returns the tables as Markdown."""
    folder.mkdir(parents=True, exist_ok=True)
    measure(quick() if short else full(), folder, again)
    return write(folder)


def on_a_real_model(folder: Path, again: str = "") -> str | None:
    """The same with SmolLM2, where it and its rows are at hand."""
    if not (Path("models/smollm2").exists() and "XRIGHT_DATA" in os.environ):
        print("There is no models/smollm2 (make smollm2), or no XRIGHT_DATA: the real model takes no part.")
        return None
    folder.mkdir(parents=True, exist_ok=True)
    measure(real(), folder, again)
    return write_real(folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="prove that it runs, in a minute")
    parser.add_argument("--only", choices=("random", "real"), help="the model with random weights, or the real one")
    parser.add_argument("--again", default="", metavar="NAME", help="what has this in its name; the rest as it is")
    asked = parser.parse_args()
    plans = {"real": real, "random": full}
    names = {kind: [name for name in parts(plan()) if asked.again in name] for kind, plan in plans.items()}
    kinds = [kind for kind in plans if asked.only in (None, kind) and names[kind]]
    if not kinds:
        there = ", ".join(name for kind, plan in plans.items() if asked.only in (None, kind) for name in parts(plan()))
        parser.error(f"nothing that is measured has {asked.again!r} in its name; there are {there}")
    for kind, file in (("real", HERE / "smollm2" / "results.json"), ("random", HERE / "results.json")):
        if asked.again and kind in kinds and not file.exists():
            parser.error(f"--again {asked.again}: there is no {file} yet, which it would be added to; run it without")
    if asked.quick:
        print(main(True, QUICK))
    else:
        if "real" in kinds and (page := on_a_real_model(HERE / "smollm2", asked.again)):
            between_markers(HERE / "smollm2.md", page)
        if "random" in kinds:
            between_markers(HERE / "README.md", main(False, HERE, asked.again))
