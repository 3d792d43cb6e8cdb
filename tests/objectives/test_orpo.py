import math

import pytest
import torch

from xright.data.prompts import Row
from xright.errors import UserError
from xright.forward.collate import collate
from xright.objectives import ORPO
from xright.objectives.orpo import orpo_loss


@pytest.mark.parametrize("weight", [0, 0.5, 2.0])
def test_nll_and_odds_ratio_of_length_averaged_probabilities(policy, weight):
    # chosen: (1/16)^(1/2) = 1/4, odds 1/3; rejected: 1/2, odds 1. NLL = log 4; −log σ(log 1/3) = log(1 + 3) = log 4
    row = Row(0, [0], ([1, 2], [0]))
    batch = collate([row, row, row], pad_id=0)
    loss, _ = ORPO(weight)(policy, batch)
    assert loss.item() == pytest.approx(3 * (1 + weight) * math.log(4))
    assert ORPO().size(batch) == 3


def test_equal_odds_cost_log_2():
    assert orpo_loss(torch.full((2, 1), -0.7), weight=1.0).item() == pytest.approx(0.7 + math.log(2))


def test_reference_free(policy):
    rows = [Row(0, [0], ([1, 2], [0]), reference) for reference in (None, (-1.0, -5.0))]
    first, second = (ORPO()(policy, collate([row], pad_id=0))[0].item() for row in rows)
    assert first == second


def test_finite_gradients_for_very_unlikely_responses():
    mean_logps = torch.tensor([[-200.0], [-1e-4]], requires_grad=True)
    orpo_loss(mean_logps, weight=1.0).sum().backward()
    assert torch.isfinite(mean_logps.grad).all()


@pytest.mark.parametrize("weight", [-0.1, math.nan, "1"])
def test_weight_must_not_be_negative(weight):
    with pytest.raises(UserError, match="weight="):
        ORPO(weight)
