import copy
import json
import math
from dataclasses import replace
from functools import partial
from itertools import chain

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.profiler import ProfilerActivity, profile

from xright import models
from xright.data.prompts import Row
from xright.forward import logprobs
from xright.forward.collate import LAYOUTS, collate, sequences_of
from xright.forward.logprobs import backbone_and_head, chunked_logps, hidden_states, response_logps, token_logps
from xright.forward.packing import choose_layout
from xright.forward.trie import share
from xright.objectives import DPO, IPO, ORPO, SFT

ROWS = [Row(0, [0], ([1, 2],)), Row(1, [1, 1], ([1],)), Row(2, [2, 0, 1], ([2, 2, 0],))]
# p(1|0)·p(2|1) = 1/16; p(1|1) = 1/2; p(2|1)·p(2|2)·p(0|2) = 1/4 · 3/4 · 1/8
BY_HAND = [math.log(1 / 16), math.log(1 / 2), math.log(3 / 128)]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_sums_over_the_response_only(policy, layout):
    logps_S, lengths_S = response_logps(policy, collate(ROWS, 0, layout))
    assert logps_S.tolist() == pytest.approx(BY_HAND, rel=1e-6)
    assert lengths_S.tolist() == [2, 1, 3]
    assert logps_S.dtype == lengths_S.dtype == torch.float64


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_sequence_without_prompt_predicts_all_but_its_first_token(policy, layout):
    rows = [Row(0, [], ([0, 1, 2], [2])), Row(1, [], ([1, 1], [1, 2]))]
    logps_S, lengths_S = response_logps(policy, collate(rows, 0, layout))
    assert logps_S.tolist() == pytest.approx([math.log(p) for p in (1 / 16, 1 / 2, 1, 1 / 4)])
    assert lengths_S.tolist() == [2, 1, 0, 1]


@pytest.mark.parametrize("pad_id", [0, 1, 2])
@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1]])
@pytest.mark.parametrize("extra", [0, 5])
def test_padding_and_order_of_rows_do_not_matter(tiny_model, policy, pad_id, order, extra):
    batch = collate([ROWS[i] for i in order], pad_id)
    batch = replace(
        batch,
        input_ids_LT=F.pad(batch.input_ids_LT, (0, extra), value=pad_id),
        attention_mask_LT=F.pad(batch.attention_mask_LT, (0, extra)),
    )
    logps_S, lengths_S = response_logps(policy, batch)
    assert logps_S.tolist() == pytest.approx([BY_HAND[i] for i in order], rel=1e-6)
    assert lengths_S.tolist() == [[2, 1, 3][i] for i in order]
    with torch.no_grad():
        alone = torch.cat([response_logps(tiny_model(), collate([ROWS[i]], 39))[0] for i in order])
        assert torch.allclose(response_logps(tiny_model(), batch)[0], alone, rtol=1e-5)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("responses", [1, 2])
def test_equals_the_full_logits_of_a_transformer_without_padding(tiny_model, make_rows, responses, layout):
    model, rows = tiny_model(), make_rows(5, responses)
    expected = []
    for response in range(responses):  # response-major
        for row in rows:
            ids = torch.tensor(row.prompt + row.responses[response])
            logps_T = model(ids[None]).logits[0].log_softmax(-1)[:-1].gather(1, ids[1:, None])[:, 0]
            expected.append(logps_T[len(row.prompt) - 1 :].sum().item())
    batch = collate(rows, 0, choose_layout(model, layout))
    logps_S, lengths_S = response_logps(model, batch)
    assert logps_S.tolist() == pytest.approx(expected, abs=1e-4)
    assert lengths_S.tolist() == list(batch.lengths)  # numerator and denominator count the same tokens


