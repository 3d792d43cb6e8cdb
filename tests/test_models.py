import json
import math
import shutil
import subprocess
import sys

import pytest
import torch
from peft import PeftModel
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers import models as tokenizer_models
from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

from xright import models
from xright.errors import UserError
from xright.forward.fits import check_fits

SIZE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 32}
ARCHITECTURES = {
    "gpt_neox": {**SIZE, "intermediate_size": 32},
    "llama": {**SIZE, "intermediate_size": 32, "num_key_value_heads": 4},
    "opt": {**SIZE, "ffn_dim": 32, "word_embed_proj_dim": 16},
    "qwen2": {**SIZE, "intermediate_size": 32, "num_key_value_heads": 2},  # grouped queries
}
NO_LORA = {"r": 0}
LORA = {"r": 2, "alpha": 4, "dropout": 0.0, "target_modules": None}
TARGETS = {"gpt_neox": "query_key_value", "llama": "q_proj", "opt": "q_proj", "qwen2": "v_proj"}
IDS = torch.tensor([[5, 6, 7, 8, 9]])


@pytest.fixture(scope="module")
def tokenizer():
    """A byte-level BPE, trained on the spot."""
    core = Tokenizer(tokenizer_models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=280, special_tokens=["</s>"], initial_alphabet=alphabet)
    core.train_from_iterator(["the quick brown fox", "jumps over the lazy dog"], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="</s>")


@pytest.fixture(scope="module")
def built(tokenizer, tmp_path_factory):
    """built(model_type): the folder of such a model."""
    root = tmp_path_factory.mktemp("models")

    def folder(model_type):
        if not (root / model_type).is_dir():
            architecture = {"model_type": model_type, **ARCHITECTURES[model_type]}
            models.export(models.build(architecture, tokenizer, seed=1), tokenizer, root / model_type)
        return root / model_type

    return folder


def logits(model):
    with torch.no_grad():
        return model(input_ids=IDS).logits


