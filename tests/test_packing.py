"""Packed against padded: the same losses and gradients, for real rows, random lengths and every family of models."""

import gzip
import json
import logging
import random
import re
from functools import lru_cache
from itertools import chain

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from xright import models
from xright.data.prompts import Row, encode
from xright.data.stream import Stream
from xright.data.templates import Template
from xright.evaluation.generate import complete
from xright.forward import logprobs
from xright.forward.attention import attention
from xright.forward.collate import collate
from xright.forward.logprobs import PACKED, response_logps
from xright.forward.packing import choose_layout
from xright.forward.trie import LEAST, Branch
from xright.objectives import DPO, IPO, ORPO, SFT
from xright.pipeline.reference import reference_logps

COMPLETIONS = Stream("sft", "completions")
PAIRS = Stream("preference", "pairs")
FAMILIES = ["gpt_neox", "llama", "opt", "qwen2", "qwen3", "mistral"]
POSITIONS = 64  # of the models of `family`


def policy_of(model, lora=False, gradient_checkpointing=False):
    """All of it trainable, or an adapter that is not at its start, where half of its gradients are zero."""
    target = "query_key_value" if model.config.model_type == "gpt_neox" else "q_proj"
    lora = {"r": 4 if lora else 0, "alpha": 8, "dropout": 0.0, "target_modules": [target]}
    policy = models.trainable(model, lora, gradient_checkpointing, seed=0)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in policy.named_parameters():
            if "lora_" in name:
                parameter.copy_(0.3 * torch.randn_like(parameter))
    return policy


def prepared(model):
    """The model, with packed attention."""
    assert choose_layout(model, "packed") == "packed"
    return model


def step(policy, batch, loss_of):
    """(loss, {name: gradient}) of `loss_of(policy, batch)`."""
    named = {name: p for name, p in policy.named_parameters() if p.requires_grad}
    loss = loss_of(policy, batch)
    found = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    zeros = (torch.zeros_like(p) if g is None else g for p, g in zip(named.values(), found, strict=True))
    return loss.item(), dict(zip(named, zeros, strict=True))


def mixed_logps(policy, batch):
    """A loss that weighs every sequence differently, so that none can be taken for another, and cancels nothing."""
    logps_S, _ = response_logps(policy, batch)
    return logps_S @ torch.linspace(1, 3, len(logps_S), dtype=logps_S.dtype, device=logps_S.device)


def assert_same(found, expected, what=""):
    """Losses within 1e-5; each parameter's gradient within 5e-5 of its norm, but for rounding where it is as good as
    zero (moving all keys by a bias moves no attention)."""
    assert found[0] == pytest.approx(expected[0], rel=1e-5, abs=1e-6), what
    scale = max(float(gradient.norm()) for gradient in expected[1].values())
    for name, gradient in expected[1].items():
        assert (found[1][name] - gradient).norm() <= 5e-5 * gradient.norm() + 1e-6 * scale, f"{what} {name}"


# --- real rows -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def neox(real_data):
    return AutoTokenizer.from_pretrained(real_data / "tokenizer_gptneox")


@pytest.fixture(scope="module")
def real_rows(real_data, neox):
    """{stream: rows} of at most 72 tokens, some cut there; single and paired, single and many turns."""

    def read(file, count):
        with gzip.open(real_data / f"{file}.jsonl.gz", "rt", encoding="utf-8") as lines:
            return [json.loads(line) for line in lines][:count]

    sft = [
        {"prompt": f"{row['instruction']}\n{row['input']}".strip(), "response": row["output"]}
        for row in (*read("sft/dolly_filtered3k", 2), *read("sft/book_instructions", 2))
    ]
    plain = [row for file in ("pref/pku_saferlhf_test", "pref/book_politeness") for row in read(file, 1)]
    turns = read("pref/hh_helpful_test", 20)  # most are longer
    rows = {
        "sft": [*encode(sft, COMPLETIONS, Template("plain"), neox, 72)[0]],
        "preference": [
            *encode(plain, PAIRS, Template("plain"), neox, 72)[0],
            *list(encode(turns, PAIRS, Template("raw"), neox, 72)[0])[:1],
        ],
    }
    lengths = [
        len(row.prompt) + len(response) for stream in rows.values() for row in stream for response in row.responses
    ]
    assert max(lengths) == 72
    assert min(lengths) < 36
    assert (len(rows["sft"]), len(rows["preference"])) == (4, 3)
    return rows


