import gzip
import json
from contextlib import suppress
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xright.data import textfiles
from xright.data.tables import read
from xright.data.textfiles import csv_rows, json_rows, lines
from xright.errors import UserError

ROWS = [{"prompt": "What?", "response": "That."}, {"prompt": "Who?", "response": "You."}]
CELL = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | CELL,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(CELL, inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=200, deadline=timedelta(seconds=5))
@given(rows=st.lists(st.dictionaries(CELL, JSON, min_size=1, max_size=4), max_size=5), ascii=st.booleans())
def test_json_is_read_as_it_was_written(rows, ascii):
    """A line of its own, in a list, in a list over many lines: each is the rows again."""
    written = [json.dumps(row, ensure_ascii=ascii) for row in rows]
    assert list(json_rows([line.encode() + b"\n" for line in written])) == rows
    for indent in (None, 2):
        text = json.dumps(rows, ensure_ascii=ascii, indent=indent)
        assert list(json_rows([line.encode() + b"\n" for line in text.split("\n")])) == rows
        several = "\n".join(json.dumps(row, ensure_ascii=ascii, indent=indent) for row in rows)
        assert list(json_rows([line.encode() + b"\n" for line in several.split("\n")])) == rows


@settings(max_examples=100, deadline=timedelta(seconds=5))
@given(rows=st.lists(st.tuples(CELL, CELL), min_size=1, max_size=5))
def test_csv_is_read_as_it_was_written(rows):
    """With every cell in quotes: quotes, commas, line ends and separators of other alphabets are text."""
    quoted = "".join(
        ",".join('"' + cell.replace('"', '""') + '"' for cell in row) + "\n" for row in [("a", "b"), *rows]
    )
    found = [line.encode() + b"\n" for line in quoted.split("\n")[:-1]]
    assert list(csv_rows(found)) == [{"a": a, "b": b} for a, b in rows]


@pytest.fixture
def write(tmp_path):
    def write(name, content):
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(tmp_path / name)

    return write


HEAD = "instruction,output\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (HEAD + "a,b,c\nd,e\n", r"Expected 2 fields in line 2, saw 3"),  # the first line
        (HEAD + "a,b\n" * 30 + "d,e,f\n", r"Expected 2 fields in line 32, saw 3"),  # a later one
        (HEAD + "a,b,c\n" * 30, r"Expected 2 fields in line 2, saw 3"),  # every one: column 1 was taken for an index
        ("instruction,input,output\n" + "a,b,c,\n" * 30, r"Expected 3 fields in line 2, saw 4"),
        (HEAD + "a,b\nc\n", r"Expected 2 fields in line 3, saw 1"),
        (HEAD + '"a\nb",c\nd\n', r"Expected 2 fields in line 4, saw 1"),  # a cell over two lines
        (HEAD + 'a,b\n"c,d\n' + "e,f\n" * 9, r"line 3: EOF inside string"),
        (HEAD + 'a,b\n"c"d,e\n', r"line 3: .*a cell that holds a quote or a comma needs quotes"),
        ("prompt,completion,completion\na,b,c\n", r"line 1 names the column 'completion' twice"),
        ("instruction;output\na;b\n", r"its columns are set apart by ';'; set them apart by commas"),
        ("instruction\toutput\na\tb\n", r"its columns are set apart by '\\t'"),
    ],
)
def test_csv_that_does_not_add_up_names_its_line(write, content, words):
    for path in (write("a.csv", content), write("a.csv.gz", gzip.compress(content.encode()))):
        with pytest.raises(UserError, match=r"Cannot read '.*a\.csv(\.gz)?' as csv \(" + words):
            read(path)


