import math
import re

import pytest

from xright.data.columns import detect, normalise
from xright.data.counts import NO_ANSWER
from xright.data.messages import Unusable
from xright.data.stream import Stream
from xright.errors import UserError

USER = {"role": "user", "content": "Hi"}
BOT = {"role": "assistant", "content": "Hello!"}
MORE = {"role": "user", "content": "1 + 1?"}
TWO = {"role": "assistant", "content": "2"}
SIX = {"role": "assistant", "content": "6"}


def canonical(kind, row, mapping=None):
    stream = Stream("rows", kind, columns=mapping or {})
    (made,) = normalise(stream, row, detect(stream, list(row), "f.jsonl"), "row 0 of 'f.jsonl'")
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
    assert canonical("completions", row) == expected


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
    assert canonical("pairs", row) == {"prompt": prompt, "chosen": "2", "rejected": "6"}


def test_identical_conversations_share_all_but_the_answer():
    row = {"chosen": [USER, BOT], "rejected": [USER, BOT]}
    assert canonical("pairs", row) == {"prompt": [USER], "chosen": "Hello!", "rejected": "Hello!"}


@pytest.mark.parametrize(
    ("kind", "row"),
    [
        ("completions", {"messages": [USER, BOT, MORE]}),  # ends in a question
        ("completions", {"messages": [BOT]}),  # no prompt
        ("completions", {"messages": []}),
        ("completions", {"messages": None}),
        (
            "pairs",
            {"chosen": [USER, BOT, MORE, TWO], "rejected": [USER, SIX, MORE, TWO]},
        ),  # part too early
        ("pairs", {"chosen": [USER, BOT, MORE, TWO], "rejected": [USER, BOT]}),
        ("pairs", {"chosen": [USER, BOT], "rejected": None}),
    ],
)
def test_conversations_without_one_last_answer_are_unusable(kind, row):
    with pytest.raises(Unusable, match=NO_ANSWER):
        canonical(kind, row)


@pytest.mark.parametrize("empty", [None, math.nan])
def test_missing_cells_are_empty_and_never_the_text_none(empty):
    assert canonical("completions", {"prompt": "Hi", "response": empty}) == {"prompt": "Hi", "response": ""}
    pair = {"prompt": "Hi", "chosen": "Hello!", "rejected": empty}
    assert canonical("pairs", pair) == {"prompt": "Hi", "chosen": "Hello!", "rejected": ""}
    for turn in ({"role": "assistant", "content": None}, {"role": "assistant"}):
        assert canonical("completions", {"messages": [USER, turn]}) == {"prompt": [USER], "response": ""}


def test_mapping_overrides_detection():
    row = {"messages": [USER, BOT], "question": "1 + 1?", "answer": "2"}
    mapping = {"prompt": "question", "response": "answer"}
    assert canonical("completions", row, mapping) == {"prompt": "1 + 1?", "response": "2"}
    pair = {"prompt": "1 + 1?", "better": "2", "rejected": "6"}  # partly mapped, the rest by name
    assert canonical("pairs", pair, {"chosen": "better"})["chosen"] == "2"


@pytest.mark.parametrize(
    ("kind", "row", "mapping", "words"),
    [
        ("completions", {"q": "a", "r": "b"}, {}, "'f.jsonl' has the columns q, r, but completions need messages or"),
        ("pairs", {"prompt": "a", "chosen": "b"}, {}, "but pairs need prompt/chosen/"),
        ("completions", {"q": "a"}, {"prompt": "question"}, "maps prompt to 'question', but 'f.jsonl' has only"),
        ("completions", {"q": "a", "r": "b"}, {"prompt": "q", "answer": "r"}, "mapped: {'prompt': 'q', 'answer'"),
        ("pairs", {"chosen": "H: a\nA: b", "rejected": "H: a\nA: c"}, {}, "as text but no prompt"),
        ("pairs", {"prompt": "a", "chosen": "b", "rejected": [BOT]}, {}, "mixes text and messages in"),
        ("completions", {"prompt": "a", "response": 7}, {}, "row 0 of 'f.jsonl' has the int 7 in column 'response'"),
        ("completions", {"messages": [{"speaker": "human", "text": "a"}]}, {}, "give each a role and a content"),
        ("completions", {"messages": "what"}, {}, "should hold a list of messages"),
        ("completions", {"instruction": [USER], "output": "b"}, {}, "holds a list where text is needed"),
    ],
)  # fmt: skip
def test_wrong_columns_are_one_sentence(kind, row, mapping, words):
    with pytest.raises(UserError, match=re.escape(words)):
        canonical(kind, row, mapping)
