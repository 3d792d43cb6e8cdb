import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xright.data.canonical import CHUNK, LazyRows, Tables
from xright.data.columns import normalise
from xright.data.counts import NO_ANSWER
from xright.data.heldout import position
from xright.data.stream import Stream
from xright.data.tables import read
from xright.errors import UserError

TURNS = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]


@given(st.integers(0, 9), st.data())
def test_lazy_rows_behave_as_a_list(n, data):
    expected = [{"prompt": str(i)} for i in range(n)]
    rows = LazyRows(n, lambda start, stop: expected[start:stop] if start < stop else [])
    assert (len(rows), list(rows), bool(rows)) == (n, expected, n > 0)
    part = data.draw(st.slices(n))
    assert rows[part] == expected[part]
    index = data.draw(st.integers(-n - 2, n + 1))
    if -n <= index < n:
        assert rows[index] == expected[index]
    else:
        with pytest.raises(IndexError):
            rows[index]


@pytest.fixture
def tables(tmp_path):
    """tables(*lists of rows, limit): the tables of files with these rows."""

    def tables(*files, kind="completions", limit=None):
        read_files = []
        for i, rows in enumerate(files):
            path = tmp_path / f"{i}.jsonl"
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
            read_files.append(read(str(path)))
        return Tables(read_files, Stream("rows", kind), limit)

    return tables


def test_rows_of_files_of_different_shapes(tables):
    long = [{"prompt": f"q{i}", "response": f"a{i}"} for i in range(2 * CHUNK + 7)]
    chats = [{"messages": TURNS if i % 2 else TURNS[:1]} for i in range(10)]
    alpaca = [{"instruction": "q", "input": "x", "output": "a"}]
    survey = tables(long, chats, alpaca).survey(seed=3)
    expected = [*long, *[{"prompt": TURNS[:1], "response": "Hello!"}] * 5, {"prompt": "q\n\nx", "response": "a"}]
    rows = survey.rows(np.arange(len(survey.u_N)))
    assert list(rows) == expected
    assert survey.u_N.tolist() == [position(row["prompt"], 3) for row in expected]
    assert survey.about.dropped == {NO_ANSWER: 5}
    for picks in ([0], [5, 6, 7], [0, 900, 2006, 2007, 2012], list(range(1990, 2013))):
        picked = survey.rows(np.array(picks))
        assert list(picked) == picked[:] == [expected[pick] for pick in picks]
        assert picked[-1] == expected[picks[-1]]


def test_limit_is_of_all_files_together(tables):
    files = [[{"prompt": f"{name}{i}", "response": "a"} for i in range(3)] for name in "pq"]
    for limit, expected in ((None, 6), (7, 6), (6, 6), (4, 4), (3, 3), (1, 1)):
        survey = tables(*files, limit=limit).survey(0)
        assert list(survey.rows(np.arange(expected))) == [*files[0], *files[1]][:expected]
        assert len(survey.u_N) == expected


def test_messages_are_read_as_they_were_written(tables):
    """Chunks come from Arrow columns; a row alone from its line must be the same, cells of every kind included."""
    rows = [
        {"prompt": "text", "chosen": "a", "rejected": None},
        {"prompt": "ünï ☃ \n", "chosen": "", "rejected": "b"},
        {"prompt": None, "chosen": "c", "rejected": "d"},
    ]
    chats = [
        {"prompt": TURNS[:1], "chosen": [TURNS[1]], "rejected": [TURNS[1] | {"content": None}]},
        {"prompt": [TURNS[0] | {"name": "x"}], "chosen": [TURNS[1]], "rejected": [TURNS[1]]},
    ]
    names = {name: name for name in ("prompt", "chosen", "rejected")}
    survey = tables(rows, chats, kind="pairs").survey(0)
    assert list(survey.rows(np.arange(5))) == [
        normalise(Stream("rows", "pairs"), row, names, "")[0] for row in (*rows, *chats)
    ]


def test_a_malformed_row_is_named_by_its_place_in_its_file(tables):
    long = [{"prompt": f"q{i}", "response": "a"} for i in range(CHUNK)]
    found = tables(long, [{"prompt": "q", "response": [1]}] * 3)
    with pytest.raises(UserError, match=r"row 0 of '.*1\.jsonl'"):
        found.survey(0)


def test_a_pass_needs_the_memory_of_a_chunk(tables):
    """8,000 rows of 4,000 bytes are 32 MB; a chunk of 1,000 is 4 MB."""
    found = tables([{"prompt": f"{i}" + "x" * 2000, "response": "y" * 2000} for i in range(8000)])
    tracemalloc.start()
    survey = found.survey(0)
    n = sum(len(row["prompt"]) for row in survey.rows(np.arange(8000)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert n > 16_000_000
    assert peak < 12e6


def test_lines_of_two_kinds_are_not_read_as_empty_ones(tables):
    rows = [{"prompt": "a", "response": "b"}, {"prompt": "c", "reply": "d"}]
    with pytest.raises(
        UserError, match=r"mixes rows with 'response' and rows with 'reply' \(row 1 has no 'response'\)"
    ):
        tables(rows)
    rows[0]["reply"] = "e"  # now a response may be left out for a reason
    assert tables(rows).columns == [{"prompt": "prompt", "response": "response"}]


def test_an_input_may_be_left_out(tables):
    rows = [{"instruction": "a", "input": "b", "output": "c"}, {"instruction": "d", "note": "e", "output": "f"}]
    assert tables(rows).columns[0]["input"] == "input"