@pytest.fixture(scope="module")
def real_model(family, neox):
    """make(model_type, seed): for the real tokenizer; Mistral's window is shorter than the rows."""

    def make(model_type, seed=0):
        window = {"sliding_window": 16} if model_type == "mistral" else {}
        return family(model_type, seed, vocab_size=len(neox), max_position_embeddings=72, **window)

    return make


@pytest.fixture(scope="module")
def with_reference(real_rows, real_model):
    """with_reference(model_type): the real rows, pairs with the log-probs of another model of that family."""

    @lru_cache
    def rows(model_type):
        pairs, reference = real_rows["preference"], real_model(model_type, seed=1)
        tables = [reference_logps(reference, pairs, pad=0, layout=layout) for layout in ("padded", "packed")]
        known, packed = (dict(zip(ids.tolist(), logps.tolist(), strict=True)) for ids, logps in tables)
        assert reference.config._attn_implementation == PACKED
        assert all(packed[row.id] == pytest.approx(known[row.id], rel=1e-5) for row in pairs)
        pairs = [Row(row.id, row.prompt, row.responses, tuple(known[row.id])) for row in pairs]
        return {"sft": real_rows["sft"], "preference": pairs}

    return rows


OBJECTIVES = [SFT(), DPO(), IPO(), ORPO()]


@pytest.mark.parametrize("lora", [True, False], ids=["lora", "full"])
@pytest.mark.parametrize("model_type", FAMILIES)
def test_real_rows_packed_and_chunked_as_padded_and_whole(model_type, lora, with_reference, real_model, monkeypatch):
    rows, policy = with_reference(model_type), policy_of(real_model(model_type), lora)
    losses = {repr(objective): lambda *args, f=objective: f(*args)[0] for objective in OBJECTIVES}
    streams = {repr(objective): rows[objective.stream] for objective in OBJECTIVES}
    monkeypatch.setattr(logprobs, "CHUNK", 10**12)
    padded = {name: step(policy, collate(streams[name], 0), loss) for name, loss in losses.items()}
    prepared(policy)
    monkeypatch.setattr(logprobs, "CHUNK", 20 * 50280)
    for name, loss in losses.items():
        batch = collate(streams[name], 0, "packed")
        assert len(batch.token_N) > 3 * 20  # several chunks
        assert batch.input_ids_LT.numel() <= batch.n_input_tokens
        assert_same(step(policy, batch, loss), padded[name], name)


# --- random lengths --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=FAMILIES)
def both(request, family):
    """(model type, a plain model, the same with packed attention)."""
    return request.param, policy_of(family(request.param)), prepared(policy_of(family(request.param)))


def rows_of(lengths, seed):
    """Rows of random tokens from their lengths (prompt, (response, …))."""
    draw = random.Random(seed)
    sides = [[[draw.randrange(40) for _ in range(n)] for n in (prompt, *responses)] for prompt, responses in lengths]
    return [Row(number, prompt, tuple(responses)) for number, (prompt, *responses) in enumerate(sides)]


SHAPES = st.integers(1, 3).flatmap(
    lambda responses: st.lists(
        st.tuples(st.integers(0, 14), st.tuples(*[st.integers(1, 14)] * responses)), min_size=1, max_size=5
    )
)


