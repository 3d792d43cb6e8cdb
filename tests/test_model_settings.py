"""Models and precisions through the real command line: each works or ends in a sentence; finished runs stay whole."""

import json
import os
import shutil
import subprocess
import sys
from typing import get_args

import pandas as pd
import pytest
import torch
from lightning.fabric.connector import _PRECISION_INPUT
from peft import AutoPeftModelForCausalLM, LoraConfig, PromptTuningConfig, get_peft_model
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from xright import models
from xright.data.world import World
from xright.evaluate import main as evaluate

GOOD = [
    "data=files", "data.streams.sft.path=sft.jsonl", "data.streams.preference.path=preference.jsonl",
    "data.streams.sft.template='{instruction} '", "data.streams.preference.template='{instruction} '",
    "data.source.heldout=0.3",
    "data.max_length=48", "data.streams.sft.batch_size=8", "data.streams.preference.batch_size=8", "model=hf",
    "model.path=model", "epochs=1",
    "trainer=cpu", "logger=csv", "threads=1",
]  # fmt: skip
LORA = ["model.lora.r=2", "model.lora.target_modules=[q_proj]"]
SIZES = {
    "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32,
    "max_position_embeddings": 64, "bos_token_id": 3, "eos_token_id": 3, "pad_token_id": 0, "initializer_range": 0.2,
}  # fmt: skip
WORKS = {"32-true", "32", "bf16-mixed", "bf16"}
ALL = {str(value) for kinds in get_args(_PRECISION_INPUT) for value in get_args(kinds)}  # all that Lightning knows


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Rows, and three models on their tokenizer: model/, adapter/ on it, and virtual/, whose tokens are beside it."""
    folder, world = tmp_path_factory.mktemp("place"), World()
    for stream in ("sft", "preference"):
        lines = [json.dumps(row) + "\n" for row in world.rows(stream, "train")[:40]]
        (folder / f"{stream}.jsonl").write_text("".join(lines))
    tokenizer = world.tokenizer()
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", vocab_size=len(tokenizer), **SIZES))
    model.save_pretrained(folder / "model")
    kinds = {
        "adapter": LoraConfig(r=4, lora_alpha=16, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"),
        "virtual": PromptTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM"),
    }
    for name, config in kinds.items():
        policy = get_peft_model(AutoModelForCausalLM.from_pretrained(folder / "model"), config)
        with torch.no_grad():
            for parameter in policy.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.3 * torch.randn_like(parameter))
        policy.save_pretrained(folder / name)
    for name in ("model", *kinds):
        tokenizer.save_pretrained(folder / name)
    return folder


@pytest.fixture(scope="module")
def run(place, tmp_path_factory, command_line):
    """run(*overrides): the finished command, in that place; its cache is shared by all of this file."""
    cache = tmp_path_factory.mktemp("cache")

    def start(*overrides):
        return command_line.run(place, *GOOD, *overrides, XRIGHT_CACHE=str(cache))

    return start


@pytest.fixture
def finished(run, place):
    """finished(*overrides): the folder of the run."""

    def start(*overrides):
        done = run(*overrides)
        assert done.returncode == 0, done.stderr
        return place / done.stdout.splitlines()[-1]

    return start


@pytest.fixture
def refused(run):
    """refused(*overrides): the sentence that is all there is."""

    def start(*overrides):
        done = run("name=refused", *overrides)
        assert (done.returncode, done.stdout) == (2, ""), done.stderr
        assert "Traceback" not in done.stderr
        (sentence,) = (line for line in done.stderr.splitlines() if line.startswith("xright: "))
        return sentence

    return start


def trajectory(folder):
    return pd.read_csv(folder / "trajectory.csv")[["step", "f_dpo", "f_sft"]]


# --- precision -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", sorted(ALL - WORKS))
def test_a_precision_that_weights_cannot_be_trained_in_is_refused(precision, refused):
    sentence = refused(f"trainer.precision={precision}")
    assert sentence.replace("'", "").startswith(f"xright: trainer.precision={precision} is none that xright trains in")
    assert "give 32-true, or bf16-mixed" in sentence


@pytest.mark.parametrize("precision", sorted(ALL & WORKS))
def test_a_precision_that_works_trains(precision, finished):
    folder = finished(f"trainer.precision={precision}")
    values = trajectory(folder)
    assert values.notna().all().all()
    assert values.f_sft.iloc[-1] < values.f_sft.iloc[0]


def test_all_parameters_in_bfloat16_are_refused_and_an_adapter_beside_them_is_not(refused, finished):
    sentence = refused("model.dtype=bfloat16")
    assert "model.dtype='bfloat16' with model.lora.r=0" in sentence
    assert "give model.dtype=float32 trainer.precision=bf16-mixed" in sentence
    folder = finished("model.dtype=bfloat16", *LORA)
    adapter = models.load(folder / "model", "bfloat16")
    dtypes = {"lora_" in name: parameter.dtype for name, parameter in adapter.named_parameters()}
    assert dtypes == {True: torch.float32, False: torch.bfloat16}


# --- a base that is an adapter's folder -------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", [[], LORA], ids=["full", "lora"])
def test_an_adapter_as_base_is_its_merged_weights(policy, finished, place):
    """Run for run as from a folder with plain weights, merged by PEFT."""
    if not (place / "merged").exists():
        merged = AutoPeftModelForCausalLM.from_pretrained(place / "adapter").merge_and_unload()
        merged.save_pretrained(place / "merged")
        World().tokenizer().save_pretrained(place / "merged")
    ours, plain = (finished(f"model.path={name}", *policy, f"name={name}") for name in ("adapter", "merged"))
    pd.testing.assert_frame_equal(trajectory(ours), trajectory(plain), rtol=1e-5)
    assert trajectory(ours).f_sft.nunique() > 1
    loaded = AutoPeftModelForCausalLM if policy else AutoModelForCausalLM
    ids = torch.arange(5, 15)[None]
    with torch.no_grad():
        logits = [loaded.from_pretrained(folder / "model").eval()(ids).logits for folder in (ours, plain)]
    torch.testing.assert_close(*logits, rtol=1e-4, atol=1e-4)


def test_virtual_tokens_are_told(refused):
    assert "virtual' holds a PROMPT_TUNING adapter, whose virtual tokens" in refused("model.path=virtual")


# --- the reference ---------------------------------------------------------------------------------------------------


def test_a_reference_of_another_tokenizer_is_refused(refused, finished, place):
    words = json.loads(World().tokenizer().backend_tokenizer.to_str())
    vocabulary = words["model"]["vocab"]
    one, other = sorted(vocabulary, key=vocabulary.get)[-2:]
    vocabulary[one], vocabulary[other] = vocabulary[other], vocabulary[one]
    shutil.copytree(place / "model", place / "other", dirs_exist_ok=True)
    core = Tokenizer.from_str(json.dumps(words))
    PreTrainedTokenizerFast(tokenizer_object=core, eos_token=World().tokenizer().eos_token).save_pretrained(
        place / "other"
    )
    assert "has another tokenizer than the policy" in refused("reference=other")
    finished("reference=model")


# --- an export does not need the cache --------------------------------------------------------------------------------


def test_a_finished_adapter_outlives_the_cache_its_base_was_built_in(command_line, tmp_path, capsys):
    """By the commands as they are typed: run, prune everything, run again, evaluate; and for PEFT elsewhere."""
    lora = ["debug=fast", "logger=csv", "model.lora.r=2", "model.lora.target_modules=[query_key_value]"]
    environment = {"XRIGHT_CACHE": str(tmp_path / "cache")}
    done = command_line.run(tmp_path, *lora, **environment)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / done.stdout.splitlines()[-1]
    ids = torch.arange(5, 15)[None]
    with torch.no_grad():
        expected = models.load(folder / "model").eval()(ids).logits
    prune = [sys.executable, "-m", "xright.cache", "prune", "--all"]
    done = subprocess.run(prune, env=os.environ | environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not list((tmp_path / "cache").glob("base/*/model"))
    with torch.no_grad():
        torch.testing.assert_close(models.load(folder / "model").eval()(ids).logits, expected)
        torch.testing.assert_close(
            AutoPeftModelForCausalLM.from_pretrained(folder / "model").eval()(ids).logits, expected
        )
    assert evaluate([str(folder), "tasks=[behaviour]"]) == 0
    again = command_line.run(tmp_path, *lora, **environment)
    assert (again.returncode, "finished already" in again.stderr) == (0, True)
