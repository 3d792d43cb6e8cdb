"""Adapters as other trainers save them, on tied embeddings, on one another, and far from their base."""

import json
import re
import shutil

import pytest
import torch
from peft import AutoPeftModelForCausalLM, LoraConfig, PromptTuningConfig, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from xright import models
from xright.errors import UserError
from xright.models import adapters

IDS = torch.tensor([[5, 6, 7, 8, 9]])
LORA = {"r": 4, "alpha": 8, "dropout": 0.0}
PEFT = {"r": 4, "lora_alpha": 8, "task_type": "CAUSAL_LM"}
SCALE = 2.0  # α/r


def logits(model):
    with torch.no_grad():
        return model.eval()(input_ids=IDS, use_cache=False).logits


def moved(policy):
    """The policy with all that is trainable moved from its start."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in policy.parameters():
            if parameter.requires_grad:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return policy


@pytest.fixture
def base(family, word_tokenizer, tmp_path):
    """base(tied): the folder of a Llama."""

    def make(tied=False):
        folder = tmp_path / ("tied" if tied else "base")
        models.export(family("llama", tie_word_embeddings=tied), word_tokenizer, folder)
        return folder

    return make


@pytest.fixture
def adapter(base, word_tokenizer, tmp_path):
    """adapter(config, …): the folder of an adapter as PEFT saves it, and the logits of what was saved."""

    def make(config, tied=False, rows=None, name="adapter"):
        model = AutoModelForCausalLM.from_pretrained(base(tied))
        if rows:
            model.resize_token_embeddings(rows)
        policy = moved(get_peft_model(model, config))
        policy.save_pretrained(tmp_path / name)
        word_tokenizer.save_pretrained(tmp_path / name)
        return tmp_path / name, logits(policy)

    return make


# --- what others save ------------------------------------------------------------------------------------------------

KINDS = {
    "modules_to_save": ({"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens", "lm_head"]}, None),
    "dora": ({"target_modules": ["q_proj", "v_proj"], "use_dora": True}, None),
    "bias": ({"target_modules": ["q_proj"], "bias": "all"}, None),
    "trainable_tokens": ({"target_modules": ["q_proj"], "trainable_token_indices": [5, 7]}, None),
    "grown": ({"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens", "lm_head"]}, 45),
    "grown_lora_only": ({"target_modules": ["q_proj"]}, 45),
}


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("kind", KINDS)
def test_adapters_of_any_kind_say_what_they_said_when_saved(kind, tied, adapter):
    settings, rows = KINDS[kind]
    folder, expected = adapter(LoraConfig(**PEFT, **settings), tied, rows)
    loaded = logits(models.load(folder))
    torch.testing.assert_close(loaded, expected, rtol=1e-4, atol=1e-4)
    merged = models.load_merged(folder)
    torch.testing.assert_close(logits(merged), expected, rtol=1e-4, atol=1e-4)
    merged.save_pretrained(folder.parent / "merged")
    plain = AutoModelForCausalLM.from_pretrained(folder.parent / "merged")
    torch.testing.assert_close(logits(plain), expected, rtol=1e-4, atol=1e-4)


def test_virtual_tokens_are_refused(adapter):
    folder, _ = adapter(PromptTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM"))
    with pytest.raises(UserError, match="PROMPT_TUNING adapter, whose virtual tokens"):
        models.load(folder)


# --- tied embeddings -------------------------------------------------------------------------------------------------

MATRICES = {"embed_tokens": "model.embed_tokens", "lm_head": "lm_head"}


def delta(folder, matrix):
    """ΔW = (α/r)·B·A of a saved adapter, as it stands in the file; an embedding's is transposed."""
    found = load_file(folder / "adapter_model.safetensors")
    halves = {key: tensor for key, tensor in found.items() if f".{matrix}.lora_" in key}
    (a,), (b,) = ([tensor for key, tensor in halves.items() if re.search(f"_{half}\\b", key)] for half in "AB")
    product = b @ a
    return SCALE * (product if matrix == "lm_head" else product.T)


def one(base, tokenizer, targets, folder, seed):
    policy = models.trainable(models.load(base), {**LORA, "target_modules": targets}, False, seed)
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in policy.named_parameters():
            if "lora_" in name:
                parameter.copy_(0.3 * torch.randn_like(parameter))
    models.export(policy, tokenizer, folder)
    return logits(policy)


