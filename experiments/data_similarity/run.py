"""How alike the SFT and the preference data are, on real rows: alpaca against hh-rlhf. `make data-similarity`.

XRIGHT_DATA names the folder with the rows and the tokenizer (`sft/`, `pref/`, `tokenizer_gptneox/`). Arguments are
passed on: `python run.py model=FOLDER` compares sentence embeddings too.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from publish import between_markers

from xright.pipeline.run import versions
from xright.similarity.__main__ import in_words

HERE, OUT = Path(__file__).parent, Path("report/data_similarity")
SFT = ("alpaca_gpt4_demo.jsonl", "alpaca_random9k.jsonl.gz", "alpaca_filtered.jsonl.gz")
PREFERENCE = ("hh_harmless_test.jsonl.gz", "hh_helpful_test.jsonl.gz")
ROLES = "(?m)^(Human|Assistant): ?"  # hh-rlhf's rows carry them, alpaca's do not: they are no content


def files(data: Path, folder: str, names: tuple[str, ...]) -> str:
    """A list in YAML; quotes keep a path's spaces and signs."""
    return "[" + ",".join(f"'{data / folder / name}'" for name in names) + "]"


def main(more: list[str]) -> None:
    """Run the command, then put its numbers and figures into this folder."""
    if "XRIGHT_DATA" not in os.environ:
        sys.exit("XRIGHT_DATA must name the folder with sft/, pref/ and tokenizer_gptneox/.")
    data = Path(os.environ["XRIGHT_DATA"]).resolve()
    settings = [
        f"sft={files(data, 'sft', SFT)}", f"preference={files(data, 'pref', PREFERENCE)}", f"strip='{ROLES}'",
        f"tokenizer='{data / 'tokenizer_gptneox'}'", f"out={OUT}",
    ]  # fmt: skip
    subprocess.run([sys.executable, "-m", "xright.similarity", *settings, *more], check=True)
    told = json.loads((OUT / "similarity.json").read_text(encoding="utf-8"))
    parts = [f"{told['rows']['sft']:,} SFT rows, {told['rows']['preference']:,} preference rows.\n"]
    for name, found in told["measures"].items():
        shutil.copy(OUT / f"similarity-{name}.png", HERE)
        parts += [in_words(name, found), f"![Closest input pairs and their responses](similarity-{name}.png)\n"]
    about = ", ".join(f"{name} {version}" for name, version in versions().items())
    between_markers(HERE / "README.md", "\n".join([*parts, f"Took {told['seconds']:.0f} s; {about}.\n"]))


if __name__ == "__main__":
    main(sys.argv[1:])
