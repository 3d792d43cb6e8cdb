import math

import pytest
import torch

from xright.data.prompts import Row
from xright.errors import UserError
from xright.forward.collate import collate
from xright.objectives import IPO
from xright.objectives.ipo import ipo_loss


def test_squared_distance_to_the_target_margin():
    # target 1/(2β) = 5 at β = 0.1
    assert ipo_loss(torch.tensor([0.0, 5.0, 7.0]), beta=0.1).tolist() == pytest.approx([25.0, 0.0, 4.0])


def test_log_ratios_are_averaged_over_each_response_s_own_length(policy):
    # log π: chosen 1/16 (2 tokens), rejected 1/2 (1 token); π_ref 1/4 and 1/4: log-ratios −2 log 2 and log 2,
    # averaged −log 2 and log 2, so h̄ = −2 log 2. Target 1 at β = 0.5.
    row = Row(0, [0], ([1, 2], [0]), (math.log(1 / 4), math.log(1 / 4)))
    batch = collate([row, row], pad_id=0)
    loss, metrics = IPO(beta=0.5)(policy, batch)
    assert loss.item() == pytest.approx(2 * (2 * math.log(2) + 1) ** 2)
    assert IPO().size(batch) == 2
    assert metrics["rewards/chosen"].item() == pytest.approx(2 * 0.5 * -2 * math.log(2))  # rewards stay sums


def test_value_at_reference(policy):
    row = Row(0, [0], ([1, 2], [0]), (math.log(1 / 16), math.log(1 / 2)))  # π_ref = π
    loss, _ = IPO(beta=0.1)(policy, collate([row], pad_id=0))
    assert loss.item() == pytest.approx(25.0)
    assert IPO(beta=0.1).value_at_reference == pytest.approx(25.0)


@pytest.mark.parametrize("beta", [0, -1, math.nan])
def test_beta_must_be_positive(beta):
    with pytest.raises(UserError, match="beta="):
        IPO(beta=beta)
