"""Log-probabilities of responses: the one function every loss is built on.

log π(y|x) = Σ_t log softmax(z_t)[y_t] over the response's tokens (EOS included, prompt excluded). Only the hidden
states that predict a response token reach the output head, and the log-softmax is taken in fp32 whatever the model's
dtype. One shifted mask picks both the hidden states and the tokens they predict, so numerator and count agree.

Shapes: S sequences, T tokens, N response tokens in all, D hidden size, V vocabulary.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from xright.objectives.objective import Batch


def response_logps(policy: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """Summed response log-probs and response lengths of every sequence.

    Returns (logps_S, lengths_S), fp32; lengths count the predicted tokens. `policy` is a Hugging Face causal LM or a
    PEFT wrapper of one.
    """
    backbone, head = backbone_and_head(policy)
    hidden_STD = backbone(
        input_ids=batch.input_ids_ST, attention_mask=batch.attention_mask_ST, use_cache=False
    ).last_hidden_state
    predicted_ST = batch.response_mask_ST[:, 1:]
    logps_N = token_logps(head(hidden_STD[:, :-1][predicted_ST]), batch.input_ids_ST[:, 1:][predicted_ST])
    sequence_N = predicted_ST.nonzero()[:, 0]
    logps_S = logps_N.new_zeros(len(predicted_ST)).index_add(0, sequence_N, logps_N)
    return logps_S, predicted_ST.sum(dim=1).float()


def token_logps(logits_NV: Tensor, tokens_N: Tensor) -> Tensor:
    """log softmax(logits)[token] in fp32, shape (N,).

    >>> import torch
    >>> token_logps(torch.zeros(1, 4), torch.tensor([2])).exp()
    tensor([0.2500])
    """
    logits_NV = logits_NV.float()
    return logits_NV.gather(1, tokens_N[:, None]).squeeze(1) - logits_NV.logsumexp(dim=1)


def backbone_and_head(policy: nn.Module) -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
    """The transformer body of a (PEFT-wrapped) causal LM, and hidden states -> logits; adapters sit inside both.

    Some families scale their logits after the output layer (Cohere, Granite) or cap them (Gemma 2 and 3): what the
    config says of it is applied. A model that does anything else is refused at start-up (`models.check_fits`).
    """
    model: Any = policy.get_base_model() if hasattr(policy, "get_base_model") else policy  # type: ignore[operator]
    output, config = model.get_output_embeddings(), getattr(model, "config", None)
    scale, divisor = getattr(config, "logit_scale", None), getattr(config, "logits_scaling", None)
    cap = getattr(config, "final_logit_softcapping", None)

    def head(hidden: Tensor) -> Tensor:
        logits = output(hidden)
        logits = logits * scale if scale else logits
        logits = logits / divisor if divisor else logits
        return cap * (logits / cap).tanh() if cap else logits

    return model.base_model, head