@given(SHAPES, st.integers(0, 99), st.sampled_from([1, 7 * 40, 10**9]))
@example([(0, (9, 3)), (0, (2, 5))], 0, 40)  # empty prompts
@example([(0, (1, 1)), (0, (2, 1)), (4, (1, 1))], 0, 40)  # responses of one token, some with nothing to predict
@example([(1, (1, 1))], 0, 40)
@example([(POSITIONS - 1, (1, 1)), (1, (POSITIONS - 1, 1)), (40, (24, 24)), (0, (POSITIONS, 2))], 0, 280)  # the longest
@example([(13, (11, 11, 11))] * 4, 0, 280)
@settings(max_examples=15, deadline=None)
def test_random_lengths(both, lengths, seed, chunk):
    _, plain, packed = both
    rows = rows_of(lengths, seed)
    expected = step(plain, collate(rows, 0), mixed_logps)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logprobs, "CHUNK", chunk)
        assert_same(step(packed, collate(rows, 0, "packed"), mixed_logps), expected)


# Parts that rows put together: rows that begin alike or are equal, sequences that begin others, and nothing in common.
PARTS = [[], [5], [5, 6], *([start + number for number in range(LEAST)] for start in (1, 9, 20)), [3] * 11]
TOGETHER = st.lists(st.sampled_from(PARTS), max_size=3).map(lambda parts: [*chain.from_iterable(parts)])
TRIES = st.integers(1, 2).flatmap(
    lambda responses: st.lists(
        st.tuples(TOGETHER, st.tuples(*[TOGETHER.filter(bool)] * responses)), min_size=1, max_size=5
    )
)


@given(TRIES)
@example([(PARTS[3], ([5, 6, 7], [5, 6])), (PARTS[3], ([5, 6, 7], [5])), (PARTS[3] + [5], ([6, 7], [8] * 20))])
@example([(PARTS[3], (PARTS[4],)), (PARTS[3] + PARTS[4], (PARTS[5],)), ([], (PARTS[3] + PARTS[4] + PARTS[5],))])
@settings(max_examples=15, deadline=None)
def test_random_tries(both, rows):
    _, plain, packed = both
    rows = [Row(number, prompt, responses) for number, (prompt, responses) in enumerate(rows)]
    expected = step(plain, collate(rows, 0), mixed_logps)
    assert_same(step(packed, collate(rows, 0, "packed"), mixed_logps), expected)


def chat_rows():
    """Rows behind one template; some prompts have two pairs, and one is a later turn of another."""
    template = [*range(1, 13)]
    one, other = [*template, 20, 21], [*template, 31, *range(20, 30)]
    later = [*one, *range(25, 36), 17]
    rows = [(one, (later[14:30], [7, 8])), (other, ([5, 6], [5, 7])), (later, ([9], [4, 3])), (one, ([6], [7, 8, 9]))]
    return [Row(number, *row) for number, row in enumerate(rows)]


@pytest.mark.parametrize("lora", [True, False], ids=["lora", "full"])
@pytest.mark.parametrize("model_type", FAMILIES)
def test_rows_of_one_template(model_type, lora, family):
    policy, rows = policy_of(family(model_type), lora), chat_rows()
    expected = step(policy, collate(rows, 0), mixed_logps)
    batch = collate(rows, 0, "packed")
    apart = sum(collate([row], 0, "packed").input_ids_LT.numel() for row in rows)
    assert batch.input_ids_LT.numel() < 0.7 * apart < apart < batch.n_input_tokens
    assert_same(step(prepared(policy), batch, mixed_logps), expected)


