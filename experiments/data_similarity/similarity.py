"""How alike SFT and preference data are: for each preference row the SFT row with the closest input, and how alike
their responses are. Writes pairs-<measure>.csv, similarity-<measure>.{png,pdf} for each, and similarity.json."""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent))
from closest import Side, pair_up, rank_correlation, same_inputs, summary, table
from pairs_figure import similarity_figure
from texts import read_texts
from vectors import Embedder, counts

from xright import models
from xright.analysis.figures.drawing import save
from xright.analysis.text.tables import markdown
from xright.errors import UserError

EXAMPLES = """examples:
  similarity.py --sft a.jsonl --preference b.jsonl --tokenizer FOLDER
  similarity.py --sft a.jsonl --preference b.jsonl --model FOLDER          # sentence embeddings, too
  similarity.py --sft '{path: vicgalle/alpaca-gpt4, limit: 24000}' \\
      --preference '{path: Dahoas/rm-hh-rlhf, limit: 8000}' --tokenizer EleutherAI/pythia-1b"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the numbers of each measure and, last, the path of similarity.json. Exit code 2 for bad input."""
    parser = _parser()
    given = parser.parse_args(arguments)
    try:
        print(compare(**vars(given)))
    except UserError as error:
        parser.error(str(error))


def compare(
    *,
    sft: Sequence[str],
    preference: Sequence[str],
    answer: str,
    strip: str | None,
    tokenizer: str | None,
    model: str | None,
    batch_size: int,
    max_length: int,
    seed: int,
    out: Path,
) -> Path:
    """The path of similarity.json; for the arguments see --help. UserError for bad input."""
    started, asked = time.perf_counter(), {name: value for name, value in locals().items() if name != "out"}
    if not (named := tokenizer or model):
        raise UserError("Name a tokenizer's folder (or hub name), a model's, or both.")
    words = models.load_tokenizer(named)
    measures: dict[str, Any] = {"tokens": lambda texts: counts(texts, words)}
    if model:
        measures["model"] = Embedder(model, batch_size, max_length)
    texts = read_texts(_data(sft), _data(preference), answer, strip)
    out.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {}
    for name, measure in measures.items():
        sides = {stream: Side(measure(inputs), measure(responses)) for stream, (inputs, responses) in texts.items()}
        pairs = pair_up(sides["sft"], sides["preference"], seed)
        pairs.to_csv(out / f"pairs-{name}.csv", index=False, float_format="%.6f")
        figure = similarity_figure((name, pairs))
        for kind in ("png", "pdf"):
            save(figure, out / f"similarity-{name}.{kind}")
        found[name] = {"same_inputs": same_inputs(pairs), "rank_correlation": rank_correlation(pairs)}
        found[name] |= summary(pairs).T.to_dict()
        print(in_words(name, pairs))
    rows = {stream: len(inputs) for stream, (inputs, _) in texts.items()}
    told = {"rows": rows, "measures": found, "settings": asked, "seconds": round(time.perf_counter() - started, 1)}
    (out / "similarity.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return out / "similarity.json"


def in_words(measure: str, pairs: Any) -> str:
    """A measure's numbers as a Markdown table and a line."""
    return (
        f"{markdown(table(pairs, measure))}\nPreference rows whose input is an SFT input too: {same_inputs(pairs)}.\n"
    )


def _data(given: Sequence[str]) -> Any:
    """Paths as they are; {path: …, limit: …} as the options of a stream."""
    if len(given) > 1 or not given[0].startswith("{"):
        return list(given)
    try:
        return yaml.safe_load(given[0])
    except yaml.YAMLError as error:
        raise UserError(f"{given[0]!r} cannot be read as options; put quotes around values with signs.") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    data = "files, a hub dataset, or {path: …, split: …, columns: …, limit: …} as of a stream in conf/data"
    add("--sft", metavar="DATA", nargs="+", required=True, help=data)
    add("--preference", metavar="DATA", nargs="+", required=True, help="likewise")
    add("--answer", choices=("chosen", "rejected"), default="chosen", help="which response of a pair (chosen)")
    add("--strip", metavar="REGEX", help="what does not count, such as '(?m)^(Human|Assistant): ?' of hh-rlhf's roles")
    add("--tokenizer", metavar="FOLDER", help="compare counts of its tokens; default: the model's tokenizer")
    add("--model", metavar="FOLDER", help="compare its sentence embeddings, too (mean of the last hidden states)")
    add("--batch-size", type=_from(1), default=32, help="texts per forward of the model (32)")
    add("--max-length", type=_from(1), default=512, help="tokens of a text that the model looks at (512)")
    add("--seed", type=_from(0), default=0, help="of the random pairs that show the chance level (0)")
    add("--out", metavar="FOLDER", type=Path, default=Path("similarity"), help="where to write to (similarity)")
    return parser


def _from(least: int) -> Callable[[str], int]:
    def whole_number(text: str) -> int:
        if int(text) < least:
            raise argparse.ArgumentTypeError(f"{text} must be a whole number >= {least}")
        return int(text)

    return whole_number


if __name__ == "__main__":
    main()
