"""The model that every contestant of a race trains: the same weights, random, and the rows' reference log-probs."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from rows import Lengths, Round, draw
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn
from transformers import PreTrainedTokenizerFast

from xright.models import build, trainable
from xright.optim import Optim
from xright.pipeline.reference import reference_logps

LORA = {"r": 32, "alpha": 32, "dropout": 0.0, "target_modules": ["query_key_value"]}  # the paper's
FULL = {"r": 0}
BETA = 0.1
CLIP = 1.0
# So small that no weight moves (though every update is computed): all rounds and contestants see the same function,
# and their losses can be compared in every round.
OPTIM = Optim(lr=1e-12, clip=CLIP)


@dataclass(frozen=True)
class Setting:
    """A GPT-NeoX with random weights, trained through LoRA or in full, and the batches it gets."""

    vocabulary: int = 8192
    lora: bool = True
    hidden: int = 256
    layers: int = 6
    heads: int = 4
    lengths: Lengths = field(default_factory=Lengths)
    noise: float = 0.02  # between π_ref and the policy

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerFast:
        """Token i is the word `w<i>`; token 0 is EOS and padding."""
        words = {"</s>": 0} | {f"w{i}": i for i in range(1, self.vocabulary)}
        tokenizer = Tokenizer(models.WordLevel(words, unk_token="w1"))
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        tokenizer.add_special_tokens(["</s>"])
        return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", pad_token="</s>")

    def base(self) -> nn.Module:
        """π_ref; a fresh copy, fp32."""
        architecture = {
            "model_type": "gpt_neox", "hidden_size": self.hidden, "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads, "intermediate_size": 4 * self.hidden, "max_position_embeddings": 4096,
        }  # fmt: skip
        return build(architecture, self.tokenizer, seed=0)

    def policy(self) -> nn.Module:
        """A fresh copy of the policy: π_ref and a little noise on what is trained, so that no gradient is zero."""
        policy = trainable(self.base(), self.adapter() if self.lora else FULL, gradient_checkpointing=False, seed=0)
        torch.manual_seed(1)
        with torch.no_grad():
            for parameter in policy.parameters():
                if parameter.requires_grad:
                    parameter.add_(torch.randn_like(parameter), alpha=self.noise)
        return policy

    def adapter(self) -> dict[str, Any]:
        """The LoRA of the paper."""
        return LORA

    def rounds(self, count: int, first: int) -> list[Round]:
        """A warm-up round of rows of at most `first` tokens, and `count` more; with π_ref's log-probs."""
        lengths = [replace(self.lengths, longest=first)] + [self.lengths] * count
        return self.with_reference([draw(one, self.vocabulary, seed) for seed, one in enumerate(lengths)])

    def with_reference(self, rounds: Sequence[Round]) -> list[Round]:
        """The rounds with π_ref's log-probs on their pairs."""
        pairs = [row for rows in rounds for row in rows["preference"]]
        ids, logps = reference_logps(self.base(), pairs, pad=0, layout="padded")
        table = dict(zip(ids.tolist(), map(tuple, logps.tolist()), strict=True))
        return [
            rows | {"preference": [replace(row, reference=table[row.id]) for row in rows["preference"]]}
            for rows in rounds
        ]
