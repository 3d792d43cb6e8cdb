"""Where a text's tokens begin and end: which special tokens stand around a prompt and a response.

- A prompt begins with what the tokenizer puts before a text (BOS or nothing), once, also if the text already
  has it. What the tokenizer puts *after* a text (EOS, SEP) is left out: the response follows. A chat-rendered
  prompt gets nothing: its template has written it.
- A response ends with exactly one EOS. Trailing EOS and the white space after them (ChatML: "<|im_end|>\\n")
  are cut first, so a template that ends its turns with EOS does not end them twice.
- A text that goes on from another is no beginning. Tokenizers in the manner of SentencePiece put a blank before every
  text ("▁Hello"), and so before a response; there it is encoded behind a *lead*, whose tokens are then cut off.
- Where a text is marked (`control.py`), what stands left and right of the mark is encoded apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from xright.data.control import MARK
from xright.errors import UserError

JOINTS = [("a", "b"), ("a", " b"), ("a ", "b"), ("a:", "B"), ("a\n", "b"), ("a b.", "\nB")]
LEADS = ["\n", ":", "|", "a", "."]


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
        found = self._encode([text.partition(MARK)[0] for text in texts])
        return [
            ids + [token for part in self.after(text.split(MARK)[1:]) for token in part] if MARK in text else ids
            for text, ids in zip(texts, found, strict=True)
        ]

    def after(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text as it goes on from another."""
        cut = len(self.ids([self.lead])[0]) if self.lead else 0
        return [ids[cut:] for ids in self.ids([self.lead + text for text in texts])]

    @cached_property
    def lead(self) -> str:
        """Return what to put before a text that goes on from another; "" where nothing is needed, or nothing helps."""
        joints = [(a, b) for a, b in JOINTS if self.text(self._probe(a + b)).strip() == a + b]
        together = [self.text(self._probe(a + b)) for a, b in joints]
        for lead in ("", *LEADS):
            head = self._probe(lead)
            whole = [(self._probe(a), self._probe(lead + b)) for a, b in joints]
            stands = (head or not lead) and all(more[: len(head)] == head for _, more in whole)
            if stands and [self.text(ids + more[len(head) :]) for ids, more in whole] == together:
                return lead
        return ""

    def text(self, ids: list[int]) -> str:
        """Return the text of the ids, control tokens included."""
        return self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)

    def _probe(self, text: str) -> list[int]:
        try:
            return self._encode([text])[0]
        except UserError:  # a small vocabulary, which lacks a letter
            return []

    def _encode(self, texts: list[str]) -> list[list[int]]:
        if not texts:
            return []
        options = {"padding": False, "truncation": False, "return_attention_mask": False, "verbose": False}
        try:
            return self.tokenizer(texts, add_special_tokens=False, **options)["input_ids"]
        except Exception as error:  # the tokenizers library raises nothing more precise
            raise UserError(
                f"The tokenizer '{self.tokenizer.name_or_path}' cannot encode the data ({error}); use one that fits it."
            ) from error

    def prompts(self, texts: Sequence[str], is_chat: bool) -> list[list[int]]:
        """Rendered prompts as they are fed, in training and in generation."""
        return [ids if is_chat else self.begin(ids) for ids in self.ids(texts)]

    def begin(self, ids: list[int]) -> list[int]:
        """Return `ids` with BOS before them, once."""
        return ids if ids[: len(self.bos)] == self.bos else self.bos + ids

    def bare(self, ids: list[int]) -> list[int]:
        """`ids` without trailing EOS and the white space after them."""
        while self.eos in ids:
            last = len(ids) - 1 - ids[::-1].index(self.eos)
            if self.tokenizer.decode(ids[last + 1 :]).strip():
                break
            ids = ids[:last]
        return ids
