import json
from collections import Counter

import pytest

from xright.data.columns import detect, normalise
from xright.data.counts import EACH, EARLIER, LATER, OWN_PROMPT
from xright.data.messages import Unusable, opening, words
from xright.data.stream import Stream
from xright.errors import UserError

SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": "Hi"}
BOT = {"role": "assistant", "content": "Hello!"}
MORE = {"role": "user", "content": "1 + 1?"}
TWO = {"role": "assistant", "content": "2"}
SIX = {"role": "assistant", "content": "6"}
CALL = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "add", "arguments": {"a": 1}}}]}
TOOL = {"role": "tool", "content": "2", "tool_call_id": "c1"}
TOOLS = [{"type": "function", "function": {"name": "add"}}]


def made(kind, row, mapping=None, learnt="last"):
    """(rows, what is said of them)."""
    said, stream = Counter(), Stream("rows", kind, columns=mapping or {}, turns=learnt)
    rows = normalise(stream, row, detect(stream, list(row), "f.jsonl"), "row 0 of 'f.jsonl'", said)
    return rows, {what: n for what, n in said.items() if n}


def one(kind, row, mapping=None):
    (found,), _ = made(kind, row, mapping)
    return found


@pytest.mark.parametrize(
    ("row", "prompt"),
    [
        ({"system": "Be brief.", "instruction": "1 + 1?", "output": "2"}, [SYSTEM, MORE]),
        ({"system_prompt": "Be brief.", "prompt": "1 + 1?", "response": "2"}, [SYSTEM, MORE]),
        ({"system": "Be brief.", "prompt": [MORE], "completion": [TWO]}, [SYSTEM, MORE]),
        ({"system": "Be brief.", "messages": [MORE, TWO]}, [SYSTEM, MORE]),
        ({"system": "Be brief.", "messages": [SYSTEM, MORE, TWO]}, [SYSTEM, MORE]),  # it says so twice
        ({"system": "", "instruction": "1 + 1?", "output": "2"}, "1 + 1?"),
        ({"system": None, "prompt": "1 + 1?", "response": "2"}, "1 + 1?"),
        ({"history": [["Hi", "Hello!"]], "instruction": "1 + 1?", "output": "2"}, [USER, BOT, MORE]),
        ({"history": '[["Hi", "Hello!"]]', "prompt": "1 + 1?", "response": "2"}, [USER, BOT, MORE]),
        ({"history": [USER, BOT], "system": "Be brief.", "prompt": "1 + 1?", "response": "2"},
         [SYSTEM, USER, BOT, MORE]),
        ({"history": [], "prompt": "1 + 1?", "response": "2"}, "1 + 1?"),
        ({"messages": json.dumps([USER, BOT, MORE, TWO])}, [USER, BOT, MORE]),
        ({"prompt": json.dumps([SYSTEM, MORE]), "completion": json.dumps([TWO])}, [SYSTEM, MORE]),
        ({"prompt": "1 + 1?", "completion": TWO}, [MORE]),  # a single message
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "1 + "}, {"type": "text", "text": "1?"}]},
                       {"role": "assistant", "content": [{"type": "text", "text": "2", "image": None}]}]}, [MORE]),
        ({"tools": TOOLS, "messages": [MORE, TWO]}, {"messages": [MORE], "tools": TOOLS}),
        ({"tools": json.dumps(TOOLS), "prompt": "1 + 1?", "response": "2"}, {"messages": [MORE], "tools": TOOLS}),
        ({"tools": TOOLS[0], "prompt": "1 + 1?", "response": "2"}, {"messages": [MORE], "tools": TOOLS}),
        ({"tools": "[]", "prompt": "1 + 1?", "response": "2"}, "1 + 1?"),
        ({"tools": None, "prompt": "1 + 1?", "response": "2"}, "1 + 1?"),
        ({"messages": [MORE, CALL, TOOL, TWO]}, [MORE, CALL, TOOL]),
    ],
)  # fmt: skip
def test_what_users_mean_is_taken(row, prompt):
    assert one("completions", row) == {"prompt": prompt, "response": "2"}


