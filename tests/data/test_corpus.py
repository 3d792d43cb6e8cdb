import json
import logging
import math

import numpy as np
import pytest

from xright.data.corpus import Corpus
from xright.data.stream import Stream
from xright.data.world import World
from xright.errors import UserError

KINDS = {"sft": "completions", "preference": "pairs"}


def streams(template="<user> {instruction} <bot> ", **more):
    return {name: Stream(name, kind, template=template) for name, kind in (KINDS | more).items()}


@pytest.fixture(scope="module")
def world():
    return World(
        text_rows=50, sft_rows=40, preference_rows=20, eval_sft_rows=6, eval_preference_rows=5, probes_per_kind=4
    )


@pytest.fixture(scope="module")
def corpus(world):
    return lambda eval_on="heldout", max_length=64: Corpus(world, streams(), world.tokenizer(), max_length, eval_on)


def test_streams(corpus, world):
    found = corpus()
    assert [len(found.train(stream)) for stream in ("text", "sft", "preference")] == [50, 40, 20]
    assert [len(row.responses) for row in found.train("preference")] == [2] * 20
    row, source = found.train("sft")[3], world.rows("sft", "train")[3]
    decode = world.tokenizer().decode
    assert decode(row.prompt) == f"<user> {source['prompt']} <bot>"
    assert decode(row.responses[0]) == f"{source['response']} <eos>"
    assert found.train("sft") is found.train("sft")  # tokenised once


def test_heldout_rows_are_others(corpus):
    found = corpus()
    assert [len(found.evaluation(stream)) for stream in ("sft", "preference")] == [6, 5]
    for stream in ("sft", "preference"):
        trained = {tuple(row.prompt) for row in found.train(stream)}
        assert not trained & {tuple(row.prompt) for row in found.evaluation(stream)}


def test_train_probe_is_the_first_three_percent_rounded_up(corpus):
    found = corpus("train_probe")
    assert found.evaluation("sft") == found.train("sft")[:2]  # 0.03 · 40 = 1.2
    assert found.evaluation("preference") == found.train("preference")[:1]  # 0.03 · 20 = 0.6


def test_streams_that_are_not_there(corpus):
    with pytest.raises(UserError, match=r"There is no data\.streams\.safety, only sft, preference; declare it"):
        corpus().train("safety")


def test_unknown_eval_on(corpus):
    with pytest.raises(UserError, match="eval_on='test' must be heldout, train_probe or train_sample"):
        corpus("test")


def test_the_probe_is_the_first_training_rows(world):
    def probe(*share):
        found = Corpus(world, streams(), world.tokenizer(), 64, "train_probe", "auto", *share)
        return found.evaluation("sft"), found.train("sft")

    for share, n in [((), math.ceil(0.03 * len(probe()[1]))), ((0.5,), math.ceil(0.5 * len(probe()[1])))]:
        rows, every = probe(*share)
        assert rows == every[:n]
    assert len(probe(1.0)[0]) == len(probe()[1])
    for share in (0, 1.5, "x"):
        with pytest.raises(UserError, match=r"probe_share=.* must be .*in \(0, 1\]"):
            probe(share)


def test_a_train_sample_is_drawn_from_all_training_rows_by_the_sources_seed(world, monkeypatch):
    def sample(share):
        found = Corpus(world, streams(), world.tokenizer(), 64, "train_sample", "auto", share)
        return found.evaluation("sft"), found.train("sft")

    rows, every = sample(0.25)
    places = sorted(np.random.default_rng(world.seed).permutation(40)[:10].tolist())
    assert rows == [every[place] for place in places]  # of 40 rows a quarter, in their order
    assert max(places) >= 20
    assert sample(1.0)[0] == every
    monkeypatch.setattr(world, "seed", world.seed + 1)  # its rows are made already
    assert sample(0.25)[0] != rows


def test_showcase_is_the_sources_own(corpus, world):
    shown = corpus().showcase()
    assert [(prompt["prompt"], prompt["kind"]) for prompt in shown] == [
        (f"<user> {probe.prompt} <bot> ", probe.kind) for probe in world.showcase()
    ]


class Plain:
    """A source without a showcase of its own, as files are."""

    def rows(self, stream, split):
        answers = {"response": "7 ."} if stream == "sft" else {"chosen": "7 .", "rejected": "8 ."}
        return [{"prompt": "what is " + "3 " * n, **answers} for n in (1, 40, 2, 3, 4, 5)]


def test_showcase_of_files_is_of_the_first_rows_that_are_kept(world):
    shown = Corpus(Plain(), streams(), world.tokenizer(), 32, "heldout").showcase()
    assert [prompt["kind"] for prompt in shown] == ["sft"] * 4 + ["preference"] * 4
    expected = [f"<user> what is {'3 ' * n} <bot> " for n in (1, 2, 3, 4)]  # 40 threes leave no room for a response
    assert [prompt["prompt"] for prompt in shown] == expected * 2


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"path": str(path)}


@pytest.fixture
def of_files(tmp_path, monkeypatch, byte_tokenizer, files):
    """of_files(…): the corpus of two files, as a new process would make it."""
    monkeypatch.setenv("XRIGHT_CACHE", str(tmp_path / "cache"))
    words = ("how", "what", "why")
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]
    sft = [{"prompt": f"{words[i % 3]} {i}", "response": "so" if i else " "} for i in range(40)]
    pairs = [{"prompt": turns[:1], "chosen": turns[1:], "rejected": turns[:1]}]
    pairs += [{"prompt": [{"role": "user", "content": f"why {i}"}], "chosen": turns[1:], "rejected": [
        {"role": "assistant", "content": "No."}]} for i in range(30)]  # fmt: skip
    given = {"sft": write(tmp_path / "a.jsonl", sft), "preference": write(tmp_path / "b.jsonl", pairs)}

    def make(eval_on="heldout", heldout=0.5, max_length=64):
        source = files(**given, heldout=heldout)
        return Corpus(source, source.streams, byte_tokenizer(), max_length, eval_on)

    return make