@pytest.mark.parametrize("chunk", [None, 3 * 40], ids=["whole", "chunks of 3"])
@pytest.mark.parametrize("frozen", [True, False])
def test_log_softmax_is_fp32_under_a_bf16_model(tiny_model, make_rows, monkeypatch, chunk, frozen):
    monkeypatch.setattr(logprobs, "CHUNK", chunk or logprobs.CHUNK)
    model, batch = tiny_model().bfloat16(), collate(make_rows(4), pad_id=0)
    model.get_output_embeddings().requires_grad_(not frozen)
    _, head = backbone_and_head(model)
    logits = head(hidden_states(model, batch)[batch.line_N, batch.position_N]).detach()
    logps_S = response_logps(model, batch)[0].detach()
    assert logits.dtype == torch.bfloat16
    tokens = batch.token_N[:, None]
    exact = logits.double().log_softmax(-1).gather(1, tokens).sum()
    rounded = logits.log_softmax(-1).gather(1, tokens).double().sum()
    assert float(logps_S.double().sum()) == pytest.approx(float(exact), abs=1e-4)
    assert abs(rounded - exact) > 1e-2  # what a log-softmax in bf16 would have cost


def test_sums_of_long_responses_are_exact(bigram):
    """20,000 tokens of log 3 nats: added one by one in fp32 they are off by more than a thousandth of a nat."""
    ids = [n % 3 for n in range(20_000)]
    policy, batch = bigram([[1 / 3] * 3] * 3), collate([Row(0, [1], (ids,))], 0)
    token = -torch.tensor(3.0).log()  # as fp32 has it
    in_order = torch.zeros(1).index_add(0, torch.zeros(20_000, dtype=torch.long), token.expand(20_000))
    exact = 20_000 * float(token)
    assert abs(float(in_order) - exact) > 1e-2
    assert abs(response_logps(policy, batch)[0].item() - exact) < 1e-3


def test_token_logps_survive_large_logits():
    logits_NV = torch.tensor([[1e4, 0.0], [0.0, -1e4]])
    assert token_logps(logits_NV, torch.tensor([0, 1])).tolist() == [0.0, -1e4]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("scale", [1, 1e4], ids=["usual", "huge"])
def test_a_frozen_heads_own_gradient_is_autograds(tiny_model, dtype, scale):
    """log p and ∂log p/∂h in fp64 from the same rounded numbers: fp32 to rounding, bf16 to its 2⁻⁸."""
    model = tiny_model().to(dtype)
    output = model.get_output_embeddings().requires_grad_(False)
    torch.manual_seed(0)
    hidden_ND = (scale * torch.randn(30, 16)).to(dtype).requires_grad_()
    token_N = torch.randint(40, (30,))
    logps_N = chunked_logps(model, hidden_ND, token_N)
    (found,) = torch.autograd.grad(logps_N.sum(), hidden_ND)
    exact = hidden_ND.detach().double().requires_grad_()
    logits_NV = exact @ output.weight.double().T
    expected_N = logits_NV.log_softmax(1).gather(1, token_N[:, None])[:, 0]
    (expected,) = torch.autograd.grad(expected_N.sum(), exact)
    precision = 1e-5 if dtype == torch.float32 else 2e-2
    assert (logps_N - expected_N).abs().max() <= precision * logits_NV.abs().max()
    assert (found - expected).norm() <= precision * (expected.norm() + output.weight.double().norm())
    assert found.dtype == dtype
    assert logps_N.dtype == torch.float32


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=4))
@settings(max_examples=25, deadline=None)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("objective", [SFT(), DPO(), IPO(), ORPO()], ids=repr)
def test_gradient_reaches_exactly_the_logits_that_predict_the_responses(objective, layout, tiny_model, shapes):
    """Both halves; never a prompt's logits (but its last, which predicts the response) nor the padding's."""
    halves = 1 if objective.stream == "sft" else 2
    # pad, prompt and chosen: all token 1. Rejected: token 2, else where both start from the prompt's last hidden
    # state, their gradients could cancel.
    rows = [
        Row(i, [1] * prompt, tuple([1 + half] * lengths[half] for half in range(halves)), (-1.0, -3.0)[:halves])
        for i, (prompt, *lengths) in enumerate(shapes)
    ]
    model = tiny_model()
    batch = collate(rows, 1, choose_layout(model, layout))
    kept = []
    backbone_and_head(model)[0].register_forward_hook(lambda *args: kept.append(args[-1].last_hidden_state))
    loss, _ = objective(model, batch)
    (gradient_LTD,) = torch.autograd.grad(loss, kept)
    reached = [line.abs().amax(dim=1).nonzero()[:, 0].tolist() for line in gradient_LTD]
    sequences = [(len(row.prompt), len(row.responses[half])) for half in range(halves) for row in rows]
    if layout == "padded":
        assert reached == [list(range(prompt - 1, prompt + length - 1)) for prompt, length in sequences]
        return
    _, _, places = share(sequences_of(rows))  # rows may begin alike
    asked = [own[prompt - 1 : -1] for own, (prompt, _) in zip(places, sequences, strict=True)]
    expected = sorted({*chain.from_iterable(asked)})
    assert reached == [expected]


