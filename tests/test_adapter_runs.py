"""Adapters, by the commands as typed: SFT by one, that adapter and preferences by another; QLoRA below."""

import importlib.util
import json

import pandas as pd
import pytest
import torch
from peft import AutoPeftModelForCausalLM, LoraConfig, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from xright import models
from xright.errors import UserError

DATA = [
    "data=files", "data.streams.sft.path=sft.jsonl", "data.streams.preference.path=pairs.jsonl",
    "data.streams.sft.template='{instruction} '", "data.streams.preference.template='{instruction} '",
    "data.source.heldout=0.3", "data.max_length=48", "data.streams.sft.batch_size=4",
    "data.streams.preference.batch_size=4", "reference=base", "optim.lr=0.01", "trainer=cpu", "logger=csv",
    "threads=1", "model=hf",
]  # fmt: skip
FIRST = [*DATA, "model.path=base", "model.lora.r=2", "strategy=alright", "lam=0", "epochs=2"]
GOES_ON = [*DATA, "model.lora.continue=true", "strategy=mix", "lam=0.5", "epochs=1"]


@pytest.fixture(scope="module")
def place(tmp_path_factory, family, word_tokenizer, word_rows):
    """A folder with base/, sft.jsonl and pairs.jsonl."""
    folder = tmp_path_factory.mktemp("continued")
    models.export(family("llama", hidden_size=64, intermediate_size=128), word_tokenizer, folder / "base")
    word_rows(folder)
    return folder


@pytest.fixture(scope="module")
def runs(place, command_line):
    """The folders of SFT through an adapter, of a run that goes on with it and stands still, and of a joint run."""
    found: list = []
    for arguments in (FIRST, [*GOES_ON, "optim.lr=1e-12"], GOES_ON):
        path = [f"model.path={found[0] / 'model'}"] if found else []
        done = command_line.run(place, *arguments, *path, XRIGHT_CACHE="cache")
        assert done.returncode == 0, done.stderr
        found.append(place / done.stdout.strip().split("\n")[-1])
    assert "the adapter goes on" in done.stderr
    return found


def test_policy_and_reference_begin_as_the_sft_model(runs):
    first, still, joint = (pd.read_csv(folder / "trajectory.csv") for folder in runs)
    assert still["f_dpo"].iloc[-1] == pytest.approx(0.693147, abs=1e-5)  # the reference is the model as it comes in
    assert still["f_sft"].iloc[-1] == pytest.approx(first["f_sft"].iloc[-1], abs=1e-5)
    assert first["f_sft"].iloc[-1] < first["f_sft"].iloc[0] - 0.05
    assert joint["f_dpo"].iloc[-1] < 0.69


def test_one_adapter_comes_out_on_the_base_that_was_there(place, runs):
    before, after = (folder / "model" for folder in runs[::2])
    settings = json.loads((after / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == str(place / "base")
    assert (settings["r"], settings["lora_dropout"]) == (2, 0.0)
    assert not (after / "base").exists()
    ours, theirs = (load_file(folder / "adapter_model.safetensors") for folder in (after, before))
    assert ours.keys() == theirs.keys()
    assert all(not torch.equal(ours[key], theirs[key]) for key in ours)
    ids = torch.tensor([[5, 6, 7, 8, 9]])
    with torch.no_grad():
        expected = models.load(after)(input_ids=ids).logits
        torch.testing.assert_close(AutoPeftModelForCausalLM.from_pretrained(after)(input_ids=ids).logits, expected)


def test_the_optima_go_on_from_it_too(place, runs):
    """Each is the adapter trained on, so that f* is what continuing could reach."""
    for stage in (place / "cache").glob("optimum_*/*/model"):
        assert json.loads((stage / "adapter_config.json").read_text())["r"] == 2
    made = [len(list((place / "cache").glob(f"optimum_{name}/*/model"))) for name in ("dpo", "sft")]
    assert made == [3, 3]


@pytest.mark.parametrize("dropout", [0.0, 0.25])
def test_dropout_is_what_the_run_says(runs, dropout):
    policy = models.trainable(models.load(runs[0] / "model"), {"r": 0, "continue": True, "dropout": dropout}, False, 0)
    drawn = [module.p for name, module in policy.named_modules() if "lora_dropout" in name and hasattr(module, "p")]
    assert drawn
    assert {*drawn} == {dropout}


def test_what_is_not_lora_alone_is_refused(place, tmp_path, word_tokenizer):
    wider = LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["lm_head"], task_type="CAUSAL_LM")
    policy = get_peft_model(AutoModelForCausalLM.from_pretrained(place / "base"), wider)
    policy.save_pretrained(tmp_path / "wide")
    word_tokenizer.save_pretrained(tmp_path / "wide")
    with pytest.raises(UserError, match=r"also holds .*lm_head"):
        models.trainable(models.load(tmp_path / "wide"), {"r": 0, "continue": True, "dropout": 0.0}, False, 0)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["model.path=base"], "/base' is the folder of none"),
        (["model.path=RUN", "model.lora.r=3"], "goes on with its rank 2; leave model.lora.r out"),
        (["model.path=RUN", "model.lora.continue=1"], "must be true or false"),
        (["model.path=RUN", "start=average"], "so no adapter (model.lora.continue=true) can be trained"),
    ],
)
def test_bad_input_is_one_sentence(place, runs, command_line, given, says):
    words = [word.replace("RUN", str(runs[0] / "model")) for word in given]
    done = command_line.run(place, *GOES_ON, *words, XRIGHT_CACHE="cache")
    assert done.returncode == 2
    assert says in done.stderr