@pytest.mark.parametrize("targets", [["embed_tokens"], ["lm_head"], ["embed_tokens", "lm_head"]], ids="+".join)
def test_merging_on_tied_embeddings(targets, base, word_tokenizer, tmp_path):
    place = base(tied=True)
    expected = one(place, word_tokenizer, targets, tmp_path / "a", seed=1)
    merged = models.load_merged(tmp_path / "a")
    torch.testing.assert_close(logits(merged), expected, rtol=1e-4, atol=1e-4)
    embedding = models.load(place).get_input_embeddings().weight
    for target, name in MATRICES.items():
        weight = merged.get_submodule(name).weight
        change = delta(tmp_path / "a", target) if target in targets else 0
        torch.testing.assert_close(weight, embedding + change)
    models.export(merged, word_tokenizer, tmp_path / "merged")
    assert not json.loads((tmp_path / "merged" / "config.json").read_text())["tie_word_embeddings"]
    torch.testing.assert_close(logits(models.load(tmp_path / "merged")), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("targets", [["embed_tokens"], ["lm_head"], ["q_proj"]], ids="+".join)
def test_averages_on_tied_embeddings(targets, base, word_tokenizer, tmp_path):
    """Σ w·(W + ΔW) matrix by matrix, from the files."""
    place, weights = base(tied=True), {tmp_path / "1": 0.25, tmp_path / "2": 0.75}
    for seed, folder in enumerate(weights, 1):
        one(place, word_tokenizer, targets, folder, seed)
    averaged, embedding = models.average(weights), models.load(place).get_input_embeddings().weight
    for target, name in MATRICES.items():
        change = sum(w * delta(folder, target) for folder, w in weights.items()) if target in targets else 0
        torch.testing.assert_close(averaged.get_submodule(name).weight, embedding + change)
    assert adapters.is_tied(averaged) == (targets == ["q_proj"])


def test_an_average_of_a_tied_and_an_untied_model(base, word_tokenizer, tmp_path):
    place = base(tied=True)
    one(place, word_tokenizer, ["lm_head"], tmp_path / "head", seed=1)
    embedding = models.load(place).get_input_embeddings().weight
    averaged = models.average({place: 0.5, tmp_path / "head": 0.5})
    torch.testing.assert_close(averaged.get_input_embeddings().weight, embedding)
    torch.testing.assert_close(averaged.lm_head.weight, embedding + 0.5 * delta(tmp_path / "head", "lm_head"))


# --- an adapter's base -----------------------------------------------------------------------------------------------


def test_an_adapter_carries_its_base_and_may_move(base, word_tokenizer, tmp_path):
    place = base()
    policy = moved(models.trainable(models.load(place), {**LORA, "target_modules": ["q_proj"]}, False, 0))
    expected = logits(policy)
    models.export(policy, word_tokenizer, tmp_path / "run" / "model", carried=place)
    shutil.rmtree(place)
    folder = tmp_path / "run" / "model"
    assert json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"] == str(folder / "base")
    torch.testing.assert_close(logits(AutoPeftModelForCausalLM.from_pretrained(folder)), expected)
    (tmp_path / "run").rename(tmp_path / "elsewhere")
    torch.testing.assert_close(logits(models.load(tmp_path / "elsewhere" / "model")), expected)
    assert models.fingerprint(tmp_path / "elsewhere" / "model")


def test_a_full_model_carries_nothing(base, word_tokenizer, tmp_path):
    models.export(models.load(base()), word_tokenizer, tmp_path / "model", carried=base())
    assert not (tmp_path / "model" / "base").exists()


def test_a_linear_module_that_is_none_is_told(family):
    """DeepSeek-V4's grouped projections and PhiMoE's routers are nn.Linear by name only."""
    model = family("phimoe", num_key_value_heads=2, num_local_experts=2, sliding_window=None)
    with pytest.raises(UserError, match=r"model\.lora does not fit the model .* its linear modules are .*'q_proj'"):
        models.trainable(model, {**LORA, "target_modules": "all-linear"}, False, seed=0)