def gradients(model, loss):
    """{name: gradient} of everything trainable, zeros where none arrives."""
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    found = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    zeros = (torch.zeros_like(p) if g is None else g for p, g in zip(named.values(), found, strict=True))
    return dict(zip(named, zeros, strict=True))


def logps_by_definition(model, batch):
    """From all logits of the model's own forward, one log-softmax over everything."""
    logits = model(input_ids=batch.input_ids_LT, attention_mask=batch.attention_mask_LT).logits
    logps_N = logits.float().log_softmax(-1)[batch.line_N, batch.position_N].gather(1, batch.token_N[:, None])[:, 0]
    return torch.stack([logps_N[batch.sequence_N == number].sum() for number in range(len(batch.lengths))])


def policy_of(build, lora_targets):
    """All of it trainable, or only an adapter; what is trainable moved, LoRA's B away from zero in particular."""
    lora = {"r": 4 if lora_targets else 0, "alpha": 8, "dropout": 0.0, "target_modules": lora_targets}
    policy = models.trainable(build(), lora, gradient_checkpointing=False, seed=0)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in policy.named_parameters():
            if "lora_" in name or name.endswith("lm_head.bias"):
                parameter.copy_(0.3 * torch.randn_like(parameter))
    return policy


GEMMA = {"head_dim": 8, "num_key_value_heads": 2, "final_logit_softcapping": 2.0}  # as large as the logits
HEADS = {  # model type, settings, LoRA targets (None: all is trained), and whether its head is frozen
    "frozen": ("llama", {}, ["q_proj", "v_proj"], True),
    "frozen with a bias (Phi)": ("phi", {}, ["q_proj"], True),
    "frozen with tied embeddings": ("opt", {}, ["q_proj", "v_proj"], True),
    "trainable": ("gpt_neox", {}, None, False),
    "trainable with tied embeddings": ("llama", {"tie_word_embeddings": True}, None, False),
    "an adapter on it": ("llama", {}, ["q_proj", "lm_head"], False),
    "a frozen adapter on it": ("llama", {}, ["q_proj", "lm_head"], True),
    "frozen, capped (Gemma 2)": ("gemma2", GEMMA, ["q_proj"], True),
    "trainable, capped (Gemma 2)": ("gemma2", GEMMA, None, False),
    "frozen, divided (Granite)": ("granite", {"logits_scaling": 8.0}, ["q_proj"], True),
    "trainable, divided (Granite)": ("granite", {"logits_scaling": 8.0}, None, False),
    "frozen, scaled (Cohere)": ("cohere", {"logit_scale": 0.25}, ["q_proj"], True),
    "trainable, scaled (Cohere)": ("cohere", {"logit_scale": 0.25}, None, False),
}