def train_a_little(policy):
    """Move what is trainable, LoRA's B away from zero in particular."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in policy.parameters():
            if parameter.requires_grad:
                parameter.add_(0.2 * torch.randn_like(parameter))
    return policy


def adapter(base, folder, tokenizer, seed=0):
    """Save a trained adapter on `base` to `folder`; the policy."""
    policy = train_a_little(models.trainable(models.load(base), {**LORA, "r": 2}, False, seed))
    with torch.no_grad():
        for name, parameter in policy.named_parameters():
            if "lora_" in name:
                parameter.add_(seed * torch.ones_like(parameter))
    models.export(policy, tokenizer, folder)
    return policy.eval()


@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_loads_and_fits(model_type, built, tokenizer):
    loaded = models.load_tokenizer(str(built(model_type)))
    assert loaded("the fox")["input_ids"] == tokenizer("the fox")["input_ids"]
    model = models.load(built(model_type))
    assert not model.training
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    check_fits(model, tokenizer, max_length=32)


def test_build_is_seeded(tokenizer):
    architecture = {"model_type": "gpt_neox", **ARCHITECTURES["gpt_neox"]}
    same, again, other = (models.build(architecture, tokenizer, seed) for seed in (1, 1, 2))
    assert torch.equal(logits(same), logits(again))
    assert not torch.equal(logits(same), logits(other))


@pytest.mark.parametrize("bad", [{"model_type": "gpt_neocks"}, {"model_type": "gpt_neox", "hidden_size": "wide"}])
def test_build_of_nonsense(bad, tokenizer):
    with pytest.raises(UserError, match=r"model\.init=\{.*(gpt_neocks|wide)"):
        models.build(bad, tokenizer, seed=0)


@pytest.mark.parametrize("model_type", ["gpt_neox", "opt"])
def test_dropout_is_off_in_training_mode(model_type, built, tmp_path):
    folder = shutil.copytree(built(model_type), tmp_path / model_type)
    config = json.loads((folder / "config.json").read_text())
    dropout = dict.fromkeys(("dropout", "attention_dropout", "hidden_dropout", "layerdrop"), 0.5)
    (folder / "config.json").write_text(json.dumps(config | dropout))
    policy = models.trainable(models.load(folder), NO_LORA, False, seed=0)
    assert policy.training
    assert torch.equal(logits(policy), logits(policy))
    assert torch.allclose(logits(policy), logits(policy.eval()), atol=1e-6)


@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_full_training_has_every_parameter(model_type, built):
    model = models.load(built(model_type)).requires_grad_(False)
    policy = models.trainable(model, NO_LORA, False, seed=0)
    assert policy is model
    assert all(parameter.requires_grad for parameter in policy.parameters())


@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_adapter_training_freezes_the_base(model_type, built):
    lora = {**LORA, "target_modules": [TARGETS[model_type]]}
    policy = models.trainable(models.load(built(model_type)), lora, False, seed=0)
    names = {name for name, parameter in policy.named_parameters() if parameter.requires_grad}
    ends = {f"{TARGETS[model_type]}.lora_{half}.default.weight" for half in "AB"}
    assert len(names) == 2 * SIZE["num_hidden_layers"]
    assert all(any(name.endswith(end) for end in ends) for name in names)
    assert torch.allclose(logits(policy), logits(models.load(built(model_type))))  # B starts at zero


def test_adapter_start_is_seeded(built):
    def start(seed):
        policy = models.trainable(models.load(built("gpt_neox")), LORA, False, seed)
        return torch.cat([p.flatten() for name, p in policy.named_parameters() if "lora_A" in name])

    assert torch.equal(start(1), start(1))
    assert not torch.equal(start(1), start(2))


@pytest.mark.parametrize("lora", [NO_LORA, LORA], ids=["full", "lora"])
@pytest.mark.parametrize("model_type", ["gpt_neox", "llama", "opt"])
def test_gradient_checkpointing_changes_no_gradient(model_type, lora, built, recwarn):
    def gradients(checkpointing):
        policy = train_a_little(models.trainable(models.load(built(model_type)), lora, checkpointing, seed=0))
        forwards = []
        body = policy.get_base_model().base_model if lora["r"] else policy.base_model
        layers = body.layers if hasattr(body, "layers") else body.decoder.layers
        inner = next(module for module in layers[0].modules() if not list(module.children()))
        inner.register_forward_pre_hook(lambda *_: forwards.append(1))
        policy(input_ids=IDS, labels=IDS, use_cache=False).loss.backward()
        found = {name: p.grad for name, p in policy.named_parameters() if p.requires_grad}
        return found, len(forwards)

    plain, forwards = gradients(False)
    checkpointed, recomputed = gradients(True)
    assert (forwards, recomputed) == (1, 2)  # the layer is computed again in the backward pass
    assert all(gradient is not None for gradient in plain.values())
    for name, gradient in plain.items():
        torch.testing.assert_close(checkpointed[name], gradient)
    assert not [w for w in recwarn if "requires_grad" in str(w.message) or "reentrant" in str(w.message)]


def test_bf16(built):
    model = models.load(built("llama"), "bfloat16")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    torch.testing.assert_close(logits(model).float(), logits(models.load(built("llama"))), atol=0.02, rtol=0.02)


def test_wrong_dtype(built):
    with pytest.raises(UserError, match=r"model\.dtype='float16' must be one of float32, bfloat16"):
        models.load(built("llama"), "float16")


@pytest.mark.parametrize("target", ["query", "input_layernorm"], ids=["absent", "not linear"])
def test_wrong_target_names_what_exists(target, built):
    with pytest.raises(UserError) as caught:
        models.trainable(models.load(built("gpt_neox")), {**LORA, "target_modules": [target]}, False, seed=0)
    assert target in str(caught.value) or target == "input_layernorm"
    for linear in ("query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"):
        assert f"'{linear}'" in str(caught.value)


FOREIGN = """
import sys, torch
from peft import PeftModel
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

full, base, adapter, out = sys.argv[1:]
ids = torch.tensor([[5, 6, 7, 8, 9]])
with torch.no_grad():
    first = AutoModelForCausalLM.from_pretrained(full)(ids).logits
    second = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter)(ids).logits
