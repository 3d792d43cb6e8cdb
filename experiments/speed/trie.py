"""What it buys that rows of a step have their first tokens in common: tokens and processor time of a real chat model.

`python experiments/speed/trie.py MODEL [NAME]` with XRIGHT_DATA=folder (alpaca-gpt4 and PKU-SafeRLHF rows): each line
is laid out twice, every row by itself (a pair shares its prompt, nothing else is shared) and as a trie, in one process,
in the order one, other, other, one; of each the faster counts, as other programs can only make it slower. Beside it,
whether a step of both streams is better off as one line than as two. Each round goes into `trie.csv`, and the table
into `trie.md`; NAME: only work that has this in its name, beside what is in `trie.csv`. `make trie`
"""

import os
import random
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from time import process_time

import pandas as pd
import torch
from measure import about
from real import LORA, rows_of
from steps import apart
from torch import nn
from transformers import AutoTokenizer

from xright import models
from xright.data.rows import Row
from xright.forward import collate as layout
from xright.forward.batch import Batch
from xright.forward.logprobs import response_logps
from xright.forward.order import chunks
from xright.forward.packing import choose_layout

sys.path.insert(0, str(Path(__file__).parents[1]))
from publish import between_markers

HERE = Path(__file__).parent
LONGEST = 192  # tokens of a row
ROUNDS = 6
BOTH = "step of 8 SFT rows and 4 pairs: one line, against two"
PROMPTS, TOGETHER = 25, 32  # of the forward-only work: distinct prompts, and rows of a forward


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


def measure(folder: str, data: Path, only: str = "") -> pd.DataFrame:
    """A row per kind of work and round: tokens and seconds of both."""
    rows = rows_of(data, AutoTokenizer.from_pretrained(folder), LONGEST)
    policy = models.trainable(models.load(folder), LORA, False, seed=0)
    assert choose_layout(policy, "packed") == "packed"
    draw, found = random.Random(0), []

    def race(name: str, work: Callable, ours: Callable, theirs: Callable) -> None:
        if only not in name:
            return
        one, other, again, last = (timed(work, policy, lines) for lines in (theirs, ours, ours, theirs))
        counts = {"tokens": one[2], "apart": one[1], "trie": other[1]}
        found.append({"work": name, **counts, "apart_s": min(one[0], last[0]), "trie_s": min(other[0], again[0])})
        print(found[-1], flush=True)

    for number in range(ROUNDS + 1):
        for stream, count in (("sft", 8), ("sft", 24), ("preference", 4), ("preference", 8)):
            some = [rows[stream][draw.randrange(len(rows[stream]))] for _ in range(count)]
            strange = [replace(row, prompt=[draw.randrange(30000) for _ in row.prompt]) for row in some]
            name = f"step of {count} {'pairs' if stream == 'preference' else 'SFT rows'}"
            race(name, step, lambda r=some: [together(r)], lambda r=some: [apart(r)])
            if name in ("step of 8 SFT rows", "step of 4 pairs"):
                race(f"{name} with random prompts", step, lambda r=strange: [together(r)], lambda r=strange: [apart(r)])
        mixed = random.Random(number)
        eight, four = (mixed.sample(rows[stream], count) for stream, count in (("sft", 8), ("preference", 4)))
        single = [replace(row, responses=(one,), reference=None) for row in four for one in row.responses]
        one, two = (lambda r=[*eight, *single]: [together(r)]), (lambda r=(eight, four): map(together, r))
        race(BOTH, step, one, two)
        if number == 0:
            found.clear()  # warmed up
    kept = set(draw.sample(sorted({tuple(row.prompt) for row in rows["preference"]}), PROMPTS))
    pairs = [row for row in rows["preference"] if tuple(row.prompt) in kept]
    by_prompt, by_length = (chunks(pairs, TOGETHER, kind) for kind in ("packed", "padded"))
    for _ in range(ROUNDS // 2):
        name = f"log-probs of {len(pairs)} pairs, {PROMPTS} prompts, {TOGETHER} at a time"
        race(name, forward, lambda: map(together, by_prompt), lambda: map(apart, by_length))
    return pd.DataFrame(found)


def kept(only: str) -> pd.DataFrame:
    """What is in `trie.csv` of other work."""
    if not only:
        return pd.DataFrame()
    before = pd.read_csv(HERE / "trie.csv")
    return before[~before["work"].str.contains(only, regex=False)]


def saved(rounds: pd.DataFrame, trie: str, apart: str) -> float:
    """Σ over rounds of the one over that of the other, minus 1."""
    return rounds[trie].sum() / rounds[apart].sum() - 1


def table(found: pd.DataFrame) -> str:
    """Markdown: tokens and time of all rounds together, with a 95 % bootstrap interval over rounds."""
    lines = ["| work | tokens of the rows | each row by itself | a trie | tokens | time (95 % interval) |"]
    lines.append("| --- |" + " ---: |" * 5)
    for name, own in found.groupby("work", sort=False):
        tokens, by_row, trie = (own[column].mean() for column in ("tokens", "apart", "trie"))
        drawn = [
            saved(own.sample(len(own), replace=True, random_state=seed), "trie_s", "apart_s") for seed in range(500)
        ]
        low, high = pd.Series(drawn).quantile([0.025, 0.975])
        counts = f"{tokens:,.0f} | {by_row:,.0f} | {trie:,.0f} | {saved(own, 'trie', 'apart'):+.1%}"
        lines.append(f"| {name} | {counts} | {saved(own, 'trie_s', 'apart_s'):+.1%} ({low:+.1%} to {high:+.1%}) |")
    machine = about()
    versions = ", ".join(f"{name} {machine['versions'][name]}" for name in ("xright", "torch", "transformers"))
    lines += ["", f"Processor time on {machine['cpu']} ({machine['isa']}), one thread; {versions}."]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    torch.set_num_threads(1)
    only = "".join(sys.argv[2:])
    found = pd.concat([kept(only), measure(sys.argv[1], Path(os.environ["XRIGHT_DATA"]), only)])
    found.round(4).to_csv(HERE / "trie.csv", index=False)
    results = table(found)
    print(results)
    between_markers(HERE / "trie.md", results)
