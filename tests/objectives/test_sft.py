import math

import pytest
import torch

from xright.data.prompts import Row
from xright.forward.collate import LAYOUTS, collate
from xright.objectives import SFT

ROWS = [Row(0, [0], ([1, 2],)), Row(1, [1, 1], ([1],))]  # p = 1/4 · 1/4 and 1/2


def test_negative_log_likelihood_per_response_token(policy):
    batch = collate(ROWS, pad_id=0)
    loss, metrics = SFT()(policy, batch)
    # −(log 1/4 + log 1/4 + log 1/2) = 5 log 2, over 3 response tokens
    assert loss.item() == pytest.approx(5 * math.log(2))
    assert SFT().size(batch) == 3
    assert metrics == {}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_gradient_of_the_logits_is_softmax_minus_one_hot(policy, layout):
    loss, _ = SFT()(policy, collate([Row(0, [2, 0], ([1],))], 0, layout))
    loss.backward()
    expected = torch.tensor([[1 / 2, 1 / 4 - 1, 1 / 4], [0, 0, 0], [0, 0, 0]])  # only the logits after token 0
    assert torch.allclose(policy.base_model.table.grad, expected)


def test_end_of_text_is_learned_even_when_it_is_the_pad_id(policy):
    eos = 0
    batch = collate([Row(0, [1], ([2, eos],)), Row(1, [1], ([2, 2, 2, 2, eos],))], pad_id=eos)
    loss, _ = SFT()(policy, batch)
    # p(2|1)·p(0|2) = 1/4 · 1/8; the longer row three more times p(2|2) = 3/4; no padding counted
    assert loss.item() == pytest.approx(2 * math.log(32) + 3 * math.log(4 / 3))
    assert SFT().size(batch) == 7


def test_two_parts_of_a_batch_add_up(policy):
    parts = [collate([row], pad_id=0) for row in ROWS]
    whole = collate(ROWS, pad_id=0)
    assert sum(SFT()(policy, part)[0] for part in parts).item() == pytest.approx(SFT()(policy, whole)[0].item())
    assert sum(SFT().size(part) for part in parts) == SFT().size(whole)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_only_the_first_response_of_a_pair_is_learned(policy, layout):
    pair = collate([Row(0, [0], ([1, 2], [0])), Row(1, [1], ([1], [2, 2]))], 0, layout)
    loss, _ = SFT("preference")(policy, pair)
    assert loss.item() == pytest.approx(math.log(16) + math.log(2))
    assert SFT("preference").size(pair) == 3


def test_streams():
    assert SFT().stream == "sft"
    assert SFT("preference").stream == "preference"
