"""Rows that the base writes itself: what objective `Memory` learns, so that the base is not forgotten.

They are sampled at temperature 1, once, in fp32, and kept as a stage of the cache: tokens as
`data/tokenised.py` keeps them, and `texts.jsonl` for people. A row begins with a prompt of another stream of the run
(training rows with training prompts, held-out rows with held-out ones, in an order drawn from the seed), with a text of
the user's, or with the tokenizer's beginning-of-text token. Its response is what the base wrote, token by token, with
the token at which it ended, where it did so within max_new_tokens: the likelihood is that of the samples themselves.
A response that ends at once is a sample as any other, and is kept: without it, f* would not be the base's.

A row is a function of (seed, split, its number) and its prompt; which rows are sampled together no setting decides. A
kill costs the sampling: it begins anew, and gives the same rows.
"""

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn
from tqdm import tqdm

from xright.cache import cached_stage
from xright.data.corpus import Corpus
from xright.data.prompts import Row, row_id
from xright.data.rows import Rows
from xright.data.stream import Stream
from xright.data.templates import with_line_breaks
from xright.data.tokenised import read, write
from xright.data.tokenizer_identity import chat_identity, tokenizer_identity
from xright.data.tokens import Tokens
from xright.errors import UserError
from xright.evaluation.answers import batches_of, seed_of
from xright.evaluation.generate import Sampled, ends, written
from xright.machine.files import hash_of
from xright.machine.ranks import is_first

log = logging.getLogger(__name__)

VERSION = 1  # of the sampling; raise it when it comes to give other rows, or caches go stale
BATCH = 32  # rows that are sampled together
SPLITS = ("train", "eval")


@dataclass(frozen=True)
class Begun:
    """Rows to be written: their prompts, and how many tokens each may get, both as lists in the rows' order."""

    prompts: list[list[int]]
    room: list[int]


def begun(stream: Stream, split: str, corpus: Corpus) -> Begun:
    """What the rows of a sampled stream begin with. UserError where nothing does, or leaves no room."""
    tokens, n = Tokens(corpus.tokenizer), stream.rows if split == "train" else stream.eval_rows or stream.rows
    if stream.prompts is not None:
        rows = corpus.rows(stream.prompts, split)
        order = np.random.default_rng((stream.seed, SPLITS.index(split))).permutation(len(rows))
        prompts = [rows[int(order[i % len(rows)])].prompt for i in range(n)]
    elif stream.opening is not None:
        prompts = [tokens.begin(tokens.ids([with_line_breaks(stream.opening, "opening")])[0])] * n
    else:
        bos = corpus.tokenizer.bos_token_id
        prompts = [tokens.bos or ([] if bos is None else [bos])] * n
    if not all(prompts):
        raise UserError(
            f"data.streams.{stream.name} has nothing to begin with: the tokenizer has no beginning-of-text token; give "
            f"data.streams.{stream.name}.opening=TEXT, or .prompts=STREAM."
        )
    room = [min(stream.max_new_tokens, corpus.max_length - len(prompt)) for prompt in prompts]
    if min(room) < 1:
        raise UserError(
            f"data.streams.{stream.name}.opening={stream.opening!r} fills data.max_length={corpus.max_length} tokens "
            "and leaves no room; shorten it."
        )
    return Begun(prompts, room)


def longest(stream: Stream, split: str, corpus: Corpus) -> Rows:
    """Rows in the place of those to come, each as long as it may become, for checks before anything is sampled."""
    rows = begun(stream, split, corpus)
    lengths_NS = np.array([[len(prompt), room] for prompt, room in zip(rows.prompts, rows.room, strict=True)])
    tokens = np.zeros(lengths_NS.max(), dtype=np.int32)
    return Rows((tokens,), np.arange(len(lengths_NS)), np.zeros_like(lengths_NS), lengths_NS)


