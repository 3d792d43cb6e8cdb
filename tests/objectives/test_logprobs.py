import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from xright.data.collate import collate
from xright.data.prompts import Row
from xright.objectives import DPO, IPO, ORPO, SFT
from xright.objectives.logprobs import backbone_and_head, response_logps, token_logps

ROWS = [Row(0, [0], ([1, 2],)), Row(1, [1, 1], ([1],)), Row(2, [2, 0, 1], ([2, 2, 0],))]
# p(1|0)·p(2|1) = 1/16; p(1|1) = 1/2; p(2|1)·p(2|2)·p(0|2) = 1/4 · 3/4 · 1/8
BY_HAND = [math.log(1 / 16), math.log(1 / 2), math.log(3 / 128)]


def test_sums_over_the_response_only(policy):
    logps_S, lengths_S = response_logps(policy, collate(ROWS, pad_id=0))
    assert logps_S.tolist() == pytest.approx(BY_HAND, rel=1e-6)
    assert lengths_S.tolist() == [2, 1, 3]


def test_a_sequence_without_prompt_predicts_all_but_its_first_token(policy):
    logps_S, lengths_S = response_logps(policy, collate([Row(0, [], ([0, 1, 2],))], pad_id=0))
    assert logps_S.item() == pytest.approx(math.log(1 / 16))
    assert lengths_S.item() == 2


@pytest.mark.parametrize("pad_id", [0, 1, 2])
@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1]])
@pytest.mark.parametrize("extra", [0, 5])
def test_padding_and_order_of_rows_do_not_matter(policy, pad_id, order, extra):
    batch = collate([ROWS[i] for i in order], pad_id)
    batch = replace(
        batch,
        input_ids_ST=F.pad(batch.input_ids_ST, (0, extra), value=pad_id),
        attention_mask_ST=F.pad(batch.attention_mask_ST, (0, extra)),
        response_mask_ST=F.pad(batch.response_mask_ST, (0, extra)),
    )
    logps_S, lengths_S = response_logps(policy, batch)
    assert logps_S.tolist() == pytest.approx([BY_HAND[i] for i in order], rel=1e-6)
    assert lengths_S.tolist() == [[2, 1, 3][i] for i in order]


@pytest.mark.parametrize("responses", [1, 2])
def test_equals_the_full_logits_of_a_transformer_without_padding(tiny_model, make_rows, responses):
    model, rows = tiny_model(), make_rows(5, responses)
    logps_S, lengths_S = response_logps(model, collate(rows, pad_id=0))
    expected = []
    for response in range(responses):  # response-major
        for row in rows:
            ids = torch.tensor(row.prompt + row.responses[response])
            logps_T = model(ids[None]).logits[0].log_softmax(-1)[:-1].gather(1, ids[1:, None])[:, 0]
            expected.append(logps_T[len(row.prompt) - 1 :].sum().item())
    assert logps_S.tolist() == pytest.approx(expected, abs=1e-4)
    assert lengths_S.sum() == collate(rows, 0).n_tokens  # numerator and denominator count the same tokens


def test_log_softmax_is_fp32_under_a_bf16_model(tiny_model, make_rows):
    model, batch = tiny_model().bfloat16(), collate(make_rows(4), pad_id=0)
    body, head = backbone_and_head(model)
    predicted = batch.response_mask_ST[:, 1:]
    hidden = body(input_ids=batch.input_ids_ST, attention_mask=batch.attention_mask_ST).last_hidden_state
    logits = head(hidden[:, :-1][predicted]).detach()
    tokens = batch.input_ids_ST[:, 1:][predicted][:, None]
    logps_S = response_logps(model, batch)[0].detach()
    assert logits.dtype == torch.bfloat16
    assert logps_S.dtype == torch.float32
    exact = logits.double().log_softmax(-1).gather(1, tokens).sum()
    rounded = logits.log_softmax(-1).gather(1, tokens).double().sum()
    assert float(logps_S.double().sum()) == pytest.approx(float(exact), abs=1e-4)
    assert abs(rounded - exact) > 1e-2  # what a log-softmax in bf16 would have cost


def test_token_logps_survive_large_logits():
    logits_NV = torch.tensor([[1e4, 0.0], [0.0, -1e4]])
    assert token_logps(logits_NV, torch.tensor([0, 1])).tolist() == [0.0, -1e4]


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=4))
@settings(max_examples=40, deadline=None)
@pytest.mark.parametrize("objective", [SFT(), DPO(), IPO(), ORPO()], ids=repr)
def test_gradient_reaches_exactly_the_logits_that_predict_the_responses(objective, tiny_model, shapes):
    """Both halves; never a prompt's logits (but its last, which predicts the response) nor the padding's."""
    halves = 1 if objective.stream == "sft" else 2
    rows = [
        Row(i, [1] * prompt, tuple([1] * length for length in lengths[:halves]), (-1.0, -3.0)[:halves])
        for i, (prompt, *lengths) in enumerate(shapes)
    ]
    model, batch = tiny_model(), collate(rows, pad_id=1)  # pad, prompt and response: all token 1
    kept = []
    backbone_and_head(model)[0].register_forward_hook(lambda *args: kept.append(args[-1].last_hidden_state))
    loss, _ = objective(model, batch)
    (gradient_STD,) = torch.autograd.grad(loss, kept)
    sequences = [(len(row.prompt), len(row.responses[half])) for half in range(halves) for row in rows]
    for gradient_TD, (prompt, length) in zip(gradient_STD, sequences, strict=True):
        reached = gradient_TD.abs().amax(dim=1) > 0
        assert reached.nonzero()[:, 0].tolist() == list(range(prompt - 1, prompt + length - 1))
