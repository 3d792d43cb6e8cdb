import math
import re

import pytest

from xright.data.columns import detect, normalise
from xright.data.counts import NO_ANSWER
from xright.data.messages import Unusable
from xright.errors import UserError

USER = {"role": "user", "content": "Hi"}
BOT = {"role": "assistant", "content": "Hello!"}
MORE = {"role": "user", "content": "1 + 1?"}
TWO = {"role": "assistant", "content": "2"}
SIX = {"role": "assistant", "content": "6"}


def canonical(stream, row, mapping=None):
    columns = detect(stream, list(row), mapping or {}, "f.jsonl")
    (made,) = normalise(row, columns, "row 0 of 'f.jsonl'")
    return made


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (
            {"instruction": "Add.", "input": "1 + 1", "output": "2"},
            {"prompt": "Add.\n\n1 + 1", "response": "2"},
        ),
        ({"instruction": "Hi", "input": "", "output": "Hello!"}, {"prompt": "Hi", "response": "Hello!"}),
        ({"instruction": "Hi", "input": None, "output": "Hello!"}, {"prompt": "Hi", "response": "Hello!"}),
        ({"instruction": "Hi", "output": "Hello!"}, {"prompt": "Hi", "response": "Hello!"}),
        ({"prompt": "Hi", "completion": "Hello!", "id": 7}, {"prompt": "Hi", "response": "Hello!"}),
        ({"prompt": "Hi", "response": "Hello!"}, {"prompt": "Hi", "response": "Hello!"}),
        ({"prompt": [USER], "completion": [BOT]}, {"prompt": [USER], "response": "Hello!"}),
        ({"messages": [USER, BOT]}, {"prompt": [USER], "response": "Hello!"}),
        ({"messages": [USER, BOT, MORE, TWO]}, {"prompt": [USER, BOT, MORE], "response": "2"}),
        ({"messages": [{**USER, "tool": None}, BOT]}, {"prompt": [USER], "response": "Hello!"}),
    ],
)
def test_sft_shapes(row, expected):
    assert canonical("sft", row) == expected


@pytest.mark.parametrize(
    ("row", "prompt"),
    [
        ({"prompt": [USER, BOT, MORE], "chosen": [TWO], "rejected": [SIX]}, [USER, BOT, MORE]),
        ({"prompt": [USER, BOT, MORE], "chosen": "2", "rejected": "6"}, [USER, BOT, MORE]),
        ({"prompt": "1 + 1?", "chosen": "2", "rejected": "6"}, "1 + 1?"),
        ({"prompt": "1 + 1?", "chosen": [TWO], "rejected": [SIX]}, [MORE]),
        # the whole conversation again in each answer: the prompt column only repeats its beginning
        ({"prompt": "1 + 1?", "chosen": [MORE, TWO], "rejected": [MORE, SIX]}, [MORE]),
        ({"prompt": [MORE], "chosen": [MORE, TWO], "rejected": [MORE, SIX]}, [MORE]),
        ({"chosen": [USER, BOT, MORE, TWO], "rejected": [USER, BOT, MORE, SIX]}, [USER, BOT, MORE]),
    ],
)
def test_preference_shapes(row, prompt):
    assert canonical("preference", row) == {"prompt": prompt, "chosen": "2", "rejected": "6"}


def test_identical_conversations_share_all_but_the_answer():
    row = {"chosen": [USER, BOT], "rejected": [USER, BOT]}
    assert canonical("preference", row) == {"prompt": [USER], "chosen": "Hello!", "rejected": "Hello!"}


@pytest.mark.parametrize(
    ("stream", "row"),
    [
        ("sft", {"messages": [USER, BOT, MORE]}),  # ends in a question
        ("sft", {"messages": [BOT]}),  # no prompt
        ("sft", {"messages": []}),
        ("sft", {"messages": None}),
        (
            "preference",
            {"chosen": [USER, BOT, MORE, TWO], "rejected": [USER, SIX, MORE, TWO]},
        ),  # part too early
        ("preference", {"chosen": [USER, BOT, MORE, TWO], "rejected": [USER, BOT]}),
        ("preference", {"chosen": [USER, BOT], "rejected": None}),
    ],
)
def test_conversations_without_one_last_answer_are_unusable(stream, row):
    with pytest.raises(Unusable, match=NO_ANSWER):
        canonical(stream, row)


@pytest.mark.parametrize("empty", [None, math.nan])
def test_missing_cells_are_empty_and_never_the_text_none(empty):
    assert canonical("sft", {"prompt": "Hi", "response": empty}) == {"prompt": "Hi", "response": ""}
    pair = {"prompt": "Hi", "chosen": "Hello!", "rejected": empty}
    assert canonical("preference", pair) == {"prompt": "Hi", "chosen": "Hello!", "rejected": ""}
    for turn in ({"role": "assistant", "content": None}, {"role": "assistant"}):
        assert canonical("sft", {"messages": [USER, turn]}) == {"prompt": [USER], "response": ""}


def test_mapping_overrides_detection():
    row = {"messages": [USER, BOT], "question": "1 + 1?", "answer": "2"}
    mapping = {"prompt": "question", "response": "answer"}
    assert canonical("sft", row, mapping) == {"prompt": "1 + 1?", "response": "2"}
    pair = {"prompt": "1 + 1?", "better": "2", "rejected": "6"}  # partly mapped, the rest by name
    assert canonical("preference", pair, {"chosen": "better"})["chosen"] == "2"


@pytest.mark.parametrize(
    ("stream", "row", "mapping", "words"),
    [
        ("sft", {"q": "a", "r": "b"}, {}, "'f.jsonl' has the columns q, r, but sft data needs messages or"),
        ("preference", {"prompt": "a", "chosen": "b"}, {}, "but preference data needs prompt/chosen/"),
        ("sft", {"q": "a"}, {"prompt": "question"}, "maps prompt to 'question', but 'f.jsonl' has only"),
        ("sft", {"q": "a", "r": "b"}, {"prompt": "q", "answer": "r"}, "mapped: {'prompt': 'q', 'answer'"),
        ("preference", {"chosen": "H: a\nA: b", "rejected": "H: a\nA: c"}, {}, "as text but no prompt"),
        ("preference", {"prompt": "a", "chosen": "b", "rejected": [BOT]}, {}, "mixes text and messages in"),
        ("sft", {"prompt": "a", "response": 7}, {}, "row 0 of 'f.jsonl' has the int 7 in column 'response'"),
        ("sft", {"messages": [{"speaker": "human", "text": "a"}]}, {}, "give each a role and a content"),
        ("sft", {"messages": "what"}, {}, "should hold a list of messages"),
        ("sft", {"instruction": [USER], "output": "b"}, {}, "holds a list where text is needed"),
    ],
)  # fmt: skip
def test_wrong_columns_are_one_sentence(stream, row, mapping, words):
    with pytest.raises(UserError, match=re.escape(words)):
        canonical(stream, row, mapping)
