"""Completions of rendered prompts, batched: a batch gives what each prompt would get alone.

Greedy, or sampled by the Gumbel-max trick: with E_v ~ Exp(1) for each token v of the vocabulary, independent,

    argmax_v ( logits_v / T − log E_v )   is distributed as   softmax(logits / T),

so that a sample is a greedy choice among disturbed logits. Each prompt has a generator of its own: what it gets does
not depend on the prompts beside it.

Shapes: B prompts, T tokens, V vocabulary.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from xright.data.messages import Unusable
from xright.data.templates import Template
from xright.data.tokens import Tokens
from xright.errors import UserError
from xright.models import evaluating

# `generate` takes what is None here from the model's generation_config, where chat models sample or penalise.
GREEDY = {
    "do_sample": False, "num_beams": 1, "temperature": 1.0, "top_p": 1.0, "top_k": 50,
    "repetition_penalty": 1.0, "no_repeat_ngram_size": 0, "min_new_tokens": 0,
}  # fmt: skip


@torch.no_grad()
def complete(
    policy: Any,
    tokenizer: Any,
    prompts: list[str],
    max_new_tokens: int,
    batch_size: int,
    is_chat: bool | Sequence[bool] = False,
) -> list[str]:
    """Greedy completions of `prompts` (already rendered with the template), in their order.

    policy: a transformers causal language model, PEFT-wrapped or not; it runs in eval mode, then each of its
    modules gets back the mode it had. max_new_tokens: the most tokens of a completion, which ends before the
    first token of `ends`. is_chat: whether the tokenizer's chat template has rendered the prompts (or each of them).
    Returns text without the prompt and without special tokens. Raises UserError for sizes below 1,
    a prompt without any token and a prompt that leaves no room for max_new_tokens.
    """
    for name, value in (("max_new_tokens", max_new_tokens), ("batch_size", batch_size)):
        if value < 1:
            raise UserError(f"{name}={value} of complete() is too small; give at least 1.")
    encoded = encode(tokenizer, prompts, is_chat)
    for prompt, ids in zip(prompts, encoded, strict=True):
        if len(ids) + max_new_tokens > (positions(policy) or float("inf")):
            raise UserError(
                f"The prompt {prompt[:40]!r}… has {len(ids)} tokens and max_new_tokens={max_new_tokens}, "
                f"together above the model's {positions(policy)} positions; shorten the prompt or lower max_new_tokens."
            )
    completions = []
    for start in range(0, len(prompts), batch_size):
        for new in continuations(policy, tokenizer, encoded[start : start + batch_size], max_new_tokens):
            completions.append(tokenizer.decode(new, skip_special_tokens=True))
    return completions


def encode(tokenizer: Any, prompts: Sequence[str], is_chat: bool | Sequence[bool]) -> list[list[int]]:
    """Token ids of rendered prompts, the very ones that training feeds. UserError for a prompt without any."""
    tokens = Tokens(tokenizer)
    chat = [is_chat] * len(prompts) if isinstance(is_chat, bool) else is_chat
    encoded = [tokens.prompts([prompt], kind)[0] for prompt, kind in zip(prompts, chat, strict=True)]
    for prompt, ids in zip(prompts, encoded, strict=True):
        if not ids:
            raise UserError(f"The prompt {prompt!r} has no token, nothing to complete; give a rendered prompt.")
    return encoded


def positions(policy: Any) -> int | None:
    """The most tokens of prompt and completion that the model takes; None where its configuration names no limit."""
    limit = getattr(policy.config.get_text_config(), "max_position_embeddings", None)
    return limit if limit and limit > 0 else None


def ends(policy: Any, tokenizer: Any) -> list[int]:
    """The tokens at which an answer is over: the tokenizer's EOS, the model's own (a chat model may have several),
    and what the chat template writes after an assistant's turn.

    The last two count only where they are special tokens of this tokenizer: a model's default need not fit it.
    """
    special = {*tokenizer.added_tokens_decoder, *tokenizer.all_special_ids}
    own = policy.generation_config.eos_token_id
    found = {
        tokenizer.eos_token_id,
        *(token for token in (own if isinstance(own, list) else [own]) if token in special),
    }
    if tokenizer.chat_template:
        with suppress(Unusable, UserError):  # a template that refuses so short a conversation, or several of no default
            _, (turn,) = Template("chat").write(tokenizer, "Hi", ["Hello"])
            after = tokenizer(turn.partition("Hello")[2], add_special_tokens=False)["input_ids"]
            found.update([token for token in after if token in special][:1])
    return sorted(found)


class Sampled(LogitsProcessor):
    """Disturbs logits so that the greedy choice is a sample at this temperature; row i draws from seeds[i] alone."""

    def __init__(self, temperature: float, seeds: Sequence[int]) -> None:
        self.temperature = temperature
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return perturbed logits (B, V), of which the largest is a sample. scores: logits (B, V)."""
        draws = [torch.empty(scores.shape[1]).exponential_(generator=g) for g in self.generators]
        return scores / self.temperature - torch.stack(draws).log().to(scores)


@torch.no_grad()
def continuations(
    policy: Any, tokenizer: Any, encoded: list[list[int]], max_new_tokens: int, sampled: Sampled | None = None
) -> list[list[int]]:
    """Return what the model says after each of these prompts, in one batch: new token ids, up to the first that ends
    it."""
    last = ends(policy, tokenizer)
    found = written(policy, tokenizer, encoded, max_new_tokens, sampled=sampled)
    return [ids[:-1] if ids and ids[-1] in last else ids for ids in found]


@torch.no_grad()
def written(
    policy: Any, tokenizer: Any, encoded: list[list[int]], max_new_tokens: int, sampled: Sampled | None = None
) -> list[list[int]]:
    """Return the same with the token that ends it, where one does."""
    pad = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    width = max(len(ids) for ids in encoded)
    # Padding on the left makes all prompts end in one column.
    prompt_BT = torch.tensor([[pad] * (width - len(ids)) + ids for ids in encoded]).to(policy.device)
    # The mask goes by position: with pad == eos, an EOS inside a prompt is still a token of the prompt.
    mask_BT = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in encoded]).to(policy.device)
    last = ends(policy, tokenizer)
    greedy = GenerationConfig(**GREEDY, max_new_tokens=max_new_tokens, eos_token_id=last, pad_token_id=pad)
    with evaluating(policy):
        output_BT = policy.generate(
            input_ids=prompt_BT, attention_mask=mask_BT, generation_config=greedy,
            logits_processor=LogitsProcessorList([sampled] if sampled else []),
        )  # fmt: skip
    found = []
    for new in output_BT[:, width:].tolist():  # what follows an end is padding, which need not be a special token
        found.append(new[: next((place for place, token in enumerate(new, 1) if token in last), len(new))])
    return found