@pytest.mark.parametrize(
    ("row", "prompt"),
    [
        ({"system": "Be brief.", "prompt": "1 + 1?", "chosen": "2", "rejected": "6"}, [SYSTEM, MORE]),
        ({"system": "Be brief.", "chosen": [MORE, TWO], "rejected": [MORE, SIX]}, [SYSTEM, MORE]),
        ({"history": [["Hi", "Hello!"]], "prompt": "1 + 1?", "chosen": [TWO], "rejected": [SIX]}, [USER, BOT, MORE]),
        # answers that bring their own user turn: the prompt's system turn stays
        ({"prompt": [SYSTEM, MORE], "chosen": [MORE, TWO], "rejected": [MORE, SIX]}, [SYSTEM, MORE]),
        ({"prompt": [SYSTEM, MORE], "chosen": [SYSTEM, MORE, TWO], "rejected": [SYSTEM, MORE, SIX]}, [SYSTEM, MORE]),
        ({"prompt": [MORE], "chosen": [SYSTEM, MORE, TWO], "rejected": [SYSTEM, MORE, SIX]}, [SYSTEM, MORE]),
        ({"prompt": "1 + 1?", "chosen": json.dumps([MORE, TWO]), "rejected": json.dumps([MORE, SIX])}, [MORE]),
        ({"prompt": "1 + 1?", "chosen": TWO, "rejected": SIX}, [MORE]),
    ],
)
def test_what_users_mean_by_pairs(row, prompt):
    rows, said = made("pairs", row)
    assert rows == [{"prompt": prompt, "chosen": "2", "rejected": "6"}]
    assert said == {}


def test_answers_with_another_prompt_than_the_column_are_told_of():
    for row in (
        {"prompt": "Hi", "chosen": [MORE, TWO], "rejected": [MORE, SIX]},
        {
            "prompt": [SYSTEM | {"content": "Be long."}, MORE],
            "chosen": [SYSTEM, MORE, TWO],
            "rejected": [SYSTEM, MORE, SIX],
        },
    ):
        rows, said = made("pairs", row)
        assert rows[0]["prompt"][-1] == MORE
        assert said == {OWN_PROMPT: 1}


def test_an_answer_that_is_more_than_text_stays_a_message():
    assert one("completions", {"messages": [MORE, CALL]}) == {"prompt": [MORE], "response": CALL}
    filled = {"role": "assistant", "content": None, "tool_calls": CALL["tool_calls"], "name": None}
    assert one("completions", {"messages": [MORE | {"tool_calls": None}, filled]}) == {
        "prompt": [MORE],
        "response": CALL,
    }
    empty = {**TWO, "tool_calls": [], "name": None}
    assert one("completions", {"messages": [MORE, empty]}) == {"prompt": [MORE], "response": "2"}


@pytest.mark.parametrize("written", [json.dumps([TWO]), " " + json.dumps([TWO]), json.dumps([TWO], indent=2) + "\n"])
def test_messages_as_json_text_are_messages(written):
    assert one("completions", {"prompt": json.dumps([MORE]), "completion": written}) == {
        "prompt": [MORE],
        "response": "2",
    }


@pytest.mark.parametrize("printed", [str([TWO]), f" {[TWO]}"])
def test_messages_as_python_prints_them_are_refused(printed):
    with pytest.raises(UserError, match=r"write it with json\.dumps"):
        made("completions", {"prompt": "1 + 1?", "completion": printed})