# --- QLoRA: policy and reference are the same model, the adapter goes onto the plain base ---

LORA = {"alpha": 4, "dropout": 0.0, "target_modules": None}
QUANTIZED = [*DATA, "model.path=base", "model.lora.r=2", "model.quantize=nf4", "strategy=mix", "epochs=1"]


def test_a_run_in_four_bits(place, command_line):
    still, moved = (
        command_line.run(place, *QUANTIZED, *more, XRIGHT_CACHE="cache") for more in (["optim.lr=1e-12"], ["epochs=2"])
    )
    assert still.returncode == moved.returncode == 0, still.stderr + moved.stderr
    folders = [place / done.stdout.strip().split("\n")[-1] for done in (still, moved)]
    first, last = (pd.read_csv(folder / "trajectory.csv") for folder in folders)
    assert first["f_dpo"].iloc[-1] == pytest.approx(0.693147, abs=1e-5)
    assert last["f_dpo"].iloc[-1] < 0.65
    assert last["f_sft"].iloc[-1] < last["f_sft"].iloc[0]
    adapter = folders[1] / "model"
    assert json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"] == str(place / "base")
    ids = torch.tensor([[5, 6, 7, 8, 9]])
    with torch.no_grad():
        plain = AutoPeftModelForCausalLM.from_pretrained(adapter)(input_ids=ids).logits
        rounded = models.load(adapter, quantize="nf4")(input_ids=ids).logits
    assert 1e-3 < (plain - rounded).abs().max() < plain.abs().max()  # four bits are not the base, but near it


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["model.quantize=int3"], "model.quantize='int3' must be nf4 or fp4"),
        (["model.lora.r=0"], "cannot be trained; leave it out, or give model.lora.r=16"),
        (
            ["strategy=model_average"],
            "merges plain weights, and the reference would be asked in 4 bits",
        ),
    ],
)
def test_bad_input_to_four_bits_is_one_sentence(place, command_line, given, says):
    done = command_line.run(place, *QUANTIZED, *given, XRIGHT_CACHE="cache")
    assert done.returncode == 2
    assert says in done.stderr


def test_an_evaluation_leaves_gradients(place):
    """On a CPU with AVX512-BF16 bitsandbytes would lay weights out anew there, and nothing could be trained."""
    policy = models.trainable(models.load(place / "base", quantize="nf4"), {"r": 2, **LORA}, False, 0)
    ids = torch.tensor([[5, 6, 7, 8, 9]])
    with models.evaluating(policy), torch.no_grad():
        policy(input_ids=ids)
    policy(input_ids=ids, labels=ids).loss.backward()
    halves = [each.grad for name, each in policy.named_parameters() if "lora_B" in name]
    assert all(grad is not None and grad.abs().sum() > 0 for grad in halves)


def test_without_bitsandbytes_it_is_a_sentence(place, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "xright.models.quantization.find_spec", lambda name: None if name == "bitsandbytes" else find(name)
    )
    with pytest.raises(UserError, match="needs bitsandbytes, which is not installed; pip install bitsandbytes"):
        models.load(place / "base", quantize="nf4")
