"""Where a text's tokens begin and end: which special tokens stand around a prompt and a response.

- A prompt begins with what the tokenizer puts before a text (BOS or nothing), once, also if the text already
  has it. What the tokenizer puts *after* a text (EOS, SEP) is left out: the response follows. A chat-rendered
  prompt gets nothing: its template has written it.
- A response ends with exactly one EOS. Trailing EOS and the white space after them (ChatML: "<|im_end|>\\n")
  are cut first, so a template that ends its turns with EOS does not end them twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xright.errors import UserError


class Tokens:
    """A tokenizer with these conventions. Raises UserError if it has no EOS."""

    def __init__(self, tokenizer: Any) -> None:
        if tokenizer.eos_token_id is None:
            raise UserError(
                f"The tokenizer '{tokenizer.name_or_path}' has no EOS token, and without it no model "
                f"learns to stop; set its eos_token."
            )
        self.tokenizer = tokenizer
        self.eos: int = tokenizer.eos_token_id
        probe = tokenizer("a", return_special_tokens_mask=True)
        own = probe["special_tokens_mask"].index(0) if 0 in probe["special_tokens_mask"] else 0
        self.bos: list[int] = probe["input_ids"][:own]  # what comes before a text: at most one token, usually

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, without special tokens; one call for all, as fast tokenizers want it."""
        if not texts:
            return []
        options = {"padding": False, "truncation": False, "return_attention_mask": False, "verbose": False}
        try:
            return self.tokenizer(list(texts), add_special_tokens=False, **options)["input_ids"]
        except Exception as error:  # the tokenizers library raises nothing more precise
            raise UserError(
                f"The tokenizer '{self.tokenizer.name_or_path}' cannot encode the data ({error}); use one that fits it."
            ) from error

    def prompts(self, texts: Sequence[str], is_chat: bool) -> list[list[int]]:
        """Rendered prompts as they are fed, in training and in generation."""
        return [ids if is_chat else self.begin(ids) for ids in self.ids(texts)]

    def begin(self, ids: list[int]) -> list[int]:
        """`ids` with BOS before it, once."""
        return ids if ids[: len(self.bos)] == self.bos else self.bos + ids

    def bare(self, ids: list[int]) -> list[int]:
        """`ids` without trailing EOS and the white space after them."""
        while self.eos in ids:
            last = len(ids) - 1 - ids[::-1].index(self.eos)
            if self.tokenizer.decode(ids[last + 1 :]).strip():
                break
            ids = ids[:last]
        return ids
