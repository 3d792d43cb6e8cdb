import math

import pytest
import torch

from xright.data.prompts import Row
from xright.errors import UserError
from xright.forward.collate import LAYOUTS, collate
from xright.forward.logprobs import response_logps
from xright.forward.packing import choose_layout
from xright.objectives import DPO
from xright.objectives.dpo import dpo_loss

LOG2 = math.log(2)
# log π: chosen p(1|0)·p(2|1) = 1/16, rejected p(0|0) = 1/2. With π_ref 1/8 and 1/2 the margin is h = −log 2.
ROW = Row(0, [0], ([1, 2], [0]), (math.log(1 / 8), math.log(1 / 2)))
MIRRORED = Row(1, [0], ([0], [1, 2]), (math.log(1 / 2), math.log(1 / 8)))  # h = +log 2


def test_loss_from_the_margin():
    margins = torch.tensor([0.0, LOG2, -LOG2])
    assert dpo_loss(margins, beta=1.0).tolist() == pytest.approx([LOG2, math.log(1.5), math.log(3)])  # log(1 + e^−h)
    assert dpo_loss(margins, beta=2.0).tolist() == pytest.approx([LOG2, math.log(1.25), math.log(5)])


def test_loss_is_stable_far_out():
    assert dpo_loss(torch.tensor([1e4, -1e4]), beta=1.0).tolist() == [0.0, 1e4]


def test_label_smoothing_mixes_the_flipped_label():
    loss = dpo_loss(torch.tensor([-LOG2]), beta=1.0, label_smoothing=0.25)
    assert loss.item() == pytest.approx(0.75 * math.log(3) + 0.25 * math.log(1.5))


def test_summed_over_pairs_with_summed_log_probs(policy):
    batch = collate([ROW, MIRRORED], pad_id=0)
    loss, metrics = DPO(beta=1.0)(policy, batch)
    assert loss.item() == pytest.approx(math.log(3) + math.log(1.5))
    assert DPO().size(batch) == 2
    smoothed, _ = DPO(beta=1.0, label_smoothing=0.25)(policy, collate([ROW], pad_id=0))
    assert smoothed.item() == pytest.approx(0.75 * math.log(3) + 0.25 * math.log(1.5))
    # log-ratios: −log 2 on the chosen of the first, on the rejected of the second; β = 1
    sums = {name: value.item() for name, value in metrics.items()}
    assert sums == pytest.approx({
        "rewards/chosen": -LOG2, "rewards/rejected": -LOG2, "rewards/accuracies": 1.0, "rewards/margins": 0.0,
        "logps/chosen": -5 * LOG2, "logps/rejected": -5 * LOG2,
    }, abs=1e-6)  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("objective", [DPO(beta=0.1), DPO(beta=2.0, label_smoothing=0.3)], ids=repr)
def test_starts_at_log_2_where_policy_is_reference(objective, layout, tiny_model, make_rows):
    model, rows = tiny_model(), make_rows(5, responses=2)
    logps_RB = response_logps(model, collate(rows, pad_id=0))[0].view(2, -1)
    at_reference = [
        Row(row.id, row.prompt, row.responses, tuple(pair))
        for row, pair in zip(rows, logps_RB.T.tolist(), strict=True)
    ]  # fmt: skip
    loss, _ = objective(model, collate(at_reference, 0, choose_layout(model, layout)))
    assert loss.item() / 5 == pytest.approx(LOG2, rel=1e-5)
    assert objective.value_at_reference == LOG2


def test_order_and_padding_do_not_matter(policy):
    long = Row(2, [1, 1, 1, 1, 1], ([2, 2], [2]), (-1.0, -1.0))
    alone = sum(DPO()(policy, collate([row], pad_id=0))[0] for row in (ROW, MIRRORED, long))
    for layout in LAYOUTS:
        together, _ = DPO()(policy, collate([long, MIRRORED, ROW], 2, layout))
        assert together.item() == pytest.approx(alone.item())


def test_no_reference_is_never_a_silent_zero(policy):
    with pytest.raises(RuntimeError, match="no reference log-probs"):
        DPO()(policy, collate([Row(0, [0], ([1], [2]))], pad_id=0))


@pytest.mark.parametrize("beta", [0, -0.1, math.inf, math.nan, "0.1", None])
def test_beta_must_be_positive(beta):
    with pytest.raises(UserError, match="beta="):
        DPO(beta=beta)


@pytest.mark.parametrize("label_smoothing", [-0.1, 0.5, 1.0, math.nan])
def test_label_smoothing_must_be_below_a_half(label_smoothing):
    with pytest.raises(UserError, match="label_smoothing="):
        DPO(label_smoothing=label_smoothing)
