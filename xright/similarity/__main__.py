"""`python -m xright.similarity sft=… preference=… tokenizer=… [model=…]`: numbers, pairs and figure of fig 7."""

import argparse
import json
import os
import sys
import textwrap
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from xright.errors import UserError, check_number
from xright.run import CONF

DEFAULTS = CONF / "similarity.yaml"
SHOWN = {  # column of the pairs: in words
    "input_similarity": "closest inputs",
    "response_similarity": "their responses",
    "random_response_similarity": "responses of random pairs",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the numbers of each measure and, last, the path of similarity.json. Exit code 2 for bad input."""
    given = _parser().parse_args(arguments).settings
    try:
        print(compare(**settings(given)))
    except UserError as error:
        print(f"xright: {error}", file=sys.stderr)
        return 2
    return 0


def settings(given: Sequence[str]) -> dict[str, Any]:
    """conf/similarity.yaml with `key=value`s put in; UserError for one that it does not know."""
    config = OmegaConf.load(DEFAULTS)
    for text in given:
        key, equals, _ = text.partition("=")
        if not equals or key.split(".")[0] not in config:
            raise UserError(f"{text!r} is no setting; give key=value, with a key of {', '.join(map(str, config))}.")
    try:
        found: Any = OmegaConf.to_container(OmegaConf.merge(config, OmegaConf.from_dotlist(list(given))), resolve=True)
    except (OmegaConfBaseException, YAMLError) as error:
        reason = " ".join(str(error).split())[:200].rstrip(".")
        raise UserError(
            f"{' '.join(given)!r} cannot be read ({reason}); put quotes around values with signs."
        ) from error
    return found


def compare(
    sft: Any,
    preference: Any,
    answer: str,
    strip: str | None,
    tokenizer: str | None,
    model: str | None,
    batch_size: int,
    max_length: int,
    seed: int,
    out: str,
) -> Path:
    """As conf/similarity.yaml has them. Writes pairs-<measure>.csv and similarity-<measure>.{png,pdf} for each measure,
    then similarity.json, and returns its path. UserError for bad input.
    """
    from xright.machine.quiet import quiet
    from xright.similarity.closest import Side, pair_up, summary
    from xright.similarity.figure import save_figure
    from xright.similarity.texts import measures, read_texts

    quiet()
    check_number("seed", seed, lambda x: isinstance(x, int) and x >= 0, "a whole number >= 0")
    started, folder = time.perf_counter(), Path(out)
    texts = read_texts(sft, preference, answer, strip)
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {}
    for name, measure in measures(tokenizer, model, batch_size, max_length):
        sides = {stream: Side(measure(inputs), measure(responses)) for stream, (inputs, responses) in texts.items()}
        pairs = pair_up(sides["sft"], sides["preference"], seed)
        pairs.to_csv(folder / f"pairs-{name}.csv", index=False, float_format="%.6f")
        save_figure(name, pairs, folder)
        found[name] = summary(pairs) | {"texts_cut": getattr(measure, "cut", 0)}
        print(in_words(name, found[name]))
    told = {
        "rows": {stream: len(inputs) for stream, (inputs, _) in texts.items()},
        "measures": found,
        "settings": {"sft": sft, "preference": preference, "answer": answer, "strip": strip, "tokenizer": tokenizer,
                     "model": model, "max_length": max_length, "seed": seed},
        "seconds": round(time.perf_counter() - started, 1),
    }  # fmt: skip
    draft = folder / "similarity.json.tmp"
    draft.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    os.replace(draft, folder / "similarity.json")
    return folder / "similarity.json"


def in_words(name: str, found: Mapping[str, Any]) -> str:
    """A measure's numbers as a Markdown table and a line."""
    quantiles = [key for key in found["input_similarity"] if key not in ("mean", "median")]
    heads = [f"cosine ({name})", "mean", "median", *(f"{100 * float(key.split('_')[1]):g} %" for key in quantiles)]
    rows = [
        [words, *(f"{found[column][key]:.3f}" for key in ("mean", "median", *quantiles))]
        for column, words in SHOWN.items()
    ]
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    return (
        f"{table}\nPreference rows whose input is an SFT input too: {found['same_inputs']}. "
        f"Rank correlation of the similarity of inputs and of responses: {found['rank_correlation']:.2f}.\n"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m xright.similarity",
        usage="%(prog)s sft=FILE preference=FILE tokenizer=FOLDER [model=FOLDER] [key=value …]",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="How alike SFT and preference data are: for each preference row the SFT row with the closest\n"
        "input, and how alike their responses are. The last line printed is the path of similarity.json.",
        epilog=f"Settings\n{textwrap.indent(DEFAULTS.read_text(encoding='utf-8'), '  ')}",
    )
    parser.add_argument("settings", nargs="*", metavar="key=value")
    return parser


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    sys.exit(main())
