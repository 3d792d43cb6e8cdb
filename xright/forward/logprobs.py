"""Log-probabilities of responses: the one function every loss is built on.

log π(y|x) = Σ_t log softmax(z_t)[y_t] over the response's tokens (EOS included, prompt excluded). Only the hidden
states that predict a response token reach the output head, a chunk at a time, and the log-softmax is taken in fp32
whatever the model's dtype; the logits of all tokens never exist at once.

- A frozen head (LoRA): ∂log p_t/∂h_t = W[y_t] − softmax(z_t)·W does not depend on what comes after, so it is taken in
  the forward, piece by piece, and the backward is one multiplication.
- A trainable head computes its logits once more in the backward, a tile of the vocabulary at a time, where both
  gradients of the tile are taken; what fits into a `chunk` is kept instead.

Shapes: S sequences, N response tokens in all, D hidden size, V vocabulary; L × T the batch's token grid.
"""

from collections.abc import Callable
from itertools import repeat
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from xright.forward.batch import Batch, widest
from xright.models.sharding import language_model, with_weights

CHUNK = 2**22  # logits that exist at once; 16 MiB each for the logits, their softmax and its gradient
TILE = 2**20  # of these where the head is a matrix: 4 MiB, which a processor's cache holds
ON_GPU = 2**26  # of either, where a few large products keep the device busy and small ones wait for their launch
PACKED = "packed"  # the name of packed attention in transformers


def response_logps(policy: nn.Module, batch: Batch, **to_attention: Any) -> tuple[Tensor, Tensor]:
    """Summed response log-probs and response lengths of every sequence.

    Returns (logps_S, lengths_S); lengths count the predicted tokens. `policy` is a Hugging Face causal LM or a PEFT
    wrapper of one. to_attention: as in `hidden_states`. Sums are taken in fp64 where the device has it: the margin of
    two answers of 5,000 tokens is some nats between numbers of −50,000, where fp32 counts in steps of .004 and, adding
    one token after the other, is off by a quarter of a nat.
    """
    device = batch.token_N.device
    # Before the forward, and without a wait: made on the device after it, they would wait for all of it.
    lengths_S = torch.tensor(batch.lengths, dtype=widest(device)).to(device, non_blocking=True)
    logps_N = response_token_logps(policy, batch, **to_attention)
    return logps_N.new_zeros(len(batch.lengths)).index_add(0, batch.sequence_N, logps_N), lengths_S


def response_token_logps(policy: nn.Module, batch: Batch, **to_attention: Any) -> Tensor:
    """Return the log-prob of every response token, (N,), as `batch.sequence_N` has them, in the dtype of sums."""
    return with_weights(policy, _token_logps, policy, batch, **to_attention)


def _token_logps(policy: nn.Module, batch: Batch, **to_attention: Any) -> Tensor:
    hidden_LTD = hidden_states(policy, batch, **to_attention)
    line, position, token = batch.line_N, batch.position_N, batch.token_N
    if batch.distinct_M is not None:  # no logits are computed twice
        line, position, token = (each_N[batch.distinct_M] for each_N in (line, position, token))
    logps = chunked_logps(policy, hidden_LTD[line, position], token)
    logps_N = logps if batch.which_N is None else logps[batch.which_N]
    return logps_N.to(widest(logps_N.device))


def hidden_states(policy: nn.Module, batch: Batch, **to_attention: Any) -> Tensor:
    """The body's last hidden states on the batch's grid, (L, T, D). to_attention: more for every attention call."""
    who: dict[str, Any] = {"attention_mask": batch.attention_mask_LT}
    if batch.branches is not None:
        config = getattr(language_model(policy), "config", None)
        if config is not None and config._attn_implementation != PACKED:  # it would ignore the branches in silence
            raise RuntimeError("a packed batch for a model without packed attention; call packing.choose_layout first")
        # Beside a mask of four dimensions transformers builds none of its own; packed attention does not look at it.
        no_mask = batch.input_ids_LT.new_zeros((1, 1, 1, 1), dtype=torch.bool)
        who = {"attention_mask": no_mask, "position_ids": batch.position_ids_LT, "branches": batch.branches}
    backbone, _ = backbone_and_head(policy)
    return backbone(input_ids=batch.input_ids_LT, use_cache=False, **who, **to_attention).last_hidden_state


def token_logps(logits_NV: Tensor, tokens_N: Tensor) -> Tensor:
    """log softmax(logits)[token] in fp32, shape (N,).

    >>> import torch
    >>> token_logps(torch.zeros(1, 4), torch.tensor([2])).exp()
    tensor([0.2500])
    """
    logits_NV = logits_NV.float()
    return logits_NV.gather(1, tokens_N[:, None]).squeeze(1) - logits_NV.logsumexp(dim=1)


