"""A hub model's revision decides everything that its name decides, through the real command line.

The hub is a cache of it on the disk, as a first download leaves one: a model with two revisions, of other weights and
another tokenizer each.
"""

import json
import math
from collections import Counter

import pytest
import torch
from peft import AutoPeftModelForCausalLM, PeftModel
from tokenizers import AddedToken, Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from xright import models

COMMITS = {"main": "1" * 40, "step1000": "2" * 40}
RUN = [
    "data=files", "data.streams.sft.path=sft.jsonl", "data.streams.preference.path=pairs.jsonl",
    "data.streams.sft.template='{instruction} '", "data.streams.preference.template='{instruction} '",
    "data.source.heldout=0.3",
    "data.max_length=48", "data.streams.sft.batch_size=4", "data.streams.preference.batch_size=4", "model=hf",
    "model.path=acme/tiny",
    "model.lora.r=2", "epochs=1", "optim.lr=0.01", "trainer=cpu", "logger=csv", "threads=1",
]  # fmt: skip


def tokenizer_of(words):
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(["</s>", *words])}, unk_token="</s>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens([AddedToken("</s>", special=True)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>")


@pytest.fixture(scope="module")
def runs(command_line, tmp_path_factory, family, word_rows):
    """{revision: (run folder, stderr)} of one command per revision, which share a cache."""
    place = tmp_path_factory.mktemp("revisions")
    words = [f"w{i}" for i in range(1, 40)]
    hub = command_line.outputs / "huggingface" / "hub" / "models--acme--tiny"
    (hub / "refs").mkdir(parents=True)
    for seed, (revision, commit) in enumerate(COMMITS.items()):
        (hub / "refs" / revision).write_text(commit)
        family("llama", seed=seed).save_pretrained(hub / "snapshots" / commit)
        tokenizer_of(words if revision == "main" else words[::-1]).save_pretrained(hub / "snapshots" / commit)
    word_rows(place)
    found = {}
    for revision in COMMITS:
        done = command_line.run(place, *RUN, f"model.revision={revision}", XRIGHT_CACHE="cache")
        assert done.returncode == 0, done.stderr
        found[revision] = place / done.stdout.strip().split("\n")[-1], done.stderr
    return place, hub, found


def nll(model, tokenizer, folder):
    """Mean negative log-likelihood of all answers, written out: nats per token."""
    total = count = 0
    for line in (folder / "sft.jsonl").read_text().split("\n")[:-1]:
        row = json.loads(line)
        prompt, answer = (tokenizer(text)["input_ids"] for text in (row["instruction"], row["output"]))
        answer = [*answer, tokenizer.eos_token_id]
        with torch.no_grad():
            logits = model.eval()(input_ids=torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
        total -= float(logits.log_softmax(-1)[range(len(answer)), answer].sum())
        count += len(answer)
    return total / count


def test_nothing_is_shared_between_two_revisions(runs):
    place, _, found = runs
    assert "from the cache" not in found["step1000"][1]  # the second command; it said it three times before
    built = Counter(result.parent.parent.name for result in (place / "cache").glob("*/*/result.json"))
    assert built == {"tokens": 8, "reference": 2, "reference_logps": 2, "optimum_dpo": 2, "optimum_sft": 2}
    losses = [json.loads((folder / "result.json").read_text())["f_sft"] for folder, _ in found.values()]
    assert not math.isclose(*losses, abs_tol=1e-3)


@pytest.mark.parametrize("revision", COMMITS)
def test_the_exported_adapter_is_read_on_the_base_it_was_trained_on(runs, monkeypatch, revision):
    place, hub, found = runs
    adapter, snapshot = found[revision][0] / "model", hub / "snapshots" / COMMITS[revision]
    assert json.loads((adapter / "adapter_config.json").read_text())["revision"] == COMMITS[revision]
    tokenizer = AutoTokenizer.from_pretrained(adapter)
    assert tokenizer.get_vocab() == AutoTokenizer.from_pretrained(snapshot).get_vocab()

    bare = nll(AutoModelForCausalLM.from_pretrained(snapshot), tokenizer, place)
    expected = nll(PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(snapshot), adapter), tokenizer, place)
    assert expected < bare - 0.05  # it has learnt something
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(hub.parent))
    for model in (AutoPeftModelForCausalLM.from_pretrained(adapter), models.load(adapter), models.load_merged(adapter)):
        assert nll(model, tokenizer, place) == pytest.approx(expected, abs=1e-5)