def sampled(
    stream: Stream, split: str, corpus: Corpus, *, base: dict[str, Any], model: Callable[[], nn.Module]
) -> Rows:
    """The rows that the base has written, from the cache, or written now; says what they are like whenever it is asked.

    base: what identifies it. model: loads it, in fp32. Raises UserError as `begun`, and where all rows are empty.
    """
    rows, tokenizer = begun(stream, split, corpus), corpus.tokenizer
    key = {
        **base, "begun": hash_of([rows.prompts, rows.room]), "rows": len(rows.room), "split": split,
        "seed": stream.seed, "temperature": 1,
        "tokenizer": tokenizer_identity(tokenizer), "chat": chat_identity(tokenizer),
        "versions": {"memory": VERSION, **{name: version(name) for name in ("torch", "transformers")}},
    }  # fmt: skip

    def build(folder: Path) -> dict[str, Any]:
        policy = model().eval()
        last = set(ends(policy, tokenizer))
        seeds = [seed_of(stream.seed, f"{split} {number}") for number in range(len(rows.room))]
        found = _written(policy, tokenizer, rows, seeds)
        if is_first():
            write(folder, [found])
            _write_texts(folder / "texts.jsonl", found, tokenizer)
        said = [row.responses[0] for row in found]
        empty = sum(len(ids) == 1 and ids[0] in last for ids in said)
        if empty == len(found):
            raise UserError(
                f"All {empty} rows that the base wrote for data.streams.{stream.name} end at once, so there is "
                f"nothing to remember; give data.streams.{stream.name}.prompts=STREAM or another .opening."
            )
        cut = sum(ids[-1] not in last for ids in said)
        return {"rows": len(found), "tokens": sum(map(len, said)), "empty": empty, "cut": cut}

    stage = cached_stage("memory", key, build)
    told = stage.result
    log.info(
        "%s/%s: %d rows written by the base, %.1f tokens each; %d end at once, %d are cut off; to read: %s",
        stream.name, split, told["rows"], told["tokens"] / told["rows"], told["empty"], told["cut"],
        stage.folder / "texts.jsonl",
    )  # fmt: skip
    return read(stage.folder, told["rows"])


def base_value(rows: Rows) -> float:
    """Nats per token of rows that carry their log-probs under the base: f* of `Memory` on them."""
    assert rows.reference_NR is not None
    return float(-rows.reference_NR[:, 0].sum() / rows.lengths_NS[:, 1].sum())


def beside_base(train_rows: Rows, evaluation: Rows) -> tuple[Rows, Rows]:
    """Both as `Memory` takes them, from rows that carry their log-probs under the base: with the base's nats per token
    on the held-out rows added for each token, which is what is added to −log π."""
    value = base_value(evaluation)
    return _beside(train_rows, value), _beside(evaluation, value)


def _beside(rows: Rows, value: float) -> Rows:
    assert rows.reference_NR is not None
    return replace(rows, reference_NR=rows.reference_NR + value * rows.lengths_NS[:, 1:])


def _written(policy: Any, tokenizer: Any, rows: Begun, seeds: Sequence[int]) -> list[Row]:
    """The rows in their order, with what the model says after each prompt."""
    found: dict[int, list[int]] = {}
    for batch in tqdm(batches_of(rows.room, BATCH), desc="rows of the base", disable=None if is_first() else True):
        draws = Sampled(1.0, [seeds[i] for i in batch])
        prompts = [rows.prompts[i] for i in batch]
        found |= zip(batch, written(policy, tokenizer, prompts, rows.room[batch[0]], sampled=draws), strict=True)
    answers = [found[i] for i in range(len(seeds))]
    return [Row(row_id(p, answer), p, (answer,)) for p, answer in zip(rows.prompts, answers, strict=True)]


def _write_texts(file: Path, rows: Sequence[Row], tokenizer: Any) -> None:
    """What people read: prompts and responses as text, control tokens included, a row a line."""

    def lines() -> Iterator[str]:
        for row in rows:
            yield json.dumps({"prompt": tokenizer.decode(row.prompt), "response": tokenizer.decode(row.responses[0])})

    file.write_text("".join(f"{line}\n" for line in lines()), encoding="utf-8")