def test_every_start_says_the_same_and_where_the_tokens_are(of_files, tmp_path, caplog):
    said = []
    for _ in range(2):
        caplog.clear()
        with caplog.at_level(logging.INFO, "xright"):
            found = of_files()
            for stream in ("sft", "preference"):
                assert found.train(stream) is found.train(stream)
                found.evaluation(stream)
        said.append(caplog.messages)
    first, second = said
    assert len([line for line in first if line.startswith(f"tokens: building {tmp_path}")]) == 4
    assert len([line for line in second if line.startswith(f"tokens: from the cache, {tmp_path}")]) == 4
    about, again = ([line for line in lines if not line.startswith("tokens:")] for lines in said)
    assert about == again
    n = len(of_files().evaluation("sft"))
    assert about[1] == f"sft/eval: {n} of {n + 1} rows kept; 1 dropped: empty response; columns prompt, response"
    assert "; 1 dropped: conversations that do not end in one assistant turn" in about[2]
    assert [line.split(":")[0] for line in about if " rows kept" in line] == [
        "sft/train", "sft/eval", "preference/train", "preference/eval",
    ]  # fmt: skip


def test_showcase_of_files_is_of_the_rows_evaluated_on(of_files):
    for eval_on in ("heldout", "train_probe"):
        found = of_files(eval_on)
        shown = [prompt["prompt"] for prompt in found.showcase()]
        assert of_files(eval_on).showcase() == found.showcase()  # from the cache
        split = "eval" if eval_on == "heldout" else "train"
        answered = [row for row in found.source.rows("sft", split) if row["response"] != " "]  # the others are dropped
        prompts = [row["prompt"] for row in answered[:4]]
        prompts += [row["prompt"][0]["content"] for row in found.source.rows("preference", split)[:4]]
        assert shown == [f"User: {prompt}\nAssistant: " for prompt in prompts]


def test_no_prompt_of_a_dropped_row_is_watched(byte_tokenizer, tmp_path, monkeypatch, files):
    """Before the rows that are kept stand some that are not: no room, no answer, equal answers, a refusal."""
    monkeypatch.setenv("XRIGHT_CACHE", str(tmp_path / "cache"))
    sides = {"chosen": "Yes", "rejected": "No"}
    rows = [
        {"prompt": "long " * 20, **sides}, {"prompt": "none", "chosen": "", "rejected": "No"},
        {"prompt": "equal", "chosen": "Yes", "rejected": "Yes"}, {"prompt": "refuse", **sides},
        *({"prompt": f"kept {i}", **sides} for i in range(6)),
    ]  # fmt: skip
    sft = [{"prompt": row["prompt"], "response": row["chosen"]} for row in rows if row["prompt"] != "equal"]
    chat = "{% for m in messages %}{% if m.content == 'refuse' %}{{ raise_exception('no') }}{% endif %}{{ m.content }}"
    given = (
        write(tmp_path / name, made) | {"template": "chat"} for name, made in (("a.jsonl", sft), ("b.jsonl", rows))
    )
    source = files(*given, heldout=0)
    known = byte_tokenizer(chat_template=chat + ":{% endfor %}")
    shown = Corpus(source, source.streams, known, 64, "train_probe").showcase()
    assert [(p["prompt"], p["kind"]) for p in shown] == [
        (f"kept {i}:", stream) for stream in ("sft", "preference") for i in range(4)
    ]


def test_train_probe_needs_no_heldout_rows(of_files):
    found = of_files("train_probe", heldout=0.0)
    assert list(found.evaluation("sft")) == list(found.train("sft"))[:2]  # 0.03 · 39 = 1.2
    assert len(found.showcase()) == 8


def test_length_limit_makes_other_rows(corpus):
    shorter = corpus(max_length=8).train("sft")
    assert shorter.digest != corpus().train("sft").digest  # truncated: other tokens, other ids


@pytest.mark.parametrize(("template", "told"), [("chat", 1), ("plain", 0)])
def test_a_chat_template_that_writes_the_date_is_named(word_tokenizer, caplog, monkeypatch, template, told):
    monkeypatch.setattr(word_tokenizer, "chat_template", "{{ strftime_now('%Y') }}")
    Corpus(Plain(), streams(template), word_tokenizer, 32, "heldout")
    assert sum("writes today's date" in message for message in caplog.messages) == told


@pytest.mark.parametrize(
    ("template", "chat", "told"), [("plain", "{{ messages }}", 1), ("plain", None, 0), ("chat", "{{ messages }}", 0)]
)
def test_plain_beside_a_chat_template_is_told(word_tokenizer, caplog, monkeypatch, template, chat, told):
    monkeypatch.setattr(word_tokenizer, "chat_template", chat)
    Corpus(Plain(), streams(template), word_tokenizer, 32, "heldout")
    keys = ", ".join(f"data.streams.{name}.template" for name in streams(template))
    assert (
        caplog.messages.count(f"{keys} is plain, and the tokenizer has a chat template, which chat would use") == told
    )
