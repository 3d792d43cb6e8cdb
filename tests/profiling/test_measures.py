"""The measures of one model, against what torch says of plain forwards."""

import pytest
import torch

from xright.data.rows import Row
from xright.forward.collate import collate
from xright.objectives import DPO, SFT
from xright.profiling.measures import cosine, divergence, gradient, losses

PROMPTS = [
    [Row(1, [3, 4, 5], ([6, 7],)), Row(2, [3, 4, 5], ([8],))],
    [Row(3, [9, 2], ([11, 12, 13],))],
    [Row(4, [9, 5], ([1, 2, 13],))],
]


@pytest.fixture
def batches():
    return [collate(group, 0, "padded") for group in PROMPTS]


def logps(model, row):
    tokens = torch.tensor([row.prompt + row.responses[0]])
    with torch.no_grad():
        return model(tokens).logits[0].double().log_softmax(-1)[len(row.prompt) - 1 : -1]


def test_losses_by_prompt(tiny_model, batches):
    model = tiny_model(0)
    found = losses(model, SFT(), batches)
    expected = [
        -sum(float(logps(model, row).gather(1, torch.tensor(row.responses[0])[:, None]).sum()) for row in group)
        for group in PROMPTS
    ]
    assert found.sums_C == pytest.approx(expected, rel=1e-5)
    assert found.units_C.tolist() == [3, 3, 3]
    assert found.mean() == pytest.approx(sum(expected) / 9, rel=1e-5)


def test_divergence_is_exact(tiny_model, batches):
    base, other = tiny_model(0), tiny_model(1)
    parts = [(logps(base, row), logps(other, row)) for group in PROMPTS for row in group]
    expected = torch.cat([(p.exp() * (p - q)).sum(-1) for p, q in parts]).mean()
    assert divergence(base, other, batches) == pytest.approx(float(expected), rel=1e-5)
    assert divergence(base, base, batches) == 0


def test_gradients_of_halves_add_up(tiny_model, batches):
    model = tiny_model(0)
    found, halves = gradient(model, SFT(), batches)
    total = sum(SFT()(model, batch)[0] for batch in batches)
    expected = torch.cat([one.flatten() for one in torch.autograd.grad(total, list(model.parameters()))])
    torch.testing.assert_close(found, expected)
    assert -1 <= halves <= 1
    first = gradient(model, SFT(), batches[::2])[0]
    second = gradient(model, SFT(), batches[1::2])[0]
    assert halves == cosine(first, second)
    assert gradient(model, SFT(), batches[:1])[1] != halves  # NaN: one prompt has no halves


def test_preferring_the_other_answer_turns_the_gradient_round(tiny_model):
    """At the reference ∇ of a pair is −β/2 ∇(log π(a) − log π(b)); with the answers swapped its sign changes."""
    model = tiny_model(0)
    answers = ([5, 6], [7])
    rows = [Row(n, [3, 4], both, reference=(0.0, 0.0)) for n, both in enumerate((answers, answers[::-1]))]
    pairs = [collate([row], 0) for row in rows]
    straight, swapped = (gradient(model, DPO(beta=1e-6, label_smoothing=0.0), [pair])[0] for pair in pairs)
    assert cosine(straight, swapped) == pytest.approx(-1, abs=1e-3)
