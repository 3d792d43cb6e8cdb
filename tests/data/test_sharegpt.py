"""ShareGPT's messages, {from, value}, are those of {role, content}."""

import json
from collections import Counter

import pytest

from xright.data.columns import detect, normalise
from xright.data.messages import Unusable
from xright.data.stream import Stream
from xright.errors import UserError

SYSTEM, USER, BOT = (
    {"from": role, "value": text} for role, text in (("system", "Be brief."), ("human", "Hi"), ("gpt", "Hello!"))
)
CANONICAL = {
    "prompt": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}], "response": "Hello!",
}  # fmt: skip


def one(row, kind="completions"):
    stream = Stream("rows", kind)
    (found,) = normalise(stream, row, detect(stream, list(row), "f.jsonl"), "row 0 of 'f.jsonl'", Counter())
    return found


@pytest.mark.parametrize(
    "row",
    [
        {"conversations": [SYSTEM, USER, BOT]},
        {"conversations": json.dumps([SYSTEM, USER, BOT])},
        {"messages": [SYSTEM, USER, BOT], "conversations": "left alone"},
        {"system": "Be brief.", "conversations": [USER, BOT]},
        {"prompt": [SYSTEM, USER], "completion": [BOT]},
        {"prompt": json.dumps([SYSTEM, USER]), "completion": json.dumps([BOT])},
        {"conversations": [{**turn, "role": None, "content": None, "weight": None} for turn in (SYSTEM, USER, BOT)]},
        {"conversations": [SYSTEM, {**USER, "from": "user"}, {**BOT, "from": "assistant"}]},
    ],
)
def test_conversations(row):
    assert one(row) == CANONICAL


def test_pairs_and_single_messages():
    row = {"prompt": [SYSTEM, USER], "chosen": BOT, "rejected": {"from": "gpt", "value": "No."}}
    assert one(row, "pairs") == {"prompt": CANONICAL["prompt"], "chosen": "Hello!", "rejected": "No."}


def test_switches_and_tools_come_along():
    tool = {"from": "tool", "value": "2"}
    row = {"conversations": [USER, BOT, tool, {**BOT, "weight": 1}]}
    assert one(row)["response"] == {"role": "assistant", "content": "Hello!", "weight": 1}
    assert one(row)["prompt"][-1] == {"role": "tool", "content": "2"}
    with pytest.raises(Unusable, match="switched off"):
        one({"conversations": [USER, {**BOT, "weight": 0}]})


def test_a_role_that_is_not_known_drops_its_row():
    with pytest.raises(Unusable, match="messages from function_call, a role that is not known"):
        one({"conversations": [USER, {"from": "function_call", "value": "{}"}]})


def test_text_that_looks_alike_stays_text():
    text = '[{"from": "Oslo", "value": "3"}]'
    assert one({"prompt": "As JSON?", "response": text}) == {"prompt": "As JSON?", "response": text}


@pytest.mark.parametrize(
    "turn", [{"from": "human"}, {"value": "a"}, {"from": 3, "value": "a"}, {"from": "gpt", "value": 3}]
)
def test_what_is_no_message_is_one_sentence(turn):
    with pytest.raises(UserError, match="give each a role and a content"):
        one({"conversations": [turn]})