@pytest.mark.parametrize("chunk", [1, 3 * 40, 10**6], ids=["one by one", "chunks of 3", "whole"])
@pytest.mark.parametrize("name", HEADS)
def test_every_head_in_chunks_has_the_full_logits_gradient(name, chunk, family, make_rows, monkeypatch):
    model_type, config, lora, frozen = HEADS[name]
    policy = policy_of(lambda: family(model_type, **config), lora)
    head = logprobs.language_model(policy).get_output_embeddings()
    if name == "a frozen adapter on it":
        head.requires_grad_(False)
    assert frozen != any(parameter.requires_grad for parameter in head.parameters())
    batch = collate(make_rows(4, responses=2), 0)
    upstream_S = torch.linspace(-1, 2, 8)  # every sequence its own, so that none is mistaken for another
    expected_S = logps_by_definition(policy, batch)
    monkeypatch.setattr(logprobs, "CHUNK", chunk)
    logps_S, _ = response_logps(policy, batch)
    assert logps_S.tolist() == pytest.approx(expected_S.tolist(), rel=1e-5)
    with torch.no_grad():
        assert response_logps(policy, batch)[0].tolist() == pytest.approx(expected_S.tolist(), rel=1e-5)
    expected, found = (gradients(policy, (upstream_S * logps).sum()) for logps in (expected_S, logps_S))
    scale = max(float(gradient.norm()) for gradient in expected.values())
    for parameter, gradient in expected.items():
        assert (found[parameter] - gradient).norm() <= 5e-5 * gradient.norm() + 1e-6 * scale, parameter


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("tile", [1, 2**12, 2**30])  # 16 tiles, 2, 1
def test_a_frozen_matrix_is_read_tile_by_tile(monkeypatch, bias, tile):
    monkeypatch.setattr(logprobs, "TILE", tile)
    torch.manual_seed(0)
    head = torch.nn.Linear(16, 1000, bias=bias).requires_grad_(False)
    hidden_ND, token_N = 30 * torch.randn(7, 16), torch.tensor([0, 999, 63, 64, 500, 1, 998])
    logps_N, gradient_ND = logprobs._of_linear(head, hidden_ND, token_N)
    expected_NV = head(hidden_ND).double().log_softmax(-1)
    torch.testing.assert_close(logps_N.double(), expected_NV.gather(1, token_N[:, None])[:, 0], atol=1e-4, rtol=1e-5)
    weight_VD = head.weight.double()
    torch.testing.assert_close(
        gradient_ND.double(), weight_VD[token_N] - expected_NV.exp() @ weight_VD, atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kept", [0, 7 * 300, 10**6], ids=["none", "some", "all"])
def test_a_trained_matrix_is_read_tile_by_tile(monkeypatch, bias, kept):
    monkeypatch.setattr(logprobs, "TILE", 7 * 128)  # 8 tiles
    monkeypatch.setattr(logprobs, "CHUNK", kept)
    torch.manual_seed(0)
    head = torch.nn.Linear(16, 1000, bias=bias)
    hidden_ND, token_N = (5 * torch.randn(7, 16)).requires_grad_(), torch.tensor([0, 999, 127, 128, 500, 1, 500])
    upstream_N, inputs = torch.linspace(-1, 2, 7), [hidden_ND, *head.parameters()]
    logps_N = logprobs._TrainedHead.apply(hidden_ND, token_N, head.weight, head.bias)
    expected_N = head(hidden_ND).log_softmax(-1).gather(1, token_N[:, None])[:, 0]
    torch.testing.assert_close(logps_N, expected_N, atol=1e-4, rtol=1e-5)
    expected = torch.autograd.grad(expected_N, inputs, upstream_N)
    for _ in range(2):  # nothing that was kept is used up
        found = torch.autograd.grad(logps_N, inputs, upstream_N, retain_graph=True)
        for ours, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


@pytest.fixture
def peak(tmp_path):
    """peak(work): most bytes that `work()` has allocated at once, as torch's allocator counts them."""

    def measure(work):
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
            work()
        found.export_chrome_trace(str(tmp_path / "trace.json"))
        events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
        now = most = 0
        for event in sorted((event for event in events if event.get("name") == "[memory]"), key=lambda e: e["ts"]):
            now += event["args"]["Bytes"]
            most = max(most, now)
        return most

    return measure


@pytest.mark.parametrize("frozen", [True, False])
def test_the_logits_of_all_tokens_never_exist_at_once(family, monkeypatch, peak, frozen):
    """Forward and backward; the chunk, not the number of tokens, sets the memory."""
    tokens, vocabulary, hidden = 600, 10_000, 8
    model = family("llama", vocab_size=vocabulary, hidden_size=hidden)
    model.get_output_embeddings().requires_grad_(not frozen)
    hidden_ND = torch.randn(tokens, hidden, requires_grad=True)
    token_N = torch.randint(vocabulary, (tokens,))

    def step():
        chunked_logps(model, hidden_ND, token_N).sum().backward()

    step()  # gradients exist from here on
    all_logits = 4 * tokens * vocabulary  # 24 MB

    def limit(logits):
        monkeypatch.setattr(logprobs, "TILE", logits)
        monkeypatch.setattr(logprobs, "CHUNK", logits)

    limit(10**9)
    assert peak(step) >= all_logits
    limit(20 * vocabulary)  # 1/30 of it: 0.8 MB
    assert peak(step) < all_logits / 5


@pytest.mark.parametrize(
    ("frozen", "chunk", "forward", "backward"),
    [
        (True, 3, 0, 0),
        (False, 3, 4, 4),
        (True, 12, 0, 0),
        (False, 12, 1, 0),
    ],  # of 11 tokens
)
def test_only_a_trainable_head_in_chunks_is_computed_twice(
    tiny_model, monkeypatch, frozen, chunk, forward, backward
):  # fmt: skip
    monkeypatch.setattr(logprobs, "CHUNK", chunk * 40)
    model = tiny_model()
    model.get_output_embeddings().requires_grad_(not frozen).register_forward_hook(lambda *_: calls.append(1))
    calls = []
    logps_S, _ = response_logps(model, collate([Row(0, [1, 2], ([3] * 5,)), Row(1, [4], ([5] * 6,))], 0))
    assert len(calls) == forward
    logps_S.sum().backward()
    assert len(calls) - forward == backward


def test_a_frozen_heads_weight_gets_no_gradient_and_the_adapter_keeps_its_dtype(family, make_rows):
    policy = policy_of(lambda: family("llama").bfloat16(), ["q_proj"])
    loss = response_logps(policy, collate(make_rows(3), 0))[0].sum()
    loss.backward()
    assert logprobs.language_model(policy).get_output_embeddings().weight.grad is None
    grads = {name: p.grad for name, p in policy.named_parameters() if p.requires_grad}
    assert all(g.abs().max() > 0 and g.dtype == policy.get_parameter(name).dtype for name, g in grads.items())


def test_a_packed_batch_is_refused_by_a_model_that_was_not_prepared(tiny_model, make_rows):
    packed = partial(collate, make_rows(3), 0, "packed")
    with pytest.raises(RuntimeError, match="without packed attention"):
        response_logps(tiny_model(), packed())
    model = tiny_model()
    assert choose_layout(model, "packed") == "packed"
    assert response_logps(model, packed())[0].shape == (3,)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def test_sums_of_thousands_of_nats_are_accurate(layout, lora, family):
    """Against the same weights in fp64 throughout; in fp32 a number of 2,000 nats is off by 1e-4 as it is written."""
    draw = torch.Generator().manual_seed(0)
    answers = [torch.randint(1, 40, (length,), generator=draw).tolist() for length in (700, 650)]
    batch = collate([Row(0, [1, 2, 3], tuple(answers))], 0, layout)
    model = family("llama", max_position_embeddings=1024, initializer_range=0.2)
    exact, _ = response_logps(copy.deepcopy(model).double(), collate([Row(0, [1, 2, 3], tuple(answers))], 0))
    adapter = {"r": 2 if lora else 0, "alpha": 2, "dropout": 0.0, "target_modules": ["q_proj"]}
    policy = models.trainable(model, adapter, False, seed=0)
    choose_layout(policy, layout)
    found, _ = response_logps(policy, batch)
    assert found.dtype == torch.float64
    assert (exact < -2000).all()
    assert ((found - exact).abs() <= 5e-6 * exact.abs()).all()  # a tenth of what is asked for
    off = ((found[0] - found[1]) - (exact[0] - exact[1])).abs()
    assert off <= 1e-3


@pytest.mark.parametrize(("device", "words"), [("cpu", 2**20 // 8192), ("meta", 2**26 // 8192)])
def test_a_gpu_gets_larger_tiles_than_a_processors_cache_holds(device, words):
    """8,192 tokens and 50,304 words: 393 tiles for a cache, 7 for a device that waits for each launch."""
    assert logprobs._width(torch.empty(8192, 1, device=device)) == words
    assert logprobs.chunk(torch.device(device)) // 50304 == {"cpu": 83, "meta": 1334}[device]