def test_csv_of_pandas_and_of_spreadsheets(write):
    """An index without a name, a byte order mark, CRLF, cells over several lines, blank lines at the end."""
    text = '\ufeff,prompt,response\r\n0,"a\r\nb","He said ""no"", twice"\r\n1,\u2028c\u0085, d \r\n\r\n'
    rows = [
        {"Unnamed: 0": "0", "prompt": "a\r\nb", "response": 'He said "no", twice'},
        {"Unnamed: 0": "1", "prompt": "\u2028c\u0085", "response": " d "},
    ]
    assert read(write("a.csv", text)).dataset.to_list() == rows


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"a": 1}\n\n{"a": 2, "a": 3}\n', "line 3: JSON parse error: the name 'a' comes twice"),
        ('{"a": 1}\n[2]\n', r"line 2 holds \[2\], not an object"),
        ('{"a": 1}\n{"a": 2} {"a": 3}\n', "line 2: JSON parse error: '{.*' does not belong there"),
        ('[{"a": 1}\n {"a": 2}]\n', "line 2: JSON parse error: '{.*' does not belong there"),
        ('{"a": 1}\n{"a"\n', "line 2: JSON parse error: Expecting ':'"),
        ('[{"a": 1},\n', "line 1: JSON parse error: Expecting value"),
        ('[{"a": 1}', "line 1: JSON parse error: '' does not belong there"),
        ('\n{"a": "\\ud83d"}\n', "line 2: JSON parse error: half of a surrogate pair"),
        ('{"a": ' + "[" * 100_000 + "\n", "line 1: JSON parse error: it is nested too deeply"),
        ("\ufeff{}".encode("utf-16-le"), "line 1: it is UTF-16; save it as UTF-8"),
    ],
)  # fmt: skip
def test_json_that_cannot_be_read_names_its_line(write, content, words):
    with pytest.raises(UserError, match=r"Cannot read '.*a\.jsonl' as json \(" + words):
        read(write("a.jsonl", content))


def test_text_stays_text_whatever_it_looks_like_and_wherever_it_begins(write):
    """Types were inferred from blocks of a file: dates became datetimes, a column of nulls took no text."""
    rows = [{"a": None, "b": f"2021-05-{i % 28 + 1:02d}", "c": "12:30", "d": "x" * 1000} for i in range(11_000)]
    rows += [{"a": "late", "b": "no date", "c": "1e3", "d": "true"}]
    found = read(write("a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))).dataset
    assert found[0] == rows[0]
    assert found[-1] == rows[-1]


def test_cells_of_several_kinds_in_one_column_are_kept_exactly(write):
    rows = [{"a": cell} for cell in ("5", 5, None, [1, {"x": None}], {"y": 10**18}, "[]", True, 0.1)]
    table = read(write("a.jsonl", "".join(json.dumps(row) + "\n" for row in rows)))
    assert table.dataset[:]["a"] == [row["a"] for row in rows]
    nested = [{"m": [{"f": {"city": "Oslo"}}]}, {"m": [{"f": {"day": "2021-05-01"}}, {}]}]  # no key is filled in
    assert read(write("b.jsonl", "".join(json.dumps(row) + "\n" for row in nested))).dataset.to_list() == nested


def test_a_packed_file_that_unpacks_to_far_more_than_text_does_is_refused(tmp_path, monkeypatch):
    """20 MB of one letter in 20 kB: one line, or many. Bounds of 1 MB and 100 times stand for the real 268 MB."""
    monkeypatch.setattr(textfiles, "MOST", 1 << 20)
    row = json.dumps(ROWS[0]).encode() + b"\n"
    for name, bomb in (("line", b'{"prompt": "' + b"a" * 20_000_000), ("lines", row * 400_000)):
        path = tmp_path / f"{name}.jsonl.gz"
        path.write_bytes(gzip.compress(bomb))
        given_out = 0
        with suppress(ValueError):
            for line in lines(path):
                given_out += len(line)
        assert given_out <= max(1 << 20, 100 * path.stat().st_size)
        with pytest.raises(UserError, match=r"unpacks to more than 100 times its size.*gunzip it"):
            read(str(path))
    path = tmp_path / "small.jsonl.gz"  # well packed, but no danger
    path.write_bytes(gzip.compress(row * 4000))
    assert len(read(str(path)).dataset) == 4000


def test_a_packed_file_is_known_by_its_content_too(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(gzip.compress(json.dumps(ROWS[0]).encode()))
    assert read(str(tmp_path / "a.jsonl")).dataset.to_list() == ROWS[:1]
