"""Whether a model can have packed attention (`attention.py`), found out by trying.

Two things must hold of a packed line, and each is held to what the numbers can show:

- *Nothing leaks.* The gradient of one response's log-prob with respect to the embedding of a token that its sequence
  does not have (of another row, of the row's other response) is exactly zero, whatever the weights: rounding makes no
  number of a zero. So a state that is carried along the line (a convolution, a recurrence) is found even where it is
  tiny. A token that several sequences share is each one's own.
- *Nothing is missing.* Log-probs, and these gradients, are those of a plain forward of each sequence alone, up to
  rounding: eight times what other plain forwards differ by (padded among others; from embeddings that are shaken by an
  epsilon of their dtype), but at least what rounding makes of a network of that dtype, depth and width
  (`rounding.rounding`). Where large channels cancel in a gradient, an epsilon becomes a thousandth of it, but a
  millionth of the log-probs: each of the two has a bound of its own.

What rows of a few tokens cannot show is read from what the model tells its attention: a window, and that there is
nothing that packed attention does not follow (`attention.FOLLOWED`).
"""

import logging
import random
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from xright.data.rows import Row
from xright.forward import attention  # noqa: F401  registers it
from xright.forward.batch import Batch
from xright.forward.collate import collate, sequences_of
from xright.forward.fits import embedded
from xright.forward.logprobs import PACKED, response_logps
from xright.forward.rounding import relative, rounding
from xright.forward.trie import LEAST, share
from xright.models import evaluating
from xright.models.sharding import language_model

log = logging.getLogger(__name__)

# Of the probe's rows: tokens of the prompt, of each response. The first two prompts begin alike.
SHAPES = ((LEAST, (3, 4)), (LEAST + 1, (5, 4)), (0, (2, 3)))
WATCHED = (1, 4)  # the sequences whose gradients are looked at: they share tokens with each other, and with other rows
WINDOWS = ("sliding_window", "attention_chunk_size")  # in a config: attention reaches less far than the whole prefix
Found = tuple[Tensor, list[Tensor]]  # log-probs (S,), and gradients (tokens, D)


def choose_layout(model: nn.Module, wanted: str) -> str:
    """`wanted`, or `padded` with a line in the log where the model's attention cannot be replaced.

    Replaces it where `packed` is wanted, and holds a packed probe to plain forwards: some 170 tokens forwards and 200
    backwards in all.
    """
    if wanted == "padded":
        return wanted
    inner = language_model(model)
    before = inner.config._attn_implementation
    if before == PACKED:
        return wanted
    reason: str | None = "its attention cannot be replaced"
    if inner._can_set_attn_implementation():
        inner.set_attn_implementation(PACKED)
        reason = _objection(model, before)
        if reason is None:
            return wanted
        inner.set_attn_implementation(before)
    log.warning("layout: padded, since %s cannot be packed: %s", type(inner).__name__, reason)
    return "padded"


def _objection(model: nn.Module, before: str) -> str | None:
    """Why a model that has packed attention must not keep it, or None."""
    inner = language_model(model)
    matrices = inner.get_input_embeddings(), inner.get_output_embeddings()
    rows = probe_rows(min(matrix.weight.shape[0] for matrix in matrices))
    windows: dict[int | None, int | None] = {}
    try:
        packed = _traced(model, collate(rows, 0, "packed"), [[s] for s in WATCHED], windows)
        inner.set_attn_implementation(before)
        padded = _traced(model, collate(rows, 0, "padded"), [WATCHED])  # each in a line of its own
        single = [Row(0, row.prompt, (response,)) for row in rows[1:2] for response in row.responses]
        alone = [_traced(model, collate([row], 0, "padded"), [[0]]) for row in single]
        shaken = _traced(model, collate(single, 0, "padded"), [[0, 1]], shake=torch.Generator().manual_seed(0))
        inner.set_attn_implementation(PACKED)
    except Exception as error:  # whatever a model's own code does with an attention it does not know
        return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:100]}"
    own = _own_tokens(rows)
    if any(bool((_but(places, gradient) != 0).any()) for places, gradient in zip(own, packed[1], strict=True)):
        return "what a token says reaches other rows of the line"
    if _is_not_told(inner.config.get_text_config(), windows):
        return "its attention is not told of its window"
    depth, width = getattr(inner.config, "num_hidden_layers", None), packed[1][0].shape[-1]
    least = rounding(packed[1][0].dtype, depth, width)
    for kind, difference, noise in _differences(packed, (padded, shaken), alone, own):
        if difference > (bound := max(8 * noise, least)):
            return f"{kind} differ from a plain forward's by {difference:.1g}, more than rounding ({bound:.1g})"
    return None


