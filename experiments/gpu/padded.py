"""The usual step, which ours is held to: padded lines, logits of all tokens, a bare loop; its reference log-probs are
cached, as ours are."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from ours import BETA, STILL, STREAM, WARM, Round
from place import Measured, Meter, Place
from torch import Tensor, nn

from xright.data.rows import Row
from xright.forward.collate import collate


def steps(place: Place, policy: nn.Module, objective: str, rounds: Sequence[Round]) -> tuple[list[float], Measured]:
    """Losses before each update, and what a step takes."""
    trained = [parameter for parameter in policy.to(place.device).parameters() if parameter.requires_grad]
    optimizer, meter, losses = STILL.build(trained), Meter(place), []
    for number, rows in enumerate(rounds):
        if number == WARM:
            meter.start()
        with place.autocast(place.training):
            found = loss(place, policy, rows[STREAM[objective]])
        found.backward()
        nn.utils.clip_grad_norm_(trained, STILL.clip or 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(found.detach())
    measured = meter.stop(len(rounds) - WARM)
    return [float(found) for found in losses], measured


def loss(place: Place, policy: nn.Module, rows: Sequence[Row]) -> Tensor:
    """DPO for pairs, mean over them; SFT for single responses, mean over tokens."""
    batch = collate(list(rows), 0, "padded").to(torch.device(place.device))
    labels_LT = torch.full_like(batch.input_ids_LT, -100)
    labels_LT[batch.line_N, batch.position_N] = batch.token_N
    logits_LTV = policy(input_ids=batch.input_ids_LT, attention_mask=batch.attention_mask_LT, use_cache=False).logits
    if batch.responses == 1:
        return F.cross_entropy(logits_LTV.flatten(0, 1).float(), labels_LT.flatten())
    logps_LT = logits_LTV.float().log_softmax(-1).gather(2, labels_LT.clamp(min=0)[:, :, None]).squeeze(2)
    logps_RB = (logps_LT * (labels_LT >= 0)).sum(1).view(2, -1)
    margins_RB = logps_RB - batch.reference_logps_RB
    return -F.logsigmoid(BETA * (margins_RB[0] - margins_RB[1])).mean()
