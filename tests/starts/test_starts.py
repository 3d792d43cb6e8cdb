"""Where a run begins: every yaml of conf/start, and the average by hand."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from xright.config.build import build
from xright.errors import UserError
from xright.models.pretrained import Pretrained
from xright.starts import Average, Base, Start

NAMES = sorted(file.stem for file in (Path(__file__).parents[2] / "conf" / "start").glob("*.yaml"))
PLAIN = SimpleNamespace(model=SimpleNamespace(trust_remote_code=False, gradient_checkpointing=False))


def stages(models, tokenizer, folder):
    """As much of `Stages` as a start asks for: the models of the optima, in their folders."""
    for name, model in models.items():
        model.save_pretrained(folder / name / "model")
        tokenizer.save_pretrained(folder / name / "model")
    return SimpleNamespace(settings=PLAIN, solved=lambda name: Pretrained(str(folder / name / "model")))


def test_these_are_all():
    assert NAMES == ["average", "base", "dare", "slerp", "task_arithmetic", "ties", "wise_ft"]


def test_each_has_its_row_in_the_docs():
    page = (Path(__file__).parents[2] / "docs" / "howto" / "rules.md").read_text()
    rows = page.partition("## Merges")[2].partition("\n## ")[0].splitlines()
    assert {line.split("`")[1] for line in rows if line.startswith("| `")} - {"start="} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_start_has_a_name_and_the_weights_of_the_run(name, compose):
    cfg = compose(f"start={name}", "lam=0.25")
    start = build(cfg.start)
    assert isinstance(start, Start)
    assert start.name
    expected = {"base": None, "wise_ft": {"sft": 1.0}}
    assert start.importance == expected.get(name, {"dpo": 0.25, "sft": 0.75})


def test_the_base_is_the_policy_of_its_seed():
    asked = []
    start = Base()
    assert start.policy(SimpleNamespace(policy=lambda seed: asked.append(seed) or "a policy"), 7) == "a policy"
    assert asked == [7]
    assert (start.name, start.importance, start.is_reference) == ("base", None, True)


@pytest.mark.parametrize(
    "weights", [{"dpo": 0.25, "sft": 0.75}, {"dpo": 2, "sft": 1, "safety": 1}, {"dpo": 0, "sft": 1}], ids=str
)
def test_the_average_is_weighted_parameter_by_parameter(weights, tiny_model, word_tokenizer, tmp_path):
    models = {name: tiny_model(seed) for seed, name in enumerate(("dpo", "sft", "safety"))}
    start = Average(weights)
    averaged = start.policy(stages(models, word_tokenizer, tmp_path), seed=3)
    shares = {name: weight / sum(weights.values()) for name, weight in weights.items()}
    each = [dict(models[name].named_parameters()) for name in shares]
    for key, value in averaged.named_parameters():
        expected = sum(share * found[key] for share, found in zip(shares.values(), each, strict=True))
        torch.testing.assert_close(value, expected, rtol=0, atol=1e-7)
    assert averaged.training
    assert all(parameter.requires_grad for parameter in averaged.parameters())
    assert (start.name, start.importance, start.is_reference) == ("Model average", shares, False)


@pytest.mark.parametrize("weight", [-0.5, "half"])
def test_weights_must_be_numbers_from_0(weight):
    with pytest.raises(UserError, match=r"weights\.dpo="):
        Average({"dpo": weight, "sft": 1})
