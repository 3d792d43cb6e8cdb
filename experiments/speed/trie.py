"""What it buys that rows of a step have their first tokens in common: tokens and processor time of a real chat model.

`python experiments/speed/trie.py MODEL` with XRIGHT_DATA=folder (alpaca-gpt4 and PKU-SafeRLHF rows): each line is laid
out twice, every row by itself (a pair shares its prompt, nothing else is shared) and as a trie, one after the other in
one process. The table goes into `trie.md`. `make trie`.
"""

import gzip
import json
import os
import random
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from time import process_time
from unittest.mock import patch

import pandas as pd
import torch
from measure import about
from torch import nn
from transformers import AutoTokenizer

from xright import models
from xright.data.prompts import encode
from xright.data.rows import Row
from xright.data.stream import Stream
from xright.data.templates import Template
from xright.forward import collate as layout
from xright.forward.batch import Batch
from xright.forward.logprobs import response_logps
from xright.forward.order import chunks
from xright.forward.packing import choose_layout
from xright.forward.trie import Branch, share

sys.path.insert(0, str(Path(__file__).parents[1]))
from publish import between_markers

HERE = Path(__file__).parent
LORA = {"r": 16, "alpha": 16, "dropout": 0.0, "target_modules": ["q_proj", "v_proj"]}
LONGEST = 192  # tokens of a row
ROUNDS = 3
PROMPTS, TOGETHER = 25, 32  # of the forward-only work: distinct prompts, and rows of a forward
Lines = tuple[list[int], tuple[Branch, ...], list[list[int]]]


def rows_of(data: Path, tokenizer: object) -> dict[str, Sequence[Row]]:
    """SFT rows and pairs, in the tokenizer's chat template."""
    plain = [json.loads(line) for line in (data / "sft/alpaca_gpt4_demo.jsonl").read_text("utf-8").splitlines()]
    with gzip.open(data / "pref/pku_saferlhf_test.jsonl.gz", "rt", encoding="utf-8") as file:
        pairs = [json.loads(line) for line in file]
    asked = ({"prompt": f"{r['instruction']}\n{r['input']}".strip(), "response": r["output"]} for r in plain)
    streams = Stream("sft", "completions"), Stream("preference", "pairs")
    found = zip(streams, (list(asked), pairs), strict=True)
    return {stream.name: encode(rows, stream, Template("chat"), tokenizer, LONGEST)[0] for stream, rows in found}


def apart(rows: Sequence[Row]) -> Batch:
    """A packed line in which only the responses of one row share tokens."""

    def by_row(sequences: Sequence[list[int]]) -> Lines:
        line: list[int] = []
        branches: tuple[Branch, ...] = ()
        places: list[list[int]] = [[]] * len(sequences)
        for number in range(len(rows)):
            own, its, where = share(sequences[number :: len(rows)])
            places[number :: len(rows)] = [[len(line) + place for place in path] for path in where]
            line, branches = line + own, branches + its
        return line, branches, places

    with patch.object(layout, "share", by_row):
        return replace(layout.collate(rows, 0, "packed"), distinct_M=None, which_N=None)


def together(rows: Sequence[Row]) -> Batch:
    """The line as it is trained on."""
    return layout.collate(rows, 0, "packed")


def step(policy: nn.Module, batch: Batch) -> float:
    """Log-probs and their gradients."""
    loss = response_logps(policy, batch)[0].mean()
    loss.backward()
    policy.zero_grad()
    return float(loss.detach())


@torch.no_grad()
def forward(policy: nn.Module, batch: Batch) -> float:
    """Log-probs alone."""
    return float(response_logps(policy, batch)[0].mean())


def timed(work: Callable, policy: nn.Module, batches: Callable[[], Iterable[Batch]]) -> tuple[float, int, int]:
    """Processor time, tokens computed, and tokens of the rows."""
    started, computed, tokens = process_time(), 0, 0
    for batch in batches():
        work(policy, batch)
        computed, tokens = computed + batch.input_ids_LT.numel(), tokens + batch.n_input_tokens
    return process_time() - started, computed, tokens


def measure(folder: str, data: Path) -> pd.DataFrame:
    """A row per kind of work and round: tokens of both, and the time of the trie over the other's."""
    rows = rows_of(data, AutoTokenizer.from_pretrained(folder))
    policy = models.trainable(models.load(folder), LORA, False, seed=0)
    assert choose_layout(policy, "packed") == "packed"
    draw, found = random.Random(0), []

    def race(name: str, work: Callable, ours: Callable, theirs: Callable) -> None:
        one, other = timed(work, policy, theirs), timed(work, policy, ours)
        found.append({"work": name, "tokens": one[2], "apart": one[1], "trie": other[1], "time": other[0] / one[0]})
        print(found[-1], flush=True)

    for number in range(ROUNDS + 1):
        for stream, count in (("sft", 8), ("sft", 24), ("preference", 4), ("preference", 8)):
            some = [rows[stream][draw.randrange(len(rows[stream]))] for _ in range(count)]
            strange = [replace(row, prompt=[draw.randrange(30000) for _ in row.prompt]) for row in some]
            name = f"step of {count} {'pairs' if stream == 'preference' else 'SFT rows'}"
            race(name, step, lambda r=some: [together(r)], lambda r=some: [apart(r)])
            if name in ("step of 8 SFT rows", "step of 4 pairs"):
                race(f"{name} with random prompts", step, lambda r=strange: [together(r)], lambda r=strange: [apart(r)])
        if number == 0:
            found.clear()  # warmed up
    kept = set(draw.sample(sorted({tuple(row.prompt) for row in rows["preference"]}), PROMPTS))
    pairs = [row for row in rows["preference"] if tuple(row.prompt) in kept]
    by_prompt, by_length = (chunks(pairs, TOGETHER, kind) for kind in ("packed", "padded"))
    for _ in range(ROUNDS):
        name = f"log-probs of {len(pairs)} pairs, {PROMPTS} prompts, {TOGETHER} at a time"
        race(name, forward, lambda: map(together, by_prompt), lambda: map(apart, by_length))
    return pd.DataFrame(found)


def table(found: pd.DataFrame) -> str:
    """Markdown: means of tokens, the median of the time ratios and their range."""
    lines = ["| work | tokens of the rows | each row by itself | a trie | tokens | time (range) |"]
    lines.append("| --- |" + " ---: |" * 5)
    for name, own in found.groupby("work", sort=False):
        tokens, by_row, trie = (own[column].mean() for column in ("tokens", "apart", "trie"))
        time = own["time"] - 1
        times = f"{time.median():+.1%} ({time.min():+.1%} to {time.max():+.1%})"
        lines.append(f"| {name} | {tokens:,.0f} | {by_row:,.0f} | {trie:,.0f} | {trie / by_row - 1:+.1%} | {times} |")
    machine = about()
    versions = ", ".join(f"{name} {machine['versions'][name]}" for name in ("xright", "torch", "transformers"))
    lines += ["", f"Processor time on {machine['cpu']} ({machine['isa']}), one thread; {versions}."]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    torch.set_num_threads(1)
    results = table(measure(sys.argv[1], Path(os.environ["XRIGHT_DATA"])))
    print(results)
    between_markers(HERE / "trie.md", results)
