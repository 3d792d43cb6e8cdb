"""How alike the SFT and the preference data are, on real rows: alpaca against hh-rlhf. `make data-similarity`.

XRIGHT_DATA names the folder with the rows and the tokenizer (`sft/`, `pref/`, `tokenizer_gptneox/`). Arguments are
passed on: `python run.py --model FOLDER` compares sentence embeddings too.
"""

import json
import os
import shutil
import sys
from pathlib import Path

import pandas as pd

sys.path.extend(str(Path(__file__).resolve().parents[1] / room) for room in ("", "data_similarity"))
import similarity
from publish import between_markers

from xright.pipeline.run import versions

HERE, OUT = Path(__file__).resolve().parent, Path("report/data_similarity")
SFT = ("alpaca_gpt4_demo.jsonl", "alpaca_random9k.jsonl.gz", "alpaca_filtered.jsonl.gz")
PREFERENCE = ("hh_harmless_test.jsonl.gz", "hh_helpful_test.jsonl.gz")
ROLES = "(?m)^(Human|Assistant): ?"  # hh-rlhf's rows carry them, alpaca's do not: they are no content


def main(more: list[str]) -> None:
    """Run the command, then put its numbers and figures into this folder."""
    if "XRIGHT_DATA" not in os.environ:
        sys.exit("XRIGHT_DATA must name the folder with sft/, pref/ and tokenizer_gptneox/.")
    data = Path(os.environ["XRIGHT_DATA"]).resolve()
    rows = ["--sft", *(str(data / "sft" / name) for name in SFT)]
    rows += ["--preference", *(str(data / "pref" / name) for name in PREFERENCE)]
    tokenizer = str(data / "tokenizer_gptneox")
    similarity.main([*rows, "--strip", ROLES, "--tokenizer", tokenizer, "--out", str(OUT), *more])
    told = json.loads((OUT / "similarity.json").read_text(encoding="utf-8"))
    parts = [f"{told['rows']['sft']:,} SFT rows, {told['rows']['preference']:,} preference rows.\n"]
    for name in told["measures"]:
        shutil.copy(OUT / f"similarity-{name}.png", HERE)
        parts.append(similarity.in_words(name, pd.read_csv(OUT / f"pairs-{name}.csv")))
        parts.append(f"![Closest input pairs and their responses](similarity-{name}.png)\n")
    about = ", ".join(f"{name} {version}" for name, version in versions().items())
    between_markers(HERE / "README.md", "\n".join([*parts, f"Took {told['seconds']:.0f} s; {about}.\n"]))


if __name__ == "__main__":
    main(sys.argv[1:])
