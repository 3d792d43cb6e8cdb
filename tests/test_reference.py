"""Reference log-probs: no setting of evaluation decides them, and they are asked for again before use."""

import random

import pytest
import torch

from xright.data.rows import Row, Rows
from xright.errors import UserError
from xright.pipeline.reference import TOKENS, _chunks, check_agrees, reference_logps


def pairs(lengths, seed=0):
    """Rows of random words with prompts and responses of these lengths."""
    draw = random.Random(seed)
    words = [[[draw.randrange(1, 40) for _ in range(n)] for n in (prompt, *rest)] for prompt, rest in lengths]
    return Rows.of(Row(number, prompt, tuple(responses)) for number, (prompt, *responses) in enumerate(words))


ROWS = pairs([(9, (30, 20)), (2, (3, 4)), (0, (6, 2)), (5, (8, 1)), (1, (2, 2))])


def stored(model, rows=ROWS):
    return rows.with_reference(*(table.numpy() for table in reference_logps(model, rows, 0, "padded")))


@pytest.mark.parametrize("layout", ["packed", "padded"])
def test_chunks_hold_every_row_once_and_few_tokens(layout):
    rows = pairs([(n % 50, (n % 7 + 1, n % 400 + 1)) for n in range(300)])
    chunks = _chunks(rows, layout)
    assert sorted(row.id for chunk in chunks for row in chunk) == list(range(300))
    assert len(chunks) > 3
    for chunk in chunks:
        longest = max(len(row.prompt) + max(map(len, row.responses)) for row in chunk)
        assert len(chunk) == 1 or len(chunk) * 2 * longest <= TOKENS


@pytest.mark.parametrize("layout", ["packed", "padded"])
def test_one_row_larger_than_a_chunk_stands_alone(layout):
    rows = pairs([(TOKENS, (2, 1)), (2, (3, 1)), (1, (1, 1))])
    found = [sorted(row.id for row in chunk) for chunk in _chunks(rows, layout)]
    assert found == [[0], [1, 2]]


@pytest.mark.parametrize("layout", ["packed", "padded"])
@pytest.mark.parametrize("model_type", ["gpt_neox", "llama", "mistral"])
def test_a_usual_model_agrees(model_type, layout, family):
    model = family(model_type)
    check_agrees(model, stored(model), 0, layout)


@pytest.mark.parametrize("layout", ["packed", "padded"])
def test_a_confident_model_agrees(layout, family):
    """Log-probs near zero are differences of numbers that are not."""
    model = family("llama")
    model.get_output_embeddings().weight.data *= 30
    check_agrees(model, stored(model), 0, layout)


def test_other_weights_do_not(family):
    with pytest.raises(UserError, match=r"LlamaForCausalLM gives a response .* nats in a batch of 1 rows, and"):
        check_agrees(family("llama", seed=1), stored(family("llama")), 0, "padded")


ROPE = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 4, "long_factor": [1.0, 4.0, 16.0, 32.0]}


@pytest.mark.parametrize("layout", ["packed", "padded"])
def test_a_model_that_looks_at_the_rows_beside_does_not(layout, family):
    """LongRoPE: a short row alone, with factors for short rows; with the longest, with those for long ones."""
    model = family(
        "phi3", num_key_value_heads=4, rope_parameters=ROPE | {"original_max_position_embeddings": 24},
        original_max_position_embeddings=24,
    )  # fmt: skip
    remedy = "give layout=padded" if layout == "packed" else r"lower data\.max_length"
    with pytest.raises(UserError, match=f"its attention depends on the rows of a batch, .*{remedy}"):
        check_agrees(model, stored(model), 0, layout)


def test_a_random_model_does_not(family):
    model = family("llama")
    rows = stored(model)
    model.model.norm.register_forward_hook(lambda _module, _inputs, out: out * (1 + 0.01 * torch.randn(out.shape)))
    with pytest.raises(UserError, match="or its forward is random"):
        check_agrees(model, rows, 0, "padded")
