"""Merges: against PEFT's own functions, and through the real command."""

import shutil
from types import SimpleNamespace

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils import merge_utils
from transformers import AutoModelForCausalLM

from xright.errors import UserError
from xright.models import load
from xright.models.pretrained import Pretrained
from xright.starts import DARE, SLERP, TIES, Average, TaskArithmetic
from xright.starts.ties import elected

EVEN = {"dpo": 0.5, "sft": 0.5}
DRAW = torch.Generator()


@pytest.fixture
def stages(tiny_model, word_tokenizer, tmp_path):
    """Stages as a start sees them: a base, and two models trained elsewhere."""
    for seed, name in enumerate(("base", "dpo", "sft")):
        tiny_model(seed).save_pretrained(tmp_path / name / "model")
        word_tokenizer.save_pretrained(tmp_path / name / "model")
    path = str(tmp_path / "base" / "model")
    return SimpleNamespace(
        settings=SimpleNamespace(model=SimpleNamespace(trust_remote_code=False, gradient_checkpointing=False)),
        base=SimpleNamespace(path=path, load=lambda dtype, code: load(path, dtype)),
        solved=lambda name: Pretrained(str(tmp_path / name / "model")),
    )


def parameters(model):
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


@pytest.fixture
def vectors():
    draw = torch.Generator().manual_seed(0)
    return [torch.randn(40, 7, generator=draw) * torch.rand(40, 7, generator=draw) ** 3 for _ in range(3)]


def test_task_arithmetic_is_peft_s(vectors):
    weights = [0.5, 0.3, 0.2]
    ours = TaskArithmetic({"a": 0.5, "b": 0.3, "c": 0.2}).added(vectors, weights, DRAW)
    torch.testing.assert_close(ours, merge_utils.task_arithmetic(vectors, torch.tensor(weights)))


@pytest.mark.parametrize("density", [0.1, 0.2, 0.5, 1.0])
def test_ties_is_peft_s(vectors, density):
    """PEFT multiplies each kept entry by its weight before it takes the mean, so equal weights of 1 are our shares."""
    ours = TIES(dict.fromkeys("abc", 1), density).added(vectors, [1 / 3] * 3, DRAW)
    torch.testing.assert_close(ours, merge_utils.ties(vectors, torch.ones(3), density))


def test_dare_keeps_a_share_and_the_mean():
    """Of 40,000 entries 1: a fifth stays, each five times as large, so that the mean is 1 ± 3·√(4/40,000)."""
    vector = torch.ones(200, 200)
    found = DARE({"a": 1}, density=0.2).added([vector], [1.0], torch.Generator().manual_seed(1))
    assert set(found.unique().tolist()) == {0.0, 5.0}
    assert found.mean() == pytest.approx(1.0, abs=3 * (4 / 40_000) ** 0.5)


def test_dare_of_density_1_is_what_it_is_put_together_by(vectors):
    for elect, expected in ((False, sum(vectors) / 3), (True, elected(vectors, [1 / 3] * 3))):
        rule = DARE(dict.fromkeys("abc", 1), density=1.0, elect=elect)
        torch.testing.assert_close(rule.added(vectors, [1 / 3] * 3, DRAW), expected)


def test_task_arithmetic_of_scale_1_is_the_average(stages):
    summed, averaged = (parameters(start(EVEN).policy(stages, 0)) for start in (TaskArithmetic, Average))
    for name, value in summed.items():
        torch.testing.assert_close(value, averaged[name], rtol=0, atol=1e-6)


def test_wise_ft_lies_between_the_base_and_the_model(stages, tiny_model):
    between = parameters(TaskArithmetic({"sft": 1}, scale=0.25).policy(stages, 0))
    base, tuned = parameters(tiny_model(0)), parameters(tiny_model(2))
    for name, value in between.items():
        torch.testing.assert_close(value, 0.75 * base[name] + 0.25 * tuned[name], rtol=0, atol=1e-6)