def test_text_is_text_though_it_looks_like_a_list():
    for text in (
        "[1, 2]",
        '[{"a": 1}]',
        "[roles]",
        '{"role": "user", "content": "Hi"}',
        "[",
        '["role"]',
        "[] role",
        "[{'role': 1}] is a list",
        '[{"role": "admin"}]',
    ):
        assert one("completions", {"prompt": text, "response": text}) == {"prompt": text, "response": text}
        assert one("completions", {"instruction": text, "output": text}) == {"prompt": text, "response": text}
    listed = json.dumps([MORE])
    assert (
        one("completions", {"instruction": listed, "output": "b"})["prompt"] == listed
    )  # these columns are never messages


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "a.png"}}]}, TWO]},
         "content of type image_url, and only text can be learnt from"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}, {"type": "text", "text": "Hi"}]}, TWO]},
         "content of type input_audio"),
        ({"system": "Be long.", "messages": [SYSTEM, MORE, TWO]}, "rows with a system turn and another system prompt"),
        ({"messages": [MORE]}, "conversations that do not end in one assistant turn"),
        ({"system": "Be brief.", "messages": []}, "conversations that do not end in one assistant turn"),
    ],
)  # fmt: skip
def test_what_cannot_be_honoured_is_dropped_with_the_true_reason(row, reason):
    with pytest.raises(Unusable, match=reason):
        made("completions", row)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"messages": "what"}, "should hold a list of messages, or the JSON text of one, not 'what'"),
        ({"messages": str([USER, BOT])}, r"as Python prints it; write it with json\.dumps"),
        ({"prompt": str([USER]), "response": "2"}, r"as Python prints it; write it with json\.dumps"),
        ({"history": [["Hi"]], "prompt": "a", "response": "b"}, "should hold a list of messages"),
        ({"history": "Hi", "prompt": "a", "response": "b"}, r"should hold a list of \[user, assistant\] pairs"),
        ({"tools": "add", "prompt": "a", "response": "b"}, "should hold a list of tools"),
        ({"system": 3, "prompt": "a", "response": "b"}, r"has the int 3 in column 'system'.*\{system: null\}"),
        ({"system": ["a"], "prompt": "a", "response": "b"}, r"list for a system prompt; .*\{system: null\}"),
        ({"messages": [{"role": "user", "content": ["Hi"]}, BOT]}, "give text, or blocks of a type"),
        ({"messages": [{"role": "user", "content": 3}, BOT]}, "give each a role and a content, as text"),
        ({"messages": [1]}, "should hold a list of messages"),
    ],
)
def test_what_is_no_conversation_is_one_sentence(row, words):
    with pytest.raises(UserError, match=words):
        made("completions", row)


def test_columns_beside_may_be_mapped_or_left_out():
    row = {"persona": "Be brief.", "system": 3, "prompt": "1 + 1?", "response": "2"}
    assert one("completions", row, {"system": "persona"})["prompt"] == [SYSTEM, MORE]
    assert one("completions", row, {"system": None})["prompt"] == "1 + 1?"
    with pytest.raises(UserError, match=r"maps system to 'mood', but 'f\.jsonl' has only"):
        one("completions", row, {"system": "mood"})
    taken = {"prompt": "system", "response": "response"}  # a column serves once
    assert one("completions", {"system": "1 + 1?", "response": "2"}, taken) == {"prompt": "1 + 1?", "response": "2"}


def test_all_turns_are_learnt_each_once_after_what_comes_before():
    for row, before in (
        ({"messages": [USER, BOT, MORE, TWO]}, []),
        ({"messages": [SYSTEM, USER, BOT, MORE, TWO]}, [SYSTEM]),
        ({"messages": [USER, BOT, MORE, TWO], "system": "Be brief."}, [SYSTEM]),
        ({"prompt": [USER], "completion": [BOT, MORE, TWO]}, []),
    ):
        rows, said = made("completions", row, learnt="all")
        assert rows == [
            {"prompt": [*before, USER], "response": "Hello!"},
            {"prompt": [*before, USER, BOT, MORE], "response": "2"},
        ]
        assert said == {EACH: 1}
    rows, said = made("completions", {"messages": [BOT, USER, BOT, MORE]}, learnt="all")
    assert rows == [{"prompt": [BOT, USER], "response": "Hello!"}]  # an opening turn answers nothing
    assert said == {LATER: 1}
    with pytest.raises(Unusable):
        made("completions", {"messages": [BOT, USER]}, learnt="all")
    assert made("completions", {"prompt": "1 + 1?", "response": "2"}, learnt="all") == (
        [{"prompt": "1 + 1?", "response": "2"}],
        {},
    )


def test_by_default_the_last_turn_is_and_the_others_are_told_of():
    assert made("completions", {"messages": [USER, BOT, MORE, TWO]})[1] == {EARLIER: 1}
    assert made("completions", {"messages": [USER, BOT]})[1] == {}
    assert made("pairs", {"chosen": [USER, BOT, MORE, TWO], "rejected": [USER, BOT, MORE, SIX]})[1] == {}


def test_words_and_openings_of_prompts_in_every_form():
    assert words("1 +\n1?") == words([MORE]) == words({"messages": [MORE], "tools": TOOLS}) == "1 + 1?"
    assert opening([SYSTEM, USER, BOT, MORE]) == [SYSTEM, USER]
    assert opening({"messages": [USER, BOT, MORE], "tools": TOOLS}) == [USER]
    assert opening("Hi") == opening([USER]) == [USER]
    assert opening([BOT, USER, BOT, MORE]) == [BOT, USER]