def test_a_row_is_worth_the_same_whoever_shares_its_line(both):
    """What is stored of it may have been computed among any others."""
    _, _, packed = both
    rows = chat_rows()
    with torch.no_grad():
        logps_RB, *others = (
            response_logps(packed, collate(some, 0, "packed"))[0].view(2, -1)
            for some in (rows, *([row] for row in rows), rows[2:], rows[::-1])
        )
    torch.testing.assert_close(torch.cat(others[:4], 1), logps_RB, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(others[4], logps_RB[:, 2:], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(others[5].flip(1), logps_RB, rtol=1e-6, atol=1e-6)


def test_equal_responses_to_different_prompts(both):
    """And equal prompts with different responses: each row sees its own prompt only."""
    _, plain, packed = both
    rows = [Row(i, prompt, ([5, 6, 7], [8, 6])) for i, prompt in enumerate(([1, 2], [3], [], [2, 1], [1, 2, 3, 4, 5]))]
    rows += [Row(9, [1, 2], ([5, 6, 7], [8, 6])), Row(10, [1, 2], ([8, 6], [5, 6, 7]))]
    batch = collate(rows, 0, "packed")
    assert_same(step(packed, batch, mixed_logps), step(plain, collate(rows, 0), mixed_logps))
    logps_RB = response_logps(packed, batch)[0].detach().view(2, 7)
    torch.testing.assert_close(logps_RB[:, 5], logps_RB[:, 0], rtol=1e-5, atol=0)
    torch.testing.assert_close(logps_RB[:, 6].flip(0), logps_RB[:, 0], rtol=1e-5, atol=0)
    others = logps_RB[0, :5].tolist()
    assert len({round(logp, 3) for logp in others}) == 5


def test_a_prepared_model_is_unchanged_for_everyone_else(both, make_rows):
    """Padded batches, and a plain forward with and without a mask."""
    _, plain, packed = both
    batch = collate(make_rows(4, responses=2), 0)
    assert_same(step(packed, batch, mixed_logps), step(plain, batch, mixed_logps))
    masked = {"input_ids": batch.input_ids_LT, "attention_mask": batch.attention_mask_LT}
    for inputs in (masked, {"input_ids": batch.input_ids_LT}):
        with torch.no_grad():
            torch.testing.assert_close(packed(**inputs).logits, plain(**inputs).logits)


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("model_type", FAMILIES)
def test_gradient_checkpointing_gives_the_same_gradients(model_type, lora, family, make_rows):
    def result(checkpointing):
        policy = prepared(policy_of(family(model_type), lora, checkpointing))
        body, forwards = logprobs.backbone_and_head(policy)[0], []
        layers = body.layers if hasattr(body, "layers") else body.decoder.layers
        inner = next(module for module in layers[0].modules() if not list(module.children()))
        inner.register_forward_pre_hook(lambda *_: forwards.append(1))
        return step(policy, collate(make_rows(4, responses=2), 0, "packed"), mixed_logps), len(forwards)

    (plain, once), (checkpointed, twice) = result(False), result(True)
    assert (once, twice) == (1, 2)  # the layer is computed again in the backward
    assert_same(checkpointed, plain)


def test_dropout_of_attention_is_passed_on(family, make_rows):
    model = prepared(family("gpt_neox", attention_dropout=0.5))
    batch = collate(make_rows(4, responses=2), 0, "packed")

    def logps(seed):
        torch.manual_seed(seed)
        with torch.no_grad():
            return response_logps(model, batch)[0]

    model.train()
    assert torch.equal(logps(0), logps(0))
    assert not torch.allclose(logps(0), logps(1), rtol=1e-2)
    model.eval()
    assert torch.equal(logps(0), logps(1))
    torch.testing.assert_close(logps(0), response_logps(prepared(family("gpt_neox")), batch)[0].detach())


# --- on a GPU --------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not torch.cuda.is_available(), reason="FlexAttention has no backward on a CPU")
@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("model_type", ["gpt_neox", "qwen2", "mistral"])
def test_a_whole_step_on_a_gpu(model_type, lora, family, make_rows):
    """FlexAttention, compiled, for two batches of different size; heads of 32."""
    policy = policy_of(family(model_type, hidden_size=128).cuda(), lora)
    batches = [make_rows(n, responses=2, seed=n) for n in (3, 40)]
    device = torch.device("cuda")
    expected = [step(policy, collate(rows, 0).to(device), mixed_logps) for rows in batches]
    prepared(policy)
    for rows, padded in zip(batches, expected, strict=True):
        assert_same(step(policy, collate(rows, 0, "packed").to(device), mixed_logps), padded)


# --- which layout ----------------------------------------------------------------------------------------------------

UNPACKABLE = {
    "bloom": {"n_layer": 2, "n_head": 4},  # attention of its own, with a bias for distance
    "falcon": {},  # attention of its own
    "mamba": {},  # no attention
    # caps its attention scores, here too small for the probe to feel it
    "gemma2": {"head_dim": 8, "num_key_value_heads": 2, "initializer_range": 0.02},
    "jamba": {  # layers that carry a state along the line
        "num_key_value_heads": 2, "attn_layer_offset": 1, "attn_layer_period": 2, "num_experts": 2,
        "mamba_d_state": 4, "mamba_dt_rank": 4,
    },
}  # fmt: skip


def warnings_of(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING and
            record.name.startswith("xright")]  # fmt: skip


@pytest.mark.parametrize("model_type", UNPACKABLE)
def test_models_that_cannot_be_packed_say_so_and_stay_as_they_were(model_type, family, make_rows, caplog):
    model = family(model_type, **UNPACKABLE[model_type])
    batch, before = collate(make_rows(3), 0), model.config._attn_implementation
    with torch.no_grad():
        expected = response_logps(model, batch)[0]
    for times in (1, 2):
        assert choose_layout(model, "packed") == "padded"
        assert len(warnings_of(caplog)) == times
        assert f"layout: padded, since {type(model).__name__} cannot be packed" in warnings_of(caplog)[-1]
        assert "\n" not in warnings_of(caplog)[-1]
    assert model.config._attn_implementation == before
    with torch.no_grad():
        assert torch.equal(response_logps(model, batch)[0], expected)
    with pytest.raises(RuntimeError, match="without packed attention"):
        response_logps(model, collate(make_rows(3), 0, "packed"))


def test_a_window_that_attention_is_not_told_of_is_found(family):
    """A packed batch brings no mask, so a pattern that lives only there would be lost in silence."""
    model = family("phimoe", num_key_value_heads=2, num_local_experts=2, sliding_window=16).eval()  # no router noise
    layout, rows = choose_layout(model, "packed"), rows_of([(30, (20, 9))], seed=0)
    assert layout == "padded"
    with torch.no_grad():
        found, expected = (response_logps(model, collate(rows, 0, kind))[0] for kind in (layout, "padded"))
    torch.testing.assert_close(found, expected)


def test_a_gemma_2_without_that_cap_can_be_packed(family, make_rows, caplog):
    uncapped = UNPACKABLE["gemma2"] | {"initializer_range": 0.3, "attn_logit_softcapping": None, "sliding_window": 3}
    model = family("gemma2", **uncapped)
    expected = step(model, collate(make_rows(4, responses=2), 0), mixed_logps)
    prepared(model)
    assert not warnings_of(caplog)
    assert_same(step(model, collate(make_rows(4, responses=2), 0, "packed"), mixed_logps), expected)


def test_an_attention_that_differs_is_found_by_the_probe(family, monkeypatch, caplog):
    """As a model would that does something else with the attention it asked for."""
    model = family("llama")
    projection = model.model.layers[1].self_attn.o_proj
    projection.register_forward_hook(
        lambda _, __, out: out * 1.01 if model.config._attn_implementation == PACKED else out
    )
    assert choose_layout(model, "packed") == "padded"
    (warning,) = warnings_of(caplog)
    assert re.search(r"its (log-probs|gradients) differ from a plain forward's by 0\.0", warning)
    assert model.config._attn_implementation == "sdpa"


def with_outliers(model):
    """A channel of the residual stream and of the last hidden states far larger than others, as in pretrained Llamas;
    the head takes that back."""
    with torch.no_grad():
        for matrix in (
            model.model.embed_tokens.weight.T,
            *(layer.mlp.down_proj.weight for layer in model.model.layers),
        ):
            matrix[3] *= 50
        model.model.norm.weight[3] *= 400
        model.lm_head.weight[:, 3] /= 400
    return model


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("seed", range(3))
def test_outlier_channels_are_no_objection(seed, dtype, family, make_rows, caplog):
    """In SmolLM2 the largest hidden value is 44 where the mean is .85; thirty layers round by 1e-6 of the norm: 2e-4
    of the mean. Here the rounding of so many layers is put in by hand."""
    model = with_outliers(family("llama", seed, num_hidden_layers=6, hidden_size=64)).to(dtype).eval()
    noise = torch.Generator().manual_seed(seed)
    most = 9 if dtype == torch.float32 else 12**-0.5  # a bfloat16 is rounded once: by up to half an epsilon

    def rounded(_module, _inputs, out):
        if model.config._attn_implementation != PACKED:
            return out
        return (out * (1 + most * torch.finfo(dtype).eps * torch.randn(out.shape, generator=noise))).to(dtype)

    model.model.norm.register_forward_hook(rounded)
    batches = [collate(make_rows(9, responses=2), 0, layout) for layout in ("padded", "packed")]
    with torch.no_grad():
        padded = logprobs.hidden_states(model, batches[0])[batches[0].line_N, batches[0].position_N]
        assert choose_layout(model, "packed") == "packed"
        packed = logprobs.hidden_states(model, batches[1])[batches[1].line_N, batches[1].position_N]
    assert not warnings_of(caplog)
    assert padded.abs().max() > 40 * padded.abs().mean()
    if dtype == torch.float32:
        assert (packed - padded).abs().max() > 1e-4 * padded.abs().mean()


def test_an_attention_that_differs_is_found_beside_outlier_channels(family):
    model = with_outliers(family("llama", num_hidden_layers=6, hidden_size=64))
    attention = model.model.layers[3].self_attn
    attention.v_proj.register_forward_hook(
        lambda _, __, out: out * 1.001 if model.config._attn_implementation == PACKED else out
    )
    assert choose_layout(model, "packed") == "padded"


LEAKY = {"lfm2": {"layer_types": ["conv", "full_attention"]}, "lfm2_moe": {"layer_types": ["conv", "full_attention"]}}


@pytest.mark.parametrize("spread", [0.3, 0.005, 1e-4])
@pytest.mark.parametrize("model_type", LEAKY)
def test_a_state_that_leaks_is_found_however_small_it_is(model_type, spread, family, make_rows, caplog):
    """A convolution takes the last tokens of the row before; with small weights no log-prob shows it."""
    model = family(model_type, **LEAKY[model_type], num_key_value_heads=2, initializer_range=spread)
    assert choose_layout(model, "packed") == "padded"
    assert "what a token says reaches other rows of the line" in warnings_of(caplog)[-1]


@pytest.mark.parametrize("name", ["indices", "block_indices", "s_aux", "softcap", "position_bias", "new_in_2027"])
def test_an_option_of_attention_that_is_not_known_is_refused(name):
    inputs, branches = [torch.randn(1, 4, 5, 6)] * 3, (Branch(0, 4), Branch(2, 1))
    attention(None, *inputs, None, branches, **{name: None, "scaling": 0.5, "position_ids": torch.arange(5)})
    with pytest.raises(ValueError, match=rf"does not know \['{name}'\]"):
        attention(None, *inputs, None, branches, **{name: torch.ones(5)})


def test_a_mask_of_the_models_own_is_refused():
    inputs = [torch.randn(1, 4, 3, 6)] * 3
    with pytest.raises(ValueError, match="the model's own attention mask"):
        attention(None, *inputs, torch.ones(1, 1, 3, 3, dtype=torch.bool), (Branch(0, 3),))


def test_sparse_attention_stays_padded(family, make_rows, caplog):
    """DeepSeek-V3.2: a query sees the keys that an indexer selects, here 4; fewer than the probe has."""
    sizes = {
        "q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8,
        "index_head_dim": 16, "index_n_heads": 16, "index_topk": 4, "n_routed_experts": 4, "num_experts_per_tok": 2,
        "moe_intermediate_size": 16, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1,
        "num_key_value_heads": 4,
    }  # fmt: skip
    model = family("deepseek_v32", **sizes)
    assert choose_layout(model, "packed") == "padded"
    assert "packed attention does not know ['indices']" in warnings_of(caplog)[-1]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_choosing_leaves_no_trace_and_may_be_repeated(family, training, dtype, caplog):
    model = policy_of(family("qwen3").to(dtype), lora=True).train(training)
    weights = {name: p.clone() for name, p in model.state_dict().items()}
    forwards, state = [], torch.get_rng_state()
    model.get_base_model().model.register_forward_hook(lambda *_: forwards.append(1))
    assert choose_layout(model, "padded") == "padded"
    assert (model.get_base_model().config._attn_implementation, forwards) == ("sdpa", [])  # nothing is touched
    assert choose_layout(model, "packed") == "packed"
    probes = len(forwards)
    assert choose_layout(model, "packed") == "packed"
    assert (len(forwards), probes) == (5, 5)  # packed, padded, two sequences alone, and shaken, once
    assert model.get_base_model().config._attn_implementation == PACKED
    assert model.training == training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(p, weights[name]) for name, p in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert not warnings_of(caplog)


@pytest.mark.parametrize("before", ["eager", "sdpa"])
def test_the_attention_before_does_not_matter(before, family, make_rows):
    model = family("llama", attn_implementation=before)
    assert model.config._attn_implementation == before
    expected = step(model, collate(make_rows(4), 0), mixed_logps)
    assert_same(step(prepared(model), collate(make_rows(4), 0, "packed"), mixed_logps), expected)


# --- what others see of a packed policy ------------------------------------------------------------------------------


@pytest.mark.parametrize("model_type", FAMILIES)
def test_an_exported_policy_is_a_plain_model(model_type, family, word_tokenizer, tmp_path):
    model = prepared(family(model_type))
    models.export(model, word_tokenizer, tmp_path)
    assert not [file.name for file in tmp_path.glob("*.json") if PACKED in file.read_text()]
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert loaded.config._attn_implementation == "sdpa"
    ids = torch.arange(1, 12)[None]
    with torch.no_grad():
        torch.testing.assert_close(loaded(ids).logits, model.eval()(ids).logits)


def test_an_exported_adapter_is_plain_too(family, word_tokenizer, tmp_path):
    models.export(family("llama"), word_tokenizer, tmp_path / "base")
    policy = prepared(policy_of(models.load(tmp_path / "base"), lora=True))
    models.export(policy, word_tokenizer, tmp_path / "adapter")
    assert not [file.name for file in (tmp_path / "adapter").glob("*.json") if PACKED in file.read_text()]
    ids = torch.arange(1, 12)[None]
    with torch.no_grad():
        torch.testing.assert_close(models.load(tmp_path / "adapter")(ids).logits, policy.eval()(ids).logits)


@pytest.mark.parametrize("model_type", FAMILIES)
def test_generation_is_unchanged(model_type, family, word_tokenizer):
    prompts = [
        "w3 w1 w4 w1 w5 w9 w2 w6 w5",
        "w7",
        "w2 w7 w1",
        "w31 w8 w2 w8",
    ]  # padded on the left; Mistral's window: 5
    model = family(model_type)
    expected = complete(model, word_tokenizer, prompts, 20, batch_size=3)
    assert len(set(expected)) == 4
    assert complete(prepared(model), word_tokenizer, prompts, 20, batch_size=3) == expected