@pytest.fixture
def adapted(stages, tmp_path):
    """The stages, their two models being adapters as PEFT saves them; and PEFT's model of the base that holds both."""
    for seed, name in enumerate(EVEN):
        shutil.rmtree(tmp_path / name / "model")
        policy = get_peft_model(AutoModelForCausalLM.from_pretrained(stages.base.path), LoraConfig(r=4, lora_alpha=8))
        torch.manual_seed(seed)
        for key, parameter in policy.named_parameters():
            if "lora_" in key:
                torch.nn.init.normal_(parameter, std=0.3)
        policy.save_pretrained(tmp_path / name / "model")
    base = AutoModelForCausalLM.from_pretrained(stages.base.path)
    both = PeftModel.from_pretrained(base, tmp_path / "dpo" / "model", adapter_name="dpo")
    both.load_adapter(tmp_path / "sft" / "model", adapter_name="sft")
    return stages, both


@pytest.mark.parametrize(
    ("start", "weights", "combined"),
    [
        (TaskArithmetic({"dpo": 0.3, "sft": 0.7}), [0.3, 0.7], {"combination_type": "cat"}),
        (TIES(EVEN, density=0.2), [1.0, 1.0], {"combination_type": "ties_svd", "density": 0.2, "svd_rank": 16}),
    ],
    ids=["task arithmetic", "ties"],
)
def test_adapters_are_merged_as_peft_combines_them(adapted, start, weights, combined):
    """PEFT's exact combinations: matrices side by side, and a singular value decomposition that cuts nothing off.

    What is added has a norm of up to 12, so that float32's decomposition is right to some 12·1.2e-7, which on one
    processor is 1e-6 and on another 2e-6; another choice of entries differs by tenths.
    """
    stages, both = adapted
    both.add_weighted_adapter([*EVEN], weights, "sum", **combined)
    both.set_adapter("sum")
    expected, base = parameters(both.merge_and_unload()), parameters(stages.base.load("float32", False))
    found = parameters(start.policy(stages, 0))
    changed = [name for name, value in found.items() if not torch.equal(value, base[name])]
    assert changed
    assert all("query_key_value" in name for name in changed)
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=1e-5)


def test_slerp_keeps_the_length_on_the_arc(stages, tiny_model):
    """Its ends are the models; half way, a tensor is as long as those between which it lies, where these are alike."""
    first, second = parameters(tiny_model(1)), parameters(tiny_model(2))
    for share, expected in ((0.0, first), (1.0, second)):
        found = parameters(SLERP({"dpo": 1 - share, "sft": share}).policy(stages, 0))
        for name, value in found.items():
            torch.testing.assert_close(value, expected[name], rtol=0, atol=1e-6)
    middle = parameters(SLERP(EVEN).policy(stages, 0))
    name = next(name for name in middle if name.endswith("query_key_value.weight"))
    lengths = first[name].norm(), second[name].norm()
    assert min(lengths) * 0.999 <= middle[name].norm() <= max(lengths) * 1.001


def test_dare_is_a_function_of_the_seed(stages):
    first, again, other = (parameters(DARE(EVEN).policy(stages, seed)) for seed in (3, 3, 4))
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    assert not all(torch.equal(value, other[name]) for name, value in first.items())


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: TIES(EVEN, density=0), "start.density=0 must be a number in"),
        (lambda: DARE(EVEN, density=1.5), "start.density=1.5 must be a number in"),
        (lambda: DARE(EVEN, elect="yes"), "start.elect='yes' must be true or false"),
        (lambda: TaskArithmetic(EVEN, scale=0), "start.scale=0 must be a number > 0"),
        (lambda: SLERP({"a": 1, "b": 1, "c": 1}), "start=slerp lies between two models"),
    ],
)
def test_bad_values_are_refused(make, said):
    with pytest.raises(UserError, match=said):
        make()
