"""Whether a model can be trained the way xright computes it, asked of the model itself by forwards of a few tokens.

What a family does beside that (looking ahead, changing its logits, drawing at random, taking other factors for longer
batches) would go wrong in silence, so each ends in a sentence before anything is trained.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from xright.errors import UserError
from xright.forward.logprobs import backbone_and_head
from xright.forward.rounding import relative, rounding
from xright.machine.told import told
from xright.models import evaluating, load_tokenizer, vocabulary
from xright.models.sharding import language_model

log = logging.getLogger(__name__)

# {setting that names a model: whose tokens it must know, and what to do where it does not}
OURS = {
    "reference": ("the policy", "a reference that was trained on the policy's tokens"),
    "model.path": ("model.tokenizer", "the tokenizer it was trained with"),
}


def check_fits(model: nn.Module, tokenizer: PreTrainedTokenizerBase, max_length: int) -> None:
    """UserError if token ids exceed the embedding, or rows the positions; for an encoder; for damaged weights; for a
    model that draws at random in training, or whose values depend on the longest row of a batch.

    Also holds the shortcut of `forward/logprobs.py` (body, then output head on some positions) to the model's own
    logits: an architecture that does something unknown to its logits afterwards would be trained on something else.
    """
    name = type(language_model(model)).__name__
    with told(f"{name} cannot be computed as a causal language model", "use another family"):
        _check_sizes(model, vocabulary(tokenizer), max_length)
        with torch.random.fork_rng():
            _check_ahead(model, name)
            _check_logits(model, name)
            _check_lengths(model, name, max_length)
            if not isinstance(model, PeftModel):  # whose own dropout a user may want
                _check_randomness(model, name)


def check_same_tokens(
    path: str,
    revision: str | None,
    tokenizer: PreTrainedTokenizerBase,
    trust_remote_code: bool = False,
    setting: str = "reference",
) -> None:
    """UserError if the model in `path` comes with a tokenizer for which ids mean other tokens than for `tokenizer`.

    setting: what names the model, "reference" or "model.path". An added token may have another name: families reserve
    some to be renamed. A model without a tokenizer is taken at its word, and that is said.
    """
    ours, remedy = OURS[setting]
    try:
        its = load_tokenizer(path, trust_remote_code, revision)
    except UserError:
        log.warning("%s=%s has no tokenizer; it is taken to know the tokens of %s", setting, path, ours)
        return
    tokens = {number: token for token, number in its.get_vocab().items()}
    reserved = its.added_tokens_decoder.keys() & tokenizer.added_tokens_decoder.keys()
    for token, number in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1]):
        if tokens.get(number, token) != token and number not in reserved:
            raise UserError(
                f"{setting}={path!r} has another tokenizer than {ours}: id {number} is {tokens[number]!r} to it "
                f"and {token!r} to {ours}; give {remedy}."
            )


@contextmanager
def embedded(model: nn.Module, shake: torch.Generator | None = None) -> Iterator[list[Tensor]]:
    """Inside, the embeddings of each forward are put into the list, as leaves for gradients.

    shake: draws what they are off by, each by an epsilon of its dtype times a normal number.
    """
    found: list[Tensor] = []

    def as_leaf(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        leaf = output.detach()
        if shake is not None:
            off = torch.randn(leaf.shape, generator=shake, dtype=leaf.dtype).to(leaf.device)
            leaf = leaf + torch.finfo(leaf.dtype).eps * off * leaf
        found.append(leaf.requires_grad_())
        return found[-1].clone()  # some models write into it

    hook = language_model(model).get_input_embeddings().register_forward_hook(as_leaf)
    try:
        yield found
    finally:
        hook.remove()


def _check_sizes(model: Any, tokens: int, max_length: int) -> None:
    rows = model.get_input_embeddings().weight.shape[0]
    if tokens > rows:
        raise UserError(
            f"the tokenizer's ids go up to {tokens - 1} but the model's embedding has only {rows} rows; give the "
            "tokenizer it was trained with (model.tokenizer), or a model whose embedding was enlarged for this one."
        )
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if limit and 0 < limit < max_length:
        raise UserError(f"data.max_length={max_length} exceeds the model's {limit} positions; lower it.")


def _ids(model: Any) -> Tensor:
    """Four tokens, (1, 4), beyond those that a family may take for padding wherever they stand."""
    rows = model.get_input_embeddings().weight.shape[0]
    return torch.arange(7, 11, device=next(model.parameters()).device)[None] % rows


@torch.no_grad()
def _check_logits(model: Any, name: str) -> None:
    body, head = backbone_and_head(model)
    output: nn.Module = model.get_output_embeddings()
    if getattr(output, "weight", None) is None:
        raise UserError(f"{name} has no output head of one matrix; use another family.")
    ids = _ids(model)
    with evaluating(model):
        hidden = body(input_ids=ids, use_cache=False).last_hidden_state
        # A fresh model's logits are too small for a cap to show.
        amplify = output.register_forward_hook(lambda _module, _input, logits: 1000 * logits)
        try:
            ours, own = head(hidden), model(input_ids=ids, use_cache=False).logits
        finally:
            amplify.remove()
    if not own.isfinite().all():
        raise UserError(f"{name} computes NaN or infinite logits: its weights are damaged; get them anew.")
    if ours.shape != own.shape or relative(ours.float(), own.float()) > 1e-2:
        way = "after the output head in a way xright does not know"
        raise UserError(f"{name} changes its logits {way}; use another family.")


def _check_ahead(model: nn.Module, name: str) -> None:
    """No gradient of what stands before reaches the last token: none at all through causal attention, rounding through
    the cumulative sums of a recurrence."""
    body, _ = backbone_and_head(model)
    with evaluating(model), torch.enable_grad(), embedded(model) as embeddings:
        hidden = body(input_ids=_ids(model), use_cache=False).last_hidden_state
        weights = torch.linspace(1, 2, hidden.shape[-1], device=hidden.device, dtype=hidden.dtype)  # a norm's sum is 0
        (gradient,) = torch.autograd.grad((hidden[:, :-1] * weights).sum(), embeddings[0])
    bound = min(1e-2, rounding(hidden.dtype, getattr(model.config, "num_hidden_layers", None), hidden.shape[-1]))
    if float(gradient[:, -1].norm()) > bound * float(gradient[:, :-1].norm()):
        raise UserError(f"{name} looks ahead: a token changes what stands before it; use a causal LM, not an encoder.")


@torch.no_grad()
def _check_lengths(model: nn.Module, name: str, max_length: int) -> None:
    """No buffer changes with the longest position of a batch, as the frequencies of some rotary embeddings do: then
    the log-probs of a row would depend on the rows beside it."""
    body, _ = backbone_and_head(model)
    ids = _ids(model)
    near = torch.arange(ids.shape[1], device=ids.device)[None]
    buffers = []
    with evaluating(model):
        for last in (near[0, -1], max_length - 1):
            try:
                body(input_ids=ids, position_ids=near + int(last) - near[0, -1], use_cache=False)
            except (TypeError, IndexError):  # takes no positions: then they choose no factors
                return
            buffers.append({name: buffer.clone() for name, buffer in model.named_buffers()})
        changed = [key for key, before in buffers[0].items() if not torch.equal(before, buffers[1][key])]
        if changed:
            body(input_ids=ids, position_ids=near, use_cache=False)  # as they were
    if changed:
        config: Any = model.config
        rope = getattr(config.get_text_config(), "rope_parameters", None) or {}
        limit = rope.get("original_max_position_embeddings") or "the length it was first trained on"
        raise UserError(
            f"data.max_length={max_length} lets {name} change its {changed[0].split('.')[-1]} where a batch holds a "
            f"long row, so that log-probs would depend on the rows beside it; give data.max_length={limit}, or one "
            "set of factors for all lengths (rope_parameters in the model's config.json)."
        )


@torch.no_grad()
def _check_randomness(model: nn.Module, name: str) -> None:
    """Training mode computes what evaluation computes, twice: dropout, router noise and the like would make policy and
    reference differ although their weights are equal. The same operations on the same numbers round alike in any dtype.
    """
    body, _ = backbone_and_head(model)
    with evaluating(model):
        expected = body(input_ids=_ids(model), use_cache=False).last_hidden_state
        for module in model.modules():
            module.training = True
        found = [body(input_ids=_ids(model), use_cache=False).last_hidden_state for _ in range(2)]
    bound = rounding(torch.float32, getattr(model.config, "num_hidden_layers", None), expected.shape[-1])
    if any(relative(hidden.float(), expected.float()) > bound for hidden in found):
        raise UserError(
            f"{name} computes other values in training than in evaluation (it draws at random, by a setting of its "
            "config.json that xright does not know); set that to 0, or use another family."
        )
