"""Models with random weights, in the shapes of known ones, and the arithmetic that a step on them takes.

FLOPs are the model's: two for each multiplication with a weight and for each pair of tokens in attention, forward;
twice that backward, but for weights that are frozen, whose gradient nobody needs. Of the head only predicted tokens
count. Nothing that is computed twice, and no padding. They are counted on *distinct* tokens, a pair's prompt once, as
the packed line has it; and on *all*, each sequence for itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn
from transformers import AutoModelForCausalLM, LlamaConfig

from xright.data.rows import Row
from xright.models import trainable
from xright.models.adapters import is_tied

LORA = {"r": 32, "alpha": 32, "dropout": 0.0, "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj"]}
FULL = {"r": 0}


class Work(NamedTuple):
    """tokens, predicted: of them by the head. pairs: of tokens that attend to each other, in one layer."""

    tokens: int
    predicted: int
    pairs: int


@dataclass(frozen=True)
class Shape:
    """A Llama. lora: through an adapter, on weights in bf16 where the device is a GPU; else all of it, in fp32."""

    name: str
    vocabulary: int
    hidden: int
    intermediate: int
    layers: int
    heads: int
    key_values: int
    tied: bool = True
    lora: bool = False

    @property
    def body(self) -> int:
        """Weights that multiply each token, of all layers."""
        attention = 2 * self.hidden**2 + 2 * self.hidden**2 * self.key_values // self.heads
        return self.layers * (attention + 3 * self.hidden * self.intermediate)

    @property
    def parameters(self) -> int:
        """All of them, but for the norms'."""
        return self.body + self.vocabulary * self.hidden * (1 if self.tied else 2)

    @property
    def bytes(self) -> int:
        """Weights, gradients and moments: what a GPU holds between steps, and gradients."""
        return self.parameters * (2 if self.lora else 16)

    def flops(self, work: Work) -> float:
        """Of one step, forward and backward."""
        weights = 2 * (self.body * work.tokens + self.vocabulary * self.hidden * work.predicted)
        attention = 4 * self.hidden * self.layers * work.pairs
        return (2 if self.lora else 3) * weights + 3 * attention

    def config(self, longest: int = 4096) -> LlamaConfig:
        """For rows of so many tokens at most."""
        return LlamaConfig(
            vocab_size=self.vocabulary, hidden_size=self.hidden, intermediate_size=self.intermediate,
            num_hidden_layers=self.layers, num_attention_heads=self.heads, num_key_value_heads=self.key_values,
            tie_word_embeddings=self.tied, max_position_embeddings=longest, bos_token_id=0, eos_token_id=0,
        )  # fmt: skip

    def policy(self, device: str, noise: float = 0.0, longest: int = 4096) -> nn.Module:
        """Built on the device, the same weights each time; noise: on each that is trained, so that it is not its own
        reference, and that an adapter is not at its start, where half of it has no gradient."""
        torch.manual_seed(0)
        dtype = torch.bfloat16 if self.lora and device == "cuda" else torch.float32
        with torch.device(device):
            model: Any = AutoModelForCausalLM.from_config(self.config(longest), dtype=dtype)
        assert is_tied(model) == self.tied
        policy = trainable(model, LORA if self.lora else FULL, gradient_checkpointing=False, seed=0)
        with torch.no_grad():
            for parameter in policy.parameters():
                if noise and parameter.requires_grad:
                    parameter.add_(torch.randn_like(parameter), alpha=noise)
        return policy


TINY = Shape("tiny", 300, hidden=32, intermediate=64, layers=2, heads=4, key_values=2)
SMALL = Shape("small", 4096, hidden=512, intermediate=1024, layers=4, heads=8, key_values=4)
M135 = Shape("135M", 49152, hidden=576, intermediate=1536, layers=30, heads=9, key_values=3)
B1 = Shape("1B", 128256, hidden=2048, intermediate=8192, layers=16, heads=32, key_values=8)
B8 = Shape("8B", 128256, hidden=4096, intermediate=14336, layers=32, heads=32, key_values=8, tied=False, lora=True)


def distinct(rows: Sequence[Row]) -> Work:
    """A pair's prompt counts once.

    >>> distinct([Row(0, [1, 2], ([3], [4, 5]))])  # 1 + 2 pairs in the prompt, then 3, then 3 + 4
    Work(tokens=5, predicted=3, pairs=13)
    """
    tokens = predicted = pairs = 0
    for row in rows:
        prompt = len(row.prompt)
        tokens, pairs = tokens + prompt, pairs + triangle(prompt)
        for response in map(len, row.responses):
            tokens, predicted = tokens + response, predicted + response
            pairs += response * prompt + triangle(response)
    return Work(tokens, predicted, pairs)


def everything(rows: Sequence[Row]) -> Work:
    """Each sequence counts for itself.

    >>> everything([Row(0, [1, 2], ([3], [4, 5]))])
    Work(tokens=7, predicted=3, pairs=16)
    """
    lengths = [(len(row.prompt), len(response)) for row in rows for response in row.responses]
    predicted = sum(response for _, response in lengths)
    return Work(sum(map(sum, lengths)), predicted, sum(triangle(sum(length)) for length in lengths))


def triangle(n: int) -> int:
    """1 + 2 + … + n."""
    return n * (n + 1) // 2
