"""The hand-over of a run: its card in the hub's format, the folder that others load, merged and as an adapter."""

import json

import pytest
import torch
from huggingface_hub import ModelCard
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from xright import models
from xright.export import main
from xright.pipeline.card import base_licence, metadata

FAST = ["debug=fast", "trainer=cpu", "logger=csv", "strategy=alright", "model.lora.r=4", "certificate={dpo: 0.5}"]


@pytest.fixture(scope="module")
def run(command_line, tmp_path_factory):
    """A finished run that trained an adapter."""
    place = tmp_path_factory.mktemp("export")
    done = command_line.run(place, *FAST, XRIGHT_CACHE=str(place / "cache"))
    assert done.returncode == 0, done.stderr
    return place / done.stdout.splitlines()[-1]


def test_every_run_has_a_card(run):
    card = ModelCard.load(run / "model" / "README.md")
    result = json.loads((run / "result.json").read_text())
    assert card.data.library_name == "peft"
    assert card.data.license is None  # the base was built for the run
    assert card.data.base_model is None
    assert card.data.tags == ["xright", "joint-post-training", "alright", "dpo", "sft"]
    assert card.data.model_name == result["label"] == "ALRIGHT λ=0.5"
    found = {one.metric_name: one.metric_value for one in card.data.eval_results}
    assert found == {
        "f_DPO (nats per pair)": pytest.approx(result["f_dpo"], abs=1e-6),
        "f_SFT (nats per token)": pytest.approx(result["f_sft"], abs=1e-6),
    }
    one = result["objectives"]["dpo"]
    row = f"| DPO | DPO, beta 0.4, label_smoothing 0.1 | 0.5 | {one['steps']} | {one['f']:.4f} | {one['optimum']:.4f} |"
    assert row in card.text
    data = result["data"]["preference"]
    assert f"| preference | generated | {data['rows']} | {data['heldout']} | `{data['identity']}` |" in card.text
    assert "python -m xright.run debug=fast trainer=cpu logger=csv strategy=alright" in card.text
    assert "## Certificate" in card.text
    assert "More Information Needed" not in card.content


def test_merged_weights_load_without_peft_and_say_the_same(run, tmp_path, capsys):
    assert main([str(run), "--merge", "--out", str(tmp_path / "plain")]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "plain")
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "plain")
    assert not isinstance(plain, PeftModel)
    adapted = models.load(run / "model")
    assert isinstance(adapted, PeftModel)
    tokens = torch.tensor([[5, 9, 2, 7]])
    with torch.no_grad():
        torch.testing.assert_close(plain(tokens).logits, adapted(tokens).logits, atol=1e-5, rtol=1e-5)
    assert len(AutoTokenizer.from_pretrained(tmp_path / "plain")) == len(AutoTokenizer.from_pretrained(run / "model"))
    card = ModelCard.load(tmp_path / "plain" / "README.md")
    assert card.data.library_name == "transformers"
    assert "![" in card.text
    assert (tmp_path / "plain" / "losses.png").stat().st_size > 5000


def test_an_adapter_goes_with_its_base(run, tmp_path):
    assert main([str(run), "--out", str(tmp_path / "adapter")]) == 0
    assert (tmp_path / "adapter" / "adapter_config.json").exists()
    moved = (tmp_path / "adapter").rename(tmp_path / "moved")
    assert isinstance(models.load(moved), PeftModel)


@pytest.mark.parametrize("what", ["absent", "taken"])
def test_what_cannot_be_handed_over_is_told(run, tmp_path, capsys, what):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    given = {"absent": [str(tmp_path)], "taken": [str(run), "--out", str(tmp_path / "out")]}[what]
    says = {"absent": "it has no config.yaml and no result.json and no model", "taken": "exists and is not empty"}[what]
    assert main(given) == 2
    assert says in capsys.readouterr().err


def test_the_licence_of_the_base_is_its_cards(tmp_path):
    (tmp_path / "README.md").write_text("---\nlicense: apache-2.0\n---\n\n# A model\n")
    assert base_licence(str(tmp_path)) == "apache-2.0"
    assert base_licence(str(tmp_path / "none")) is None


def test_names_of_the_hub_are_told_and_local_paths_are_not():
    stream = {"path": ["vicgalle/alpaca-gpt4", "mine.jsonl"]}
    prepared = {"path": {"path": "PKU-Alignment/PKU-SafeRLHF", "split": "train"}}
    config = {
        "model": {"path": "EleutherAI/pythia-1b"},
        "data": {"streams": {"sft": stream, "preference": prepared}},
    }
    one = {"label": "SFT", "unit": "nats per token", "f": 1.5, "surrogate": False}
    result = {
        "inputs": {"mine.jsonl": "00"}, "objectives": {"sft": one}, "eval_on": "heldout", "label": "SFT",
        "strategy": "sft",
    }  # fmt: skip
    found = metadata(config, result, adapter=False)
    assert found.base_model == "EleutherAI/pythia-1b"
    assert found.datasets == ["PKU-Alignment/PKU-SafeRLHF", "vicgalle/alpaca-gpt4"]
    assert found.tags == ["xright", "joint-post-training", "sft"]
