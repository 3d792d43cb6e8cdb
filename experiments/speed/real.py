"""A real chat model under the race: SmolLM2-135M-Instruct, on rows of alpaca-gpt4 and PKU-SafeRLHF in its template."""

import gzip
import json
import os
import random
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rows import Round
from setting import Setting
from torch import nn
from transformers import AutoTokenizer

from xright import models
from xright.data.prompts import encode
from xright.data.rows import Row
from xright.data.stream import Stream
from xright.data.templates import Template

LORA = {"r": 16, "alpha": 32, "dropout": 0.0, "target_modules": ["q_proj", "v_proj"]}


def rows_of(data: Path, tokenizer: Any, longest: int) -> dict[str, list[Row]]:
    """SFT rows and pairs in the tokenizer's chat template, of at most `longest` tokens.

    data: a folder with sft/alpaca_gpt4_demo.jsonl and pref/pku_saferlhf_test.jsonl.gz.
    """
    plain = [json.loads(line) for line in (data / "sft/alpaca_gpt4_demo.jsonl").read_text("utf-8").splitlines()]
    with gzip.open(data / "pref/pku_saferlhf_test.jsonl.gz", "rt", encoding="utf-8") as file:
        pairs = [json.loads(line) for line in file]
    asked = ({"prompt": f"{r['instruction']}\n{r['input']}".strip(), "response": r["output"]} for r in plain)
    streams = Stream("sft", "completions"), Stream("preference", "pairs")
    found = zip(streams, (list(asked), pairs), strict=True)
    return {stream.name: list(encode(rows, stream, Template("chat"), tokenizer, longest)[0]) for stream, rows in found}


@dataclass(frozen=True)
class Real(Setting):
    """The model of a folder, trained through LoRA or in full, and steps of its rows, drawn by a seed; `lengths` says
    how many and how long they are at most."""

    folder: str = "models/smollm2"
    data: str = os.environ.get("XRIGHT_DATA", "")

    @cached_property
    def tokenizer(self) -> Any:
        """The model's own."""
        return AutoTokenizer.from_pretrained(self.folder)

    @cached_property
    def rows(self) -> dict[str, list[Row]]:
        """All there are."""
        return rows_of(Path(self.data), self.tokenizer, self.lengths.longest)

    def held_out(self, prompts: int) -> Round:
        """All pairs of some prompts, as such a split has them, and as many SFT rows; with π_ref's log-probs."""
        draw, pairs = random.Random(1), self.rows["preference"]
        kept = draw.sample(sorted({tuple(row.prompt) for row in pairs}), prompts)
        own = [row for row in pairs if tuple(row.prompt) in kept]
        (found,) = self.with_reference([{"sft": draw.sample(self.rows["sft"], len(own)), "preference": own}])
        return found

    def base(self) -> nn.Module:
        """π_ref; a fresh copy, fp32."""
        return models.load(self.folder)

    def adapter(self) -> dict[str, Any]:
        """As in the studies of experiments/real_model."""
        return LORA

    def rounds(self, count: int, first: int) -> list[Round]:
        """As for random rows; the warm-up's are the shortest there are."""
        draw, found = random.Random(0), {}
        for stream, rows in self.rows.items():
            size = {"sft": self.lengths.sft, "preference": self.lengths.pairs}[stream]
            shortest = sorted(rows, key=length)[:size]
            others = draw.sample([row for row in rows if row not in shortest], size * count)
            found[stream] = [shortest, *(others[begin : begin + size] for begin in range(0, len(others), size))]
        return self.with_reference([dict(zip(found, one, strict=True)) for one in zip(*found.values(), strict=True)])


def length(row: Row) -> int:
    """Tokens of its prompt and responses."""
    return len(row.prompt) + sum(map(len, row.responses))