def chunked_logps(policy: nn.Module, hidden_ND: Tensor, tokens_N: Tensor) -> Tensor:
    """log softmax(head(hidden))[token], (N,), fp32, with at most `chunk` logits at a time."""
    (_, head), device = backbone_and_head(policy), hidden_ND.device
    output: Any = language_model(policy).get_output_embeddings()
    frozen = torch.is_grad_enabled() and not any(parameter.requires_grad for parameter in output.parameters())
    rows = max(1, chunk(device) // output.weight.shape[0])
    if frozen:
        return _FrozenHead.apply(hidden_ND, tokens_N, head, rows)
    if torch.is_grad_enabled() and type(head) is nn.Linear and len(tokens_N) * len(head.weight) > _tile(device):
        return _TrainedHead.apply(hidden_ND, tokens_N, head.weight, head.bias)
    chunks = list(zip(hidden_ND.split(rows), tokens_N.split(rows), strict=True))
    if not torch.is_grad_enabled():
        return torch.cat([token_logps(head(hidden), tokens) for hidden, tokens in chunks])
    if len(chunks) == 1:  # nothing to save by computing it twice
        return token_logps(head(hidden_ND), tokens_N)

    def logps(hidden: Tensor, tokens: Tensor) -> Tensor:
        return token_logps(head(hidden), tokens)

    return torch.cat([checkpoint(logps, hidden, tokens, use_reentrant=False) for hidden, tokens in chunks])


class _FrozenHead(torch.autograd.Function):
    """The chunks' log-probs, with ∂log p_t/∂h_t kept for the backward: (N, D) in the place of (N, V)."""

    @staticmethod
    def forward(ctx: Any, hidden_ND: Tensor, tokens_N: Tensor, head: Callable, rows: int) -> Tensor:
        if type(head) is nn.Linear:
            logps_N, gradient_ND = _of_linear(head, hidden_ND, tokens_N)
        else:
            chunks = zip(hidden_ND.split(rows), tokens_N.split(rows), strict=True)
            logps, gradients = zip(*(_of_any(head, hidden, tokens) for hidden, tokens in chunks), strict=True)
            logps_N, gradient_ND = torch.cat(logps), torch.cat(gradients)
        ctx.save_for_backward(gradient_ND.to(hidden_ND.dtype))
        return logps_N

    @staticmethod
    def backward(ctx: Any, upstream_N: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient_ND,) = ctx.saved_tensors
        return (upstream_N[:, None] * gradient_ND).to(gradient_ND.dtype), None, None, None


def _of_linear(head: nn.Linear, hidden_ND: Tensor, tokens_N: Tensor) -> tuple[Tensor, Tensor]:
    """token_logps and W[y] − softmax(z)·W, one tile of the vocabulary (V') after the other.

    The running maximum is taken out of both sums, as in flash attention (Dao et al. 2022): the weights are read once,
    and a tile's logits stay in the processor's cache.
    """
    width = _width(hidden_ND)
    biases = head.bias.split(width) if head.bias is not None else repeat(None)
    top_N1 = torch.full((len(hidden_ND), 1), -torch.inf, device=hidden_ND.device)
    total_N1, expected_ND = torch.zeros_like(top_N1), torch.zeros_like(hidden_ND, dtype=torch.float32)
    for weight, bias in zip(head.weight.split(width), biases, strict=False):
        raw_NV = F.linear(hidden_ND, weight, bias)
        logits_NV = raw_NV.float()
        new_N1 = torch.maximum(top_N1, logits_NV.amax(1, keepdim=True))
        shrink_N1, top_N1 = (top_N1 - new_N1).exp_(), new_N1
        logits_NV.sub_(new_N1).exp_()
        total_N1.mul_(shrink_N1).add_(logits_NV.sum(1, keepdim=True))
        expected_ND.mul_(shrink_N1).add_(logits_NV.to(weight.dtype) @ weight)
    own_ND = head.weight[tokens_N]
    own_N = (hidden_ND.float() * own_ND.float()).sum(1) + (head.bias[tokens_N] if head.bias is not None else 0)
    own_N = own_N.to(raw_NV.dtype).float()  # rounded as the logits of the sum are
    return own_N - (top_N1 + total_N1.log()).squeeze(1), own_ND - expected_ND / total_N1


class _TrainedHead(torch.autograd.Function):
    """The tiles' log-probs; ∂log p_t/∂z_t = e_y − softmax(z_t) needs no logits of other tiles, only their logsumexp."""

    @staticmethod
    def forward(ctx: Any, hidden_ND: Tensor, tokens_N: Tensor, weight_VD: Tensor, bias_V: Tensor | None) -> Tensor:
        width, kept = _width(hidden_ND), list[Tensor]()
        norm_N1 = torch.full((len(hidden_ND), 1), -torch.inf, device=hidden_ND.device)
        own_N1 = torch.zeros_like(norm_N1)
        for start in range(0, len(weight_VD), width):
            tile = slice(start, start + width)
            raw_NV = F.linear(hidden_ND, weight_VD[tile], None if bias_V is None else bias_V[tile])
            logits_NV = raw_NV.float()
            norm_N1 = torch.logaddexp(norm_N1, logits_NV.logsumexp(1, keepdim=True))
            mine_N1, place_N1 = _mine(tokens_N, start, logits_NV.shape[1])
            own_N1 = torch.where(mine_N1, logits_NV.gather(1, place_N1), own_N1)
            if len(kept) < chunk(hidden_ND.device) // max(1, len(hidden_ND) * width):
                kept.append(raw_NV)
        ctx.save_for_backward(*(hidden_ND, tokens_N, weight_VD, bias_V, norm_N1))
        ctx.kept, ctx.dtype = kept, raw_NV.dtype
        return (own_N1 - norm_N1).squeeze(1)

    @staticmethod
    def backward(ctx: Any, upstream_N: Tensor) -> tuple[Tensor, None, Tensor, Tensor | None]:
        hidden_ND, tokens_N, weight_VD, bias_V, norm_N1 = ctx.saved_tensors
        width, hidden = _width(hidden_ND), hidden_ND.to(ctx.dtype)
        hidden_grad = torch.zeros_like(hidden_ND, dtype=torch.float32)
        weight_grad = torch.empty_like(weight_VD)
        bias_grad = None if bias_V is None else torch.empty_like(bias_V)
        for number, start in enumerate(range(0, len(weight_VD), width)):
            tile = slice(start, start + width)
            weight = weight_VD[tile].to(ctx.dtype)
            if number < len(ctx.kept):
                raw_NV = ctx.kept[number]
            else:
                raw_NV = F.linear(hidden, weight, None if bias_V is None else bias_V[tile].to(ctx.dtype))
            slope_NV = (raw_NV.float() - norm_N1).exp_().mul_(-upstream_N[:, None])
            mine_N1, place_N1 = _mine(tokens_N, start, slope_NV.shape[1])
            slope_NV.scatter_add_(1, place_N1, (upstream_N[:, None] * mine_N1).to(slope_NV.dtype))
            if bias_grad is not None:
                bias_grad[tile] = slope_NV.sum(0)
            slope_NV = slope_NV.to(ctx.dtype)
            weight_grad[tile] = slope_NV.T @ hidden
            hidden_grad += slope_NV @ weight
        return hidden_grad.to(hidden_ND.dtype), None, weight_grad, bias_grad


def chunk(device: torch.device) -> int:
    """Return how many logits may exist at once on a device."""
    return CHUNK if device.type == "cpu" else ON_GPU


def _tile(device: torch.device) -> int:
    return TILE if device.type == "cpu" else ON_GPU


def _width(hidden_ND: Tensor) -> int:
    """Words of a tile of the vocabulary."""
    return max(64, _tile(hidden_ND.device) // max(1, len(hidden_ND)) // 64 * 64)


def _mine(tokens_N: Tensor, start: int, width: int) -> tuple[Tensor, Tensor]:
    """Whether each row's token is in a tile, and its place there or, if not, some place there; (N, 1) each. To ask
    which rows they are would wait for a GPU in every tile."""
    place_N1 = tokens_N[:, None] - start
    return (place_N1 >= 0) & (place_N1 < width), place_N1.clamp(0, width - 1)


def _of_any(head: Callable, hidden_ND: Tensor, tokens_N: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the same by autograd, for heads that scale or cap their logits, or carry an adapter's frozen weights."""
    with torch.enable_grad():
        hidden_ND = hidden_ND.detach().requires_grad_()
        logps_N = token_logps(head(hidden_ND), tokens_N)
        (gradient_ND,) = torch.autograd.grad(logps_N.sum(), hidden_ND)  # log p_t depends on h_t alone
    return logps_N.detach(), gradient_ND


def backbone_and_head(policy: nn.Module) -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
    """The transformer body of a (PEFT-wrapped) causal LM, and hidden states -> logits; adapters sit inside both.

    Some families scale their logits after the output layer (Cohere, Granite) or cap them (Gemma 2 and 3): what the
    config says of it is applied. A model that does anything else is refused at start-up (`fits.check_fits`).
    """
    model = language_model(policy)
    output, config = model.get_output_embeddings(), getattr(model, "config", None)
    scale, divisor = getattr(config, "logit_scale", None), getattr(config, "logits_scaling", None)
    cap = getattr(config, "final_logit_softcapping", None)
    body = model.model if model.base_model is model else model.base_model  # Llama 4's is known by another name
    if not (scale or divisor or cap):
        return body, output

    def head(hidden: Tensor) -> Tensor:
        logits = output(hidden)
        logits = logits * scale if scale else logits
        logits = logits / divisor if divisor else logits
        return cap * (logits / cap).tanh() if cap else logits

    return body, head
