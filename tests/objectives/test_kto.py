import math
from dataclasses import replace

import pytest
import torch

from xright.data.prompts import Row
from xright.errors import UserError
from xright.forward.collate import LAYOUTS, collate
from xright.forward.logprobs import response_logps
from xright.forward.packing import choose_layout
from xright.objectives import KTO, SFT
from xright.training.means import anchor_of, anchored, exact_means

LOG2 = math.log(2)
# log π of prompt [0]: [1, 2] 1/16, [0] 1/2. Own log-ratios: −log 2 of the good answer, log 2 of the bad one; of the
# mismatched ones 2 log 2 and log 2, so that z = 1.5 log 2.
GOOD = Row(0, [0], ([1, 2], [0]), (math.log(1 / 8), math.log(1 / 8)), label=True)
BAD = Row(1, [0], ([0], [1, 2]), (math.log(1 / 4), math.log(1 / 32)), label=False)


def one_rank(*numbers):
    return numbers


def loss_of(objective, policy, batches):
    batches = anchored(objective, policy, batches, one_rank)
    return sum(objective(policy, batch)[0] for batch in batches), batches[0].anchor


@pytest.mark.parametrize("layout", LAYOUTS)
def test_by_hand(policy, layout):
    batch = collate([GOOD, BAD], 0, layout)
    loss, anchor = loss_of(KTO(beta=2.0, desirable=1.0, undesirable=3.0), policy, [batch])
    assert anchor == pytest.approx(1.5 * LOG2)
    # β(r − z): 2 (−log 2 − 1.5 log 2) = −5 log 2: 1 − σ = 32/33. 2 (log 2 − 1.5 log 2) = −log 2: σ = 1/3.
    assert loss.item() == pytest.approx(32 / 33 + 3 * 1 / 3)
    assert KTO().size(batch) == 2
    assert batch.n_input_tokens == 3 + 2 + 2 + 3  # with the mismatched answers, each after its prompt


def test_z_is_not_negative(policy):
    likely = replace(GOOD, reference=(GOOD.reference[0], math.log(1 / 1)))  # mismatched: 1/2 against 1
    batch = collate([likely], pad_id=0)
    loss, anchor = loss_of(KTO(beta=1.0), policy, [batch])
    assert anchor == pytest.approx(-LOG2)
    assert loss.item() == pytest.approx(2 / 3)  # 1 − σ(−log 2 − 0)


def test_the_clamp_acts_on_the_mean_over_the_step(policy):
    """Mismatched log-ratios −log 2 and 2 log 2: their mean, not the mean of what is clamped."""
    low = replace(GOOD, reference=(GOOD.reference[0], math.log(1 / 1)))
    high = replace(GOOD, reference=(GOOD.reference[0], math.log(1 / 8)))
    batches = [collate([row], pad_id=0) for row in (low, high)]
    assert anchor_of(KTO(), policy, batches, one_rank) == pytest.approx(LOG2 / 2)


def labelled(rows):
    return [
        replace(row, label=i % 3 != 0, reference=(-15.0 + i, -20.0 - i)) for i, row in enumerate(rows)
    ]  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_cut_into_micro_batches_does_not_matter(layout, tiny_model, make_rows):
    rows, objective, found = labelled(make_rows(6, responses=2)), KTO(), []
    for cut in ([slice(0, 6)], [slice(0, 1), slice(1, 6)], [slice(0, 3), slice(3, 6)]):
        model = tiny_model()
        loss, anchor = loss_of(objective, model, [collate(rows[part], 0, choose_layout(model, layout)) for part in cut])
        loss.backward()
        found.append((loss.item(), anchor, torch.cat([p.grad.flatten() for p in model.parameters()])))
        mean, _ = exact_means(
            "kto", objective, tiny_model(), [rows[part] for part in cut], lambda chunk: collate(chunk, 0),
            sum_over_ranks=one_rank, step=0,
        )  # fmt: skip
        assert mean == pytest.approx(loss.item() / 6, rel=1e-5)
    for other in found[1:]:
        assert other[:2] == pytest.approx(found[0][:2], rel=1e-6)
        assert (other[2] - found[0][2]).norm() <= 1e-5 * found[0][2].norm()


def test_ranks_share_z(policy):
    """Each of two ranks with one of the rows, and the sums of both: z is that of both together."""
    alone = [anchor_of(KTO(), policy, [collate([row], pad_id=0)], one_rank) for row in (GOOD, BAD)]

    def both(total, size):
        return sum(alone), 2

    assert anchor_of(KTO(), policy, [collate([GOOD], pad_id=0)], both) == pytest.approx(1.5 * LOG2)
    assert anchor_of(SFT(), policy, [], both) is None  # nothing is asked, nor sent


def test_value_where_policy_is_reference(tiny_model, make_rows):
    model, rows = tiny_model(), make_rows(5, responses=2)
    with torch.no_grad():
        logps_RB = response_logps(model, collate(rows, pad_id=0))[0].view(2, -1)
    known = zip(rows, logps_RB.T.tolist(), strict=True)
    rows = [replace(row, reference=tuple(pair), label=i < 2) for i, (row, pair) in enumerate(known)]
    loss, anchor = loss_of(KTO(desirable=3.0, undesirable=3.0), model, [collate(rows, pad_id=0)])
    assert anchor == pytest.approx(0, abs=1e-5)
    assert loss.item() / 5 == pytest.approx(KTO(desirable=3.0, undesirable=3.0).value_at_reference) == 1.5
    assert KTO(desirable=3.0).value_at_reference is None  # it depends on the share of good answers


def test_what_is_not_there_is_never_a_silent_zero(policy):
    batch = collate([GOOD, BAD], pad_id=0)
    with pytest.raises(RuntimeError, match="z of its step"):
        KTO()(policy, batch)
    pairs = collate([replace(GOOD, label=None)], pad_id=0)
    with pytest.raises(RuntimeError, match="no mismatched answers"):
        KTO().anchor(policy, pairs)
    without = collate([replace(GOOD, reference=None)], pad_id=0)
    with pytest.raises(RuntimeError, match="no reference log-probs"):
        KTO().anchor(policy, without)


@pytest.mark.parametrize("key", ["beta", "desirable", "undesirable"])
@pytest.mark.parametrize("value", [0, -1, math.nan, "1", None])
def test_bad_values_get_one_sentence(key, value):
    with pytest.raises(UserError, match=f"^{key}=.* must be a number > 0"):
        KTO(**{key: value})
