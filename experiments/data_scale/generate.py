"""Generated rows of realistic length, in files, and a tokenizer for them: `python generate.py FOLDER N_SFT N_PAIRS`.

Each prompt and response is a span of words from one long text, at random places, so that prompts are all different
while their words have natural frequencies. The text is the real rows' where XRIGHT_DATA names them (`sft/`,
`tokenizer_gptneox/`); otherwise made-up words with Zipf's frequencies and a BPE of 8,000 tokens trained on them.
A row has some 60 to 300 tokens: 15 to 80 words of prompt, 30 to 150 of response.
"""

import gzip
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

PROMPT, RESPONSE = (15, 81), (30, 151)  # words


def real_words(folder: Path) -> list[str]:
    """The words of the real SFT rows, in their order."""
    words = []
    for file in sorted(folder.glob("sft/*.jsonl.gz")):
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            for line in lines:
                words += " ".join(value for value in json.loads(line).values() if isinstance(value, str)).split()
    return words


def made_up_words(rng: np.random.Generator, n: int = 500_000, different: int = 20_000) -> list[str]:
    """A text of n words of one to four syllables; the k-th word is 1/k as frequent as the first."""
    syllables = [a + b for a in "bdfgklmnprstvz" for b in ("a", "e", "i", "o", "u", "an", "er", "in")]
    known = ["".join(rng.choice(syllables, rng.integers(1, 5))) for _ in range(different)]
    frequencies = 1 / np.arange(1, different + 1)
    return [known[k] for k in rng.choice(different, n, p=frequencies / frequencies.sum())]


def small_bpe(words: list[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE of 8,000 tokens trained on the text."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=8000, special_tokens=["</s>"], initial_alphabet=alphabet, show_progress=False
    )
    core.train_from_iterator((" ".join(words[i : i + 1000]) for i in range(0, len(words), 1000)), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="</s>")


def spans(words: list[str], rng: np.random.Generator, length: tuple[int, int]) -> Iterator[str]:
    """Endless spans of so many words."""
    while True:
        for start, n in zip(rng.integers(0, len(words) - length[1], 1000), rng.integers(*length, 1000), strict=True):
            yield " ".join(words[start : start + n])


def write(path: Path, n: int, **columns: Iterator[str]) -> None:
    """n rows as jsonl."""
    with path.open("w", encoding="utf-8") as file:
        for _ in range(n):
            file.write(json.dumps({name: next(column) for name, column in columns.items()}) + "\n")


def main(folder: Path, n_sft: int, n_pairs: int) -> None:
    """`sft.jsonl`, `preference.jsonl` and `tokenizer/` in a folder."""
    rng = np.random.default_rng(0)
    data = os.environ.get("XRIGHT_DATA")
    words = real_words(Path(data)) if data else made_up_words(rng)
    tokenizer = AutoTokenizer.from_pretrained(Path(data) / "tokenizer_gptneox") if data else small_bpe(words)
    tokenizer.save_pretrained(folder / "tokenizer")
    prompts, responses = spans(words, rng, PROMPT), spans(words, rng, RESPONSE)
    write(folder / "sft.jsonl", n_sft, prompt=prompts, response=responses)
    write(folder / "preference.jsonl", n_pairs, prompt=prompts, chosen=responses, rejected=responses)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
