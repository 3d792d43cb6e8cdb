"""Greedy completions of rendered prompts, batched: a batch gives what each prompt would get alone."""

from typing import Any

import torch
from transformers import GenerationConfig

from xright.data.tokens import Tokens
from xright.errors import UserError
from xright.models import evaluating

# `generate` takes what is None here from the model's generation_config, where chat models sample or penalise.
GREEDY = {
    "do_sample": False, "num_beams": 1, "temperature": 1.0, "top_p": 1.0, "top_k": 50,
    "repetition_penalty": 1.0, "no_repeat_ngram_size": 0, "min_new_tokens": 0,
}  # fmt: skip


@torch.no_grad()
def complete(policy: Any, tokenizer: Any, prompts: list[str], max_new_tokens: int, batch_size: int) -> list[str]:
    """Greedy completions of `prompts` (already rendered with the template), in their order.

    policy: a transformers causal language model, PEFT-wrapped or not; it runs in eval mode, then each of its
    modules gets back the mode it had. max_new_tokens: the most tokens of a completion, which ends before the
    first EOS. Returns text without the prompt and without special tokens. Raises UserError for sizes below 1,
    a prompt without any token and a prompt that leaves no room for max_new_tokens.
    """
    for name, value in (("max_new_tokens", max_new_tokens), ("batch_size", batch_size)):
        if value < 1:
            raise UserError(f"{name}={value} of complete() is too small; give at least 1.")
    encoded = Tokens(tokenizer).prompts(prompts, is_chat=False)
    for prompt, ids in zip(prompts, encoded, strict=True):
        if not ids:
            raise UserError(f"The prompt {prompt!r} has no token, nothing to complete; give a rendered prompt.")
    _check_room(policy, prompts, encoded, max_new_tokens)
    completions = []
    with evaluating(policy):
        for start in range(0, len(prompts), batch_size):
            new_BT = _generate(policy, tokenizer, encoded[start : start + batch_size], max_new_tokens)
            completions += [_text(tokenizer, ids) for ids in new_BT.tolist()]
    return completions


def _check_room(policy: Any, prompts: list[str], encoded: list[list[int]], max_new_tokens: int) -> None:
    room = getattr(policy.config, "max_position_embeddings", None)
    for prompt, ids in zip(prompts, encoded, strict=True):
        if room is not None and len(ids) + max_new_tokens > room:
            raise UserError(
                f"The prompt {prompt[:40]!r}… has {len(ids)} tokens and max_new_tokens={max_new_tokens}, "
                f"together above the model's {room} positions; shorten the prompt or lower max_new_tokens."
            )


def _generate(policy: Any, tokenizer: Any, encoded: list[list[int]], max_new_tokens: int) -> torch.Tensor:
    """New token ids (B, at most max_new_tokens); padding on the left makes all prompts end in one column."""
    pad = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    width = max(len(ids) for ids in encoded)
    prompt_BT = torch.tensor([[pad] * (width - len(ids)) + ids for ids in encoded]).to(policy.device)
    # The mask goes by position: with pad == eos, an EOS inside a prompt is still a token of the prompt.
    mask_BT = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in encoded]).to(policy.device)
    ends = {"max_new_tokens": max_new_tokens, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": pad}
    greedy = GenerationConfig(**GREEDY, **ends)
    output_BT = policy.generate(input_ids=prompt_BT, attention_mask=mask_BT, generation_config=greedy)
    return output_BT[:, width:]


def _text(tokenizer: Any, ids: list[int]) -> str:
    if tokenizer.eos_token_id in ids:  # what follows is padding, which need not be a special token
        ids = ids[: ids.index(tokenizer.eos_token_id)]
    return tokenizer.decode(ids, skip_special_tokens=True)
