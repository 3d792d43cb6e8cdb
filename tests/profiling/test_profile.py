"""The command as it is typed: SFT and then DPO of another trainer's making, here by hand, and bad input."""

import json
import re

import numpy as np
import pytest
import torch

from xright import models
from xright.profile import main
from xright.profiling.asked import Asked
from xright.profiling.configuration import configuration

ROWS = [{"prompt": f"w{n} w{n + 1}", "response": f"w{n + 2} w3"} for n in range(2, 12)]
PAIRS = [{"prompt": f"w{n} w4", "chosen": f"w{n + 1} w5", "rejected": "w6 w7 w8"} for n in range(2, 12)]
TEMPLATE = ["data.streams.sft.template='{instruction} '", "data.streams.preference.template='{instruction} '"]


@pytest.fixture(scope="module")
def place(tmp_path_factory, tiny_model, word_tokenizer):
    """base, then a model that SFT on ROWS has made of it, then one that has lost that again; and the rows' files."""
    folder = tmp_path_factory.mktemp("profile")
    base = tiny_model(0)
    models.export(base, word_tokenizer, folder / "base")
    learnt = tiny_model(0)
    texts = [word_tokenizer(f"{row['prompt']} {row['response']}", return_tensors="pt")["input_ids"] for row in ROWS]
    optimizer = torch.optim.Adam(learnt.parameters(), lr=2e-3)
    for _ in range(10):
        for ids in texts:
            learnt(ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    models.export(learnt, word_tokenizer, folder / "sft")
    with torch.no_grad():  # half of the way back
        for ours, theirs in zip(learnt.parameters(), base.parameters(), strict=True):
            ours.lerp_(theirs, 0.5)
    models.export(learnt, word_tokenizer, folder / "back")
    for name, rows in (("sft", ROWS), ("preference", PAIRS)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def given(place, *more):
    data = [f"data.streams.{name}.path={place / name}.jsonl" for name in ("sft", "preference")]
    return [*(str(place / name) for name in ("base", "sft", "back")), *data, *TEMPLATE, f"out={place / 'out'}", *more]


def test_the_profile_of_two_stages(place, capsys, monkeypatch):
    monkeypatch.setenv("XRIGHT_CACHE", str(place / "cache"))
    assert main(given(place)) == 0
    said = capsys.readouterr().out
    assert said.splitlines()[-1] == str(place / "out" / "profile.html")
    found = json.loads((place / "out" / "profile.json").read_text())
    base, sft, back = found["models"]
    assert base["kl_from_base"] == 0 < back["kl_from_base"] < sft["kl_from_base"]
    assert sft["losses"]["SFT"] < back["losses"]["SFT"] < base["losses"]["SFT"]
    assert base["losses"]["DPO"] == pytest.approx(0.693147, abs=1e-5)  # the base is its own reference
    assert sft["gaps"]["SFT"] == 0
    assert found["prompts"] == {"DPO": 10, "SFT": 10}
    (share,) = [one for one in found["changes"] if one["stage"].endswith("back") and one["objective"] == "SFT"]
    won, lost = base["losses"]["SFT"] - sft["losses"]["SFT"], back["losses"]["SFT"] - sft["losses"]["SFT"]
    assert share["given_back"]["value"] == pytest.approx(lost / won)
    assert share["given_back"]["low"] <= share["given_back"]["value"] <= share["given_back"]["high"]
    assert re.search(r"back gave back \d+ % \(\d+ to \d+ %\) of what had been won on SFT", said)
    page = (place / "out" / "profile.html").read_text()
    assert "gave back" in page
    assert "data:image/png;base64," in page
    assert set(sft["cosines"]) == {"DPO", "SFT", "DPO · SFT"}


def test_rows_are_drawn_by_the_seed_and_none_is_held_out(place, monkeypatch):
    monkeypatch.setenv("XRIGHT_CACHE", str(place / "cache"))
    options = [word for word in given(place) if word.startswith("data.")]

    def asked(rows, seed):
        return Asked(configuration([*options, f"rows={rows}", f"seed={seed}"], [str(place / "base")])).rows["SFT"]

    every, some = asked(200, 0), asked(4, 0)
    assert len(every) == 10
    assert [row.prompt[0] for row in every] == [*range(2, 12)]  # the words of ROWS
    assert some == [every[at] for at in sorted(np.random.default_rng(0).permutation(10)[:4])]
    assert asked(4, 0) == some != every[:4]
    assert asked(4, 1) != some


def test_one_stream_without_gradients(place, monkeypatch):
    monkeypatch.setenv("XRIGHT_CACHE", str(place / "cache"))
    arguments = [word for word in given(place, "objectives.dpo=null", "gradients=false") if "preference" not in word]
    assert main(arguments) == 0
    found = json.loads((place / "out" / "profile.json").read_text())
    assert found["models"][1]["losses"].keys() == {"SFT"}
    assert found["models"][1]["cosines"] is None


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["data.streams.sft.path=x.jsonl"], "no model is named"),
        (["BASE"], "at least one other model"),
        (["BASE", "BASE"], "each once"),
        (["BASE", "other", "rows=1"], "rows=1"),
        (["BASE", "other", "objectives.sft=null", "objectives.dpo=null"], "every objective is null"),
        (["BASE", "SFT", "objective@objectives.dpo=kto", "objectives.dpo.stream=preference"], "cannot be profiled"),
        (["BASE", "other", "nonsense=1"], "the configuration cannot be composed"),
    ],
)
def test_bad_input_is_one_sentence(place, arguments, says, capsys, monkeypatch):
    monkeypatch.setenv("XRIGHT_CACHE", str(place / "cache"))
    data = [word for word in given(place) if word.startswith("data.")] if "no model" not in says else []
    named = {"BASE": str(place / "base"), "SFT": str(place / "sft")}
    assert main([named.get(word, word) for word in arguments] + data) == 2
    (sentence,) = capsys.readouterr().err.strip().splitlines()
    assert says in sentence