def probe_rows(vocabulary: int) -> list[Row]:
    """Rows of random tokens; low ids, as a constant would have, are special tokens, to which pretrained models react
    in a way that magnifies rounding a thousandfold."""
    draw = random.Random(0)
    sides = [[[draw.randrange(vocabulary) for _ in range(n)] for n in (prompt, *rest)] for prompt, rest in SHAPES]
    sides[1][0][:LEAST] = sides[0][0][:LEAST]
    return [Row(number, prompt, tuple(responses)) for number, (prompt, *responses) in enumerate(sides)]


def _traced(
    model: nn.Module,
    batch: Batch,
    sequences: Sequence[Sequence[int]],
    windows: dict[int | None, int | None] | None = None,
    shake: torch.Generator | None = None,
) -> Found:
    """Log-probs of a batch's sequences, and for each of `sequences` the gradient of their sum by all tokens'
    embeddings. shake: draws what the embeddings are off by, an epsilon of their dtype times a normal number."""
    to_attention = {} if windows is None else {"windows": windows}
    with evaluating(model), torch.enable_grad(), embedded(model, shake) as embeddings:
        logps_S, _ = response_logps(model, batch.to(next(model.parameters()).device), **to_attention)
        sums = [logps_S[list(some)].sum() for some in sequences]
        found = [torch.autograd.grad(total, embeddings[0], retain_graph=True)[0] for total in sums]
    if not logps_S.isfinite().all():
        raise ValueError("its log-probs are not finite")
    return logps_S.detach(), [gradient.flatten(0, 1) for gradient in found]


def _own_tokens(rows: Sequence[Row]) -> list[Tensor]:
    """Per watched sequence: where its tokens stand in the packed line, in their order."""
    _, _, places = share(sequences_of(rows))
    return [torch.tensor(places[s]) for s in WATCHED]


def _but(places: Tensor, gradient: Tensor) -> Tensor:
    """The gradient of all tokens but those in these places."""
    others = torch.ones(len(gradient), dtype=torch.bool)
    others[places] = False
    return gradient[others]


def _differences(
    packed: Found, plain: tuple[Found, Found], alone: Sequence[Found], own: Sequence[Tensor]
) -> list[tuple[str, float, float]]:
    """Of log-probs and of gradients: the largest relative difference of the packed line, and of the plain forwards
    (padded among others, shaken), from the sequences alone."""
    padded, shaken = plain
    logps, gradients = [(relative(packed[0], padded[0]), 0.0)], []
    for w, (s, (logp, (gradient,)), places) in enumerate(zip(WATCHED, alone, own, strict=True)):
        others = [_sequence(padded, s, len(gradient)), _sequence(shaken, w, len(gradient))]
        off = max(relative(other, logp[0]) for other, _ in others)
        logps.append((relative(packed[0][s], logp[0]), off))
        off = max(relative(other, gradient) for _, other in others)
        gradients.append((relative(packed[1][w][places], gradient), off))
    found = (("its log-probs", logps), ("its gradients", gradients))
    return [(kind, max(of_packed for of_packed, _ in own), max(off for _, off in own)) for kind, own in found]


def _sequence(batch: Found, line: int, tokens: int) -> tuple[Tensor, Tensor]:
    """Log-prob and gradient of a padded batch's sequence, from that of their sum."""
    logps, (gradient,) = batch
    return logps[line], gradient.view(len(logps), -1, gradient.shape[-1])[line, :tokens]


def _is_not_told(config: Any, windows: dict[int | None, int | None]) -> bool:
    """Tell whether the config gives some layer a window that its attention has not heard of."""
    named = {value for name in WINDOWS if (value := getattr(config, name, None))}
    kinds = getattr(config, "layer_types", None)
    if not kinds or not windows.keys() <= set(range(len(kinds))):
        return bool(named) and set(windows.values()) <= {None}
    full = ("full_attention", "attention")
    return any(kinds[layer] not in full and told not in named for layer, told in windows.items())
