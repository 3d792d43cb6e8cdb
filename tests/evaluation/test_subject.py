import json
from pathlib import Path

import pytest
import torch
import yaml
from peft import LoraConfig, get_peft_model

from xright import models
from xright.errors import UserError
from xright.evaluation.subject import subject_of

CFG = {
    "out": "out", "template": None, "dtype": "float32", "trust_remote_code": False, "batch_size": 4, "seed": 3,
    "max_length": None,
}  # fmt: skip
CHAT = "{% for m in messages %}<{{ m.role }}> {{ m.content }} {% endfor %}"


@pytest.fixture
def folder(tmp_path, tiny_model, word_tokenizer):
    """A model in the Hugging Face layout."""
    models.export(tiny_model(), word_tokenizer, tmp_path / "small")
    return tmp_path / "small"


@pytest.fixture
def run(tmp_path, tiny_model, word_tokenizer):
    """The folder of a finished run."""
    place = tmp_path / "runs" / "study" / "strategy-mix_lam-0.5_seed-0"
    place.mkdir(parents=True)
    config = {"strategy": {}, "model": {"dtype": "float32"}, "data": {}}
    config["data"]["streams"] = {"sft": {"kind": "completions", "template": "<u> {instruction} <b> "}}
    (place / "config.yaml").write_text(yaml.safe_dump(config))
    models.export(tiny_model(), word_tokenizer, place / "model")
    (place / "result.json").write_text(json.dumps({"f_sft": 1.0}))
    return place


def test_a_run_is_asked_as_it_was_trained_and_keeps_its_results(run):
    subject = subject_of(str(run), CFG | {"template": "plain"})
    assert (subject.name, subject.folder, subject.path) == (run.name, run, str(run / "model"))
    assert subject.template.spec == "<u> {instruction} <b> "
    assert (subject.batch_size, subject.seed, subject.max_length) == (4, 3, None)


@pytest.mark.parametrize(
    ("data", "spec"),
    [
        ({"streams": {"pairs": {"kind": "pairs", "template": "raw"}, "said": {"kind": "completions"}}}, "plain"),
        ({"streams": {"pairs": {"kind": "pairs", "template": "raw"}}}, "raw"),
        ({"templates": {"sft": "raw", "preference": "plain"}, "source": {"sft": {"path": "a"}}}, "raw"),  # before v1
    ],
)
def test_the_template_is_that_of_the_stream_of_completions(run, data, spec):
    (run / "config.yaml").write_text(yaml.safe_dump({"strategy": {}, "model": {}, "data": data}, sort_keys=False))
    assert subject_of(str(run), CFG).template.spec == spec


def test_another_model_is_asked_as_told(folder):
    assert subject_of(str(folder), CFG).template.spec == "plain"
    assert subject_of(str(folder), CFG).folder == Path("out/small")
    assert subject_of(str(folder), CFG | {"template": "raw"}).template.spec == "raw"


def test_chat_where_there_is_a_chat_template(folder, word_tokenizer):
    with pytest.raises(UserError, match=r"template=chat needs a chat template, and the tokenizer '.*' has none"):
        subject_of(str(folder), CFG | {"template": "chat"})
    tokenizer = models.load_tokenizer(str(folder))
    tokenizer.chat_template = CHAT
    tokenizer.save_pretrained(folder)
    assert subject_of(str(folder), CFG).template.is_chat
    assert subject_of(str(folder), CFG | {"template": "plain"}).template.spec == "plain"


def test_a_folder_called_model_is_named_after_the_one_above(run):
    subject = subject_of(str(run / "model"), CFG)
    assert (subject.name, subject.folder) == (run.name, Path("out") / run.name)


def test_the_policy_is_loaded_late_in_eval_mode_and_released(folder, tiny_model):
    subject = subject_of(str(folder), CFG)
    assert "policy" not in vars(subject)
    assert not subject.policy.training
    theirs, ours = (model.get_output_embeddings().weight for model in (subject.policy, tiny_model()))
    assert torch.equal(theirs.cpu(), ours)
    subject.release()
    assert "policy" not in vars(subject)


def test_an_adapter_stays_unmerged(folder, tmp_path, word_tokenizer):
    base = models.load(folder)
    adapted = get_peft_model(base, LoraConfig(target_modules=["query_key_value"], task_type="CAUSAL_LM"))
    models.export(adapted, word_tokenizer, tmp_path / "adapter")
    policy = subject_of(str(tmp_path / "adapter"), CFG).policy
    assert any("lora_A" in name for name, _ in policy.named_parameters())


def test_other_weights_have_another_fingerprint(folder, tiny_model, word_tokenizer):
    before = subject_of(str(folder), CFG).fingerprint
    assert subject_of(str(folder), CFG).fingerprint == before
    models.export(tiny_model(seed=1), word_tokenizer, folder)
    assert subject_of(str(folder), CFG).fingerprint != before


def test_a_run_that_is_not_finished(run):
    (run / "result.json").unlink()
    with pytest.raises(UserError, match="seed-0 holds a run that is not finished; run it to its end first"):
        subject_of(str(run), CFG)


def test_a_run_without_its_model(run):
    (run / "model").rename(run / "elsewhere")
    with pytest.raises(UserError, match="finished run without its model/ folder"):
        subject_of(str(run), CFG)


def test_a_damaged_configuration(run):
    (run / "config.yaml").write_text("a: [")
    with pytest.raises(UserError, match=r"config.yaml is not readable as YAML; restore it"):
        subject_of(str(run), CFG)


def test_a_folder_of_runs_is_told_from_a_run(run):
    with pytest.raises(UserError, match=r"holds neither a run nor a model; give the runs in it, such as .*seed-0"):
        subject_of(str(run.parent), CFG)


@pytest.mark.parametrize("text", ["./nothing/here", "no such model", "/nowhere"])
def test_what_is_no_folder_and_no_name(text):
    with pytest.raises(UserError, match="is no folder and no name of a hub model"):
        subject_of(text, CFG)


def test_a_model_that_the_hub_has_not(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="'nobody/nothing'"):
        subject_of("nobody/nothing", CFG)
