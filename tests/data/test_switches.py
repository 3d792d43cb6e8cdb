"""Turns that their owner has switched off are prompt at most, in each spelling that data come with."""

from collections import Counter

import pytest

from xright.data.columns import detect, normalise
from xright.data.counts import EACH, EARLIER, LATER, OFF, OFF_TURNS, ON_TURNS
from xright.data.messages import Unusable
from xright.data.prompts import encode
from xright.data.stream import Stream
from xright.data.switches import SWITCHES
from xright.data.templates import Template
from xright.errors import UserError

USER = {"role": "user", "content": "Hi"}
BOT = {"role": "assistant", "content": "Hello!"}
MORE = {"role": "user", "content": "1 + 1?"}
TWO = {"role": "assistant", "content": "2"}
SIX = {"role": "assistant", "content": "6"}
EVERY_OFF = [{key: value} for key in SWITCHES for value in (False, 0, 0.0)]
EVERY_ON = [{key: value} for key in SWITCHES for value in (True, 1, 1.0, None, float("nan"))]


def made(row, learnt, kind="completions"):
    """([(turns before, answer's text)], what is said)."""
    said, stream = Counter(), Stream("rows", kind, turns=learnt)
    rows = normalise(stream, row, detect(stream, list(row), "f.jsonl"), "row 0 of 'f.jsonl'", said)
    answers = [row.get("response", row.get("chosen")) for row in rows]
    texts = [answer if isinstance(answer, str) else answer["content"] for answer in answers]
    return [(len(row["prompt"]), text) for row, text in zip(rows, texts, strict=True)], {
        k: n for k, n in said.items() if n
    }


def test_the_spellings():
    """OpenAI, Mistral, Together · axolotl · its older default · home-assistant data · ms-swift."""
    assert SWITCHES == ("weight", "train", "training", "train_on_turn", "loss")


@pytest.mark.parametrize("off", EVERY_OFF, ids=str)
def test_of_all_turns_those_switched_off_are_not_learnt(off):
    assert made({"messages": [USER, {**BOT, **off}, MORE, TWO]}, "all") == ([(3, "2")], {OFF_TURNS: 1})
    assert made({"messages": [USER, BOT, MORE, {**TWO, **off}]}, "all") == (
        [(1, "Hello!")], {OFF_TURNS: 1, LATER: 1},
    )  # fmt: skip
    with pytest.raises(Unusable, match=f"^{OFF}$".replace("(", r"\(").replace(")", r"\)")):
        made({"messages": [USER, {**BOT, **off}, MORE, {**TWO, **off}]}, "all")


@pytest.mark.parametrize("off", EVERY_OFF, ids=str)
def test_of_last_turns_one_switched_off_drops_its_row(off):
    with pytest.raises(Unusable, match="switched off"):
        made({"messages": [USER, BOT, MORE, {**TWO, **off}]}, "last")
    with pytest.raises(Unusable, match="switched off"):
        made({"prompt": [MORE], "completion": [{**TWO, **off}]}, "last")
    # an earlier one is prompt anyway, and "turns=all learns them" would be no truth of it
    assert made({"messages": [USER, {**BOT, **off}, MORE, TWO]}, "last") == ([(3, "2")], {})
    assert made({"messages": [USER, BOT, MORE, TWO]}, "last") == ([(3, "2")], {EARLIER: 1})


@pytest.mark.parametrize("off", EVERY_OFF, ids=str)
def test_a_pair_with_a_side_switched_off_is_dropped(off):
    for sides in ([{**TWO, **off}, SIX], [TWO, {**SIX, **off}]):
        with pytest.raises(Unusable, match="switched off"):
            made({"prompt": [MORE], "chosen": sides[:1], "rejected": sides[1:]}, "last", "pairs")
    assert made({"prompt": "1 + 1?", "chosen": [TWO], "rejected": [SIX]}, "last", "pairs") == ([(1, "2")], {})


@pytest.mark.parametrize("on", EVERY_ON, ids=str)
def test_turns_that_are_on_are_learnt(on):
    row = {"messages": [USER, {**BOT, **on}, MORE, {**TWO, **on}]}
    assert made(row, "all") == ([(1, "Hello!"), (3, "2")], {EACH: 1})
    assert made(row, "last") == ([(3, "2")], {EARLIER: 1})


def test_any_switch_that_is_off_decides():
    assert made({"messages": [USER, {**BOT, "weight": 1, "train": False}, MORE, TWO]}, "all")[0] == [(3, "2")]


def test_a_turn_of_another_role_cannot_be_switched_on_and_that_is_said():
    row = {"messages": [{**USER, "train": True}, {**BOT, "train": True}]}
    assert made(row, "last") == ([(1, "Hello!")], {ON_TURNS: 1})
    assert made({"messages": [{**USER, "weight": 0}, BOT]}, "last") == ([(1, "Hello!")], {})


@pytest.mark.parametrize("value", [0.5, 2, -1, "0", "false", "", [True], {"begin_offset": 0}], ids=str)
@pytest.mark.parametrize("key", [*SWITCHES, "train_detail"])
def test_other_values_are_one_sentence(key, value):
    with pytest.raises(UserError) as caught:
        made({"messages": [USER, {**BOT, key: value}]}, "last")
    assert f"row 0 of 'f.jsonl' has a message with {key}={value!r}" in str(caught.value)
    assert "0 or 1" in str(caught.value)


def test_the_key_is_listed_as_used(byte_tokenizer):
    rows = [{"prompt": [USER], "response": {**BOT, "weight": 1, "name": "x"}}]
    _, counts = encode(rows, Stream("sft", "completions"), Template("plain"), byte_tokenizer(), 99)
    assert counts.keys == {"role": True, "content": True, "weight": True, "name": False}