torch.save((first, second), out)
assert AutoTokenizer.from_pretrained(adapter).eos_token == "</s>"
assert "xright" not in sys.modules
"""


def test_exports_load_without_xright(built, tokenizer, tmp_path):
    base = built("llama")
    full = train_a_little(models.trainable(models.load(base), NO_LORA, False, seed=0))
    models.export(full, tokenizer, tmp_path / "full")
    adapted = adapter(base, tmp_path / "adapter", tokenizer)
    folders = [tmp_path / "full", base, tmp_path / "adapter", tmp_path / "logits"]
    subprocess.run([sys.executable, "-c", FOREIGN, *map(str, folders)], check=True, cwd=tmp_path)
    first, second = torch.load(tmp_path / "logits")
    torch.testing.assert_close(first, logits(full.eval()))
    torch.testing.assert_close(second, logits(adapted))
    assert list((tmp_path / "full").glob("*.safetensors"))
    assert (tmp_path / "adapter" / "adapter_model.safetensors").is_file()


def test_adapter_folder_follows_its_base(built, tokenizer, tmp_path):
    adapted = adapter(built("gpt_neox"), tmp_path, tokenizer)
    assert not torch.allclose(logits(adapted), logits(models.load(built("gpt_neox"))), atol=1e-3)
    loaded, merged = models.load(tmp_path), models.load_merged(tmp_path)
    assert isinstance(loaded, PeftModel)
    torch.testing.assert_close(logits(loaded), logits(adapted))
    assert not isinstance(merged, PeftModel)
    torch.testing.assert_close(logits(merged), logits(adapted), atol=1e-5, rtol=1e-4)
    check_fits(loaded, tokenizer, max_length=32)


def test_average_of_plain_models(built, tokenizer, tmp_path):
    other = train_a_little(models.load(built("llama")))
    models.export(other, tokenizer, tmp_path)
    averaged = dict(models.average({built("llama"): 0.25, tmp_path: 0.75}).named_parameters())
    first, second = (dict(models.load(folder).named_parameters()) for folder in (built("llama"), tmp_path))
    assert averaged.keys() == first.keys()
    for name, parameter in averaged.items():
        torch.testing.assert_close(parameter, 0.25 * first[name] + 0.75 * second[name])


def test_average_of_adapters_is_of_merged_weights(built, tokenizer, tmp_path):
    one, two = (adapter(built("llama"), tmp_path / str(seed), tokenizer, seed) for seed in (1, 2))
    averaged = models.average({tmp_path / "1": 0.5, tmp_path / "2": 0.5})
    base = models.load(built("llama"))

    def delta(policy):  # ΔW = (α/r)·B·A
        q = policy.get_base_model().model.layers[0].self_attn.q_proj
        return (LORA["alpha"] / LORA["r"]) * q.lora_B["default"].weight @ q.lora_A["default"].weight

    expected = base.model.layers[0].self_attn.q_proj.weight + 0.5 * delta(one) + 0.5 * delta(two)
    torch.testing.assert_close(averaged.model.layers[0].self_attn.q_proj.weight, expected)
    torch.testing.assert_close(averaged.lm_head.weight, base.lm_head.weight)


@pytest.mark.parametrize("tied", [True, False])
def test_average_counts_tied_weights_once(tied, tokenizer, tmp_path):
    architecture = {"model_type": "llama", **ARCHITECTURES["llama"], "tie_word_embeddings": tied}
    heads = []
    for seed in (1, 2):
        model = models.build(architecture, tokenizer, seed)
        models.export(model, tokenizer, tmp_path / str(seed))
        heads.append(model.lm_head.weight)
    averaged = models.average({tmp_path / "1": 0.25, tmp_path / "2": 0.75})
    torch.testing.assert_close(averaged.lm_head.weight, 0.25 * heads[0] + 0.75 * heads[1])


def test_too_large_a_vocabulary(built, tokenizer):
    rows = models.load(built("llama")).get_input_embeddings().num_embeddings
    larger = models.load_tokenizer(str(built("llama")))
    larger.add_tokens(["more"])
    sentence = f"ids go up to {rows} but the model's embedding has only {rows} rows; give the tokenizer"
    with pytest.raises(UserError, match=sentence):
        check_fits(models.load(built("llama")), larger, max_length=8)


@pytest.mark.parametrize("model_type", ["gpt_neox", "opt"])
def test_too_few_positions(model_type, built, tokenizer):
    with pytest.raises(UserError, match=r"data\.max_length=33 exceeds the model's 32 positions"):
        check_fits(models.load(built(model_type)), tokenizer, max_length=33)


@pytest.mark.parametrize(
    "architecture",
    [
        {"model_type": "gemma2", "head_dim": 4, "num_key_value_heads": 2, "final_logit_softcapping": 30.0},
        {"model_type": "cohere", "num_key_value_heads": 2, "logit_scale": 0.0625},
        {"model_type": "granite", "num_key_value_heads": 2, "logits_scaling": 8.0},
    ],
    ids=lambda architecture: architecture["model_type"],
)
def test_scaled_and_capped_logits_are_followed(architecture, tokenizer):
    model = models.build({**SIZE, "intermediate_size": 32, **architecture}, tokenizer, seed=0)
    check_fits(model, tokenizer, max_length=8)


def test_unknown_changes_to_logits_are_refused(tokenizer, monkeypatch):
    model = models.build({**SIZE, "model_type": "llama", "intermediate_size": 32}, tokenizer, seed=0)
    plain = model.forward

    def doubled(*args, **kwargs):
        output = plain(*args, **kwargs)
        output.logits = 2 * output.logits
        return output

    monkeypatch.setattr(model, "forward", doubled)
    with pytest.raises(UserError, match="LlamaForCausalLM changes its logits"):
        check_fits(model, tokenizer, max_length=8)


def test_nothing_there(tmp_path):
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", tmp_path / "absent"):
        with pytest.raises(UserError, match=f"no causal LM could be loaded from '{path}'"):
            models.load(path)
        with pytest.raises(UserError, match=f"no tokenizer could be loaded from '{path}'"):
            models.load_tokenizer(str(path))
    with pytest.raises(UserError, match="absent"):
        models.fingerprint(tmp_path / "absent")


def test_configuration_without_weights(built, tmp_path):
    (tmp_path / "config.json").write_text((built("llama") / "config.json").read_text())
    with pytest.raises(UserError, match="no causal LM could be loaded"):
        models.load(tmp_path)


@pytest.mark.parametrize("change", [{"intermediate_size": 64}, {"num_hidden_layers": 3}])
def test_weights_of_another_config(change, built, tmp_path):
    for file in built("llama").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(UserError, match=r"no whole causal LM: \['model\.layers"):
        models.load(tmp_path)


def test_weights_cut_off(built, tmp_path):
    for file in built("llama").iterdir():
        content = file.read_bytes()
        (tmp_path / file.name).write_bytes(content[:-100] if file.suffix == ".safetensors" else content)
    with pytest.raises(UserError, match="no causal LM could be loaded"):
        models.load(tmp_path)


def test_an_encoder_is_refused(tokenizer, tmp_path):
    torch.manual_seed(0)
    sizes = {**SIZE, "intermediate_size": 32, "vocab_size": len(tokenizer), "is_decoder": False}
    BertForMaskedLM(BertConfig(**sizes)).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="BertLMHeadModel looks ahead"):
        check_fits(models.load(tmp_path), tokenizer, max_length=8)


def test_weights_that_are_nan(built, tokenizer):
    model = models.load(built("llama"))
    model.get_output_embeddings().weight.data[3] = torch.nan
    with pytest.raises(UserError, match="LlamaForCausalLM computes NaN"):
        check_fits(model, tokenizer, max_length=8)


def test_only_safetensors(built, tmp_path):
    shutil.copytree(built("llama"), tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").unlink()
    torch.save(models.load(built("llama")).state_dict(), tmp_path / "model" / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"no file named model\.safetensors"):
        models.load(tmp_path / "model")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda folder: (folder / "adapter_config.json").write_text("{"), r"adapter_config\.json' names no base model"),
        (lambda folder: (folder / "adapter_config.json").write_text("{}"), r"\('base_model_name_or_path'\)"),
        (lambda folder: (folder / "adapter_model.safetensors").unlink(), "must hold a whole adapter_model.safetensors"),
        (
            lambda folder: (folder / "adapter_model.safetensors").write_bytes(b"12345678901"),
            "no adapter could be loaded",
        ),
        (lambda folder: save_file({}, folder / "adapter_model.safetensors"), r"no whole adapter: \['base_model\.model"),
    ],
)
def test_damaged_adapters(damage, says, built, tokenizer, tmp_path):
    adapter(built("llama"), tmp_path, tokenizer)
    damage(tmp_path)
    with pytest.raises(UserError, match=says):
        models.load(tmp_path)


def test_fingerprint_follows_content_and_names(tmp_path):
    (tmp_path / "config.json").write_text("aa")
    first = models.fingerprint(tmp_path)
    assert models.fingerprint(str(tmp_path)) == first
    (tmp_path / "config.json").write_text("ab")  # the same size
    second = models.fingerprint(tmp_path)
    (tmp_path / "config.json").rename(tmp_path / "other.json")
    assert len({first, second, models.fingerprint(tmp_path)}) == 3


def test_logits_are_finite(built):  # the tiny models above compute something
    assert all(math.isfinite(float(logits(models.load(built(name))).abs().sum())) for name in ARCHITECTURES)
