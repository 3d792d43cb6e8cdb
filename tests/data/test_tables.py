import gzip
import json
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xright.data import tables
from xright.data.tables import fingerprint, read
from xright.errors import UserError

ROWS = [{"prompt": "What?", "response": "That."}, {"prompt": "Who?", "response": 'You,\nand "me" – ü'}]


def write(path, rows):
    table = pa.Table.from_pylist(rows)
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    if path.name.endswith(".gz"):
        path.write_bytes(gzip.compress(lines.encode()))
    elif path.suffix == ".jsonl":
        path.write_text(lines)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    elif path.suffix == ".csv":
        table.to_pandas().to_csv(path, index=False)
    elif path.suffix == ".parquet":
        pq.write_table(table, path)
    else:
        with pa.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table)
    return str(path)


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.parquet", "a.arrow", "a.jsonl.gz", "A.JSONL"])
def test_every_format_gives_the_same_rows(tmp_path, name):
    if name == "A.JSONL":
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in ROWS))
        path = str(tmp_path / name)
    else:
        path = write(tmp_path / name, ROWS)
    assert read(path).dataset.to_list() == ROWS


def test_csv_cells_stay_as_written(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("prompt,response\n007,None\n008,\n009,NA\n")
    assert [row["prompt"] for row in read(str(path)).dataset] == ["007", "008", "009"]
    assert [row["response"] for row in read(str(path)).dataset] == ["None", "", "NA"]


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_rewritten_file_with_its_old_time_stamp_is_read_anew(tmp_path, name):
    path = write(tmp_path / name, [{"prompt": "old"}])
    os.utime(path, (1000, 1000))
    before = read(path)
    write(tmp_path / name, [{"prompt": "new"}])
    os.utime(path, (1000, 1000))
    after = read(path)
    assert (before.dataset.to_list(), after.dataset.to_list()) == ([{"prompt": "old"}], [{"prompt": "new"}])


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_fingerprint_is_of_the_content(tmp_path, name):
    path = write(tmp_path / name, [{"prompt": "old"}])
    os.utime(path, (1000, 1000))
    before = fingerprint(path)
    assert fingerprint(path) == before != fingerprint(path, split="train[:1]")
    os.rename(path, tmp_path / f"moved.{name}")
    assert fingerprint(str(tmp_path / f"moved.{name}")) == before
    write(tmp_path / name, [{"prompt": "new"}])
    os.utime(path, (1000, 1000))
    assert fingerprint(path) != before


def test_fingerprint_of_what_is_not_there(tmp_path):
    for path, words in ((tmp_path / "no.jsonl", "does not exist"), (tmp_path, "is a folder"), ("no/such", "Offline")):
        with pytest.raises(UserError, match=words):
            fingerprint(str(path))


def test_slice_of_a_file(tmp_path):
    assert read(write(tmp_path / "a.jsonl", ROWS), split="train[:1]").dataset.to_list() == ROWS[:1]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.txt", "hello", "unknown suffix; use one of .jsonl, .json, .csv, .parquet, .arrow, .jsonl.gz"),
        ("a.parquet.gz", "hello", "unknown suffix"),
        ("a.jsonl", "", "has no rows"),
        ("a.jsonl", "\n\n", "has no rows"),
        ("a.json", "[]", "has no rows"),
        ("a.csv", "prompt,response\n", "has no rows"),
        (
            "a.jsonl",
            '{"prompt": "a"}\n{"prompt": oops}\n',
            r"a.jsonl' as json \(line 2: JSON parse error: Expecting value",
        ),
        ("a.jsonl.gz", "hello", r"as json \(Not a gzipped file"),
        ("a.parquet", "hello", r"as parquet \(Parquet file size is 5 bytes"),
        ("a.csv", 'prompt,response\n1,2\n"x,3\n', r"as csv \(line 3: EOF inside string"),
        (
            "a.jsonl",
            '{"prompt": "señor"}'.encode("latin-1"),
            r"as json \(line 1: Invalid UTF8 at byte 15; save it as UTF-8",
        ),
        ("a.csv", "prompt\nseñor\n".encode("latin-1"), r"as csv \(line 2: Invalid UTF8 at byte 3; save it as UTF-8"),
        ("a.jsonl.gz", gzip.compress(b"", mtime=0), "has no rows"),
    ],
)
def test_bad_files_are_one_sentence(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=words) as error:
        read(str(tmp_path / name))
    assert name in str(error.value)
    assert "\n" not in str(error.value)


def test_a_table_without_rows(tmp_path):
    pq.write_table(pa.table({"prompt": pa.array([], pa.string())}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"a\.parquet' has no rows"):
        read(str(tmp_path / "a.parquet"))


def test_wrong_split_of_a_file_is_named(tmp_path):
    with pytest.raises(
        UserError, match=r"Unknown split \"test\".*or the split 'test': a file has train and slices of it"
    ):
        read(write(tmp_path / "a.jsonl", ROWS), split="test")


def test_missing_file_is_named_with_its_absolute_form(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as error:
        read("data/rows.jsonl")
    assert "'data/rows.jsonl'" in str(error.value)
    assert str(tmp_path / "data" / "rows.jsonl") in str(error.value)
    with pytest.raises(UserError, match="is a folder"):
        read(str(tmp_path))


def test_unreachable_hub_dataset_is_named_with_the_reason():
    with pytest.raises(UserError, match=r"dataset 'nobody/no-such-rows' \(split.*OfflineModeIsEnabled"):
        read("nobody/no-such-rows")


NAMES = [
    "set[1]", "what?", "st*r", "a::b", "{x}", "%20 #1", "é ☃", "zip::x", "file::", "http", "train[:1]", "-", "~", "a b",
    "**", "!",
]  # fmt: skip


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet", ".arrow", ".jsonl.gz"])
@pytest.mark.parametrize("name", NAMES)
def test_exactly_the_named_file_is_read(tmp_path, name, suffix):
    """Whatever its name or its folder's looks like to a shell, a glob or a file system of many protocols."""
    for folder in (name, "set1", "whatx", "star", "b"):
        (tmp_path / folder).mkdir(exist_ok=True)
        for file in ("set1", "whatx", "star", "a", "b", "x"):
            write(tmp_path / folder / f"{file}{suffix}", [{"prompt": "wrong", "response": ""}])
    path = write(tmp_path / name / f"{name}{suffix}", [{"prompt": "right", "response": name}])
    assert read(path).dataset.to_list() == [{"prompt": "right", "response": name}]
    relative = os.path.relpath(path)
    assert read(relative).dataset.to_list() == [{"prompt": "right", "response": name}]
    assert read(path).fingerprint == fingerprint(path) == fingerprint(relative)


def test_what_is_hashed_is_what_is_read(tmp_path, monkeypatch):
    """A file that changes while it is read comes with the hash of the rows that were taken."""
    path = tmp_path / "a.jsonl"
    write(path, [{"prompt": "never read before"}])
    old = fingerprint(str(path))
    convert = tables._convert

    def change_and_convert(*arguments):
        write(path, [{"prompt": "new"}])
        convert(*arguments)

    monkeypatch.setattr(tables, "_convert", change_and_convert)
    table = read(str(path))
    assert (table.dataset.to_list(), table.fingerprint) == ([{"prompt": "never read before"}], old)
    monkeypatch.undo()
    assert read(str(path)).dataset.to_list() == [{"prompt": "new"}]


def test_a_home_folder_is_meant_by_its_sign(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "a.jsonl", ROWS)
    assert read("~/a.jsonl").dataset.to_list() == ROWS


def test_encodings_of_arrow_come_as_their_values(tmp_path):
    turns = [[{"role": "user", "content": "hi"}, {"role": "assistant", "content": "2021-05-01"}]] * 3
    turn = pa.struct([("role", pa.string()), ("content", pa.string())])
    columns = {
        "a": pa.array(["x", None, "x"]).dictionary_encode(),
        "b": pa.array(["x", "y", None], pa.large_string()),
        "c": pa.array(["x", "y", None], pa.string_view()),
        "d": pa.array(turns, pa.large_list(turn)),
    }
    table = pa.table(columns)
    pq.write_table(table, tmp_path / "a.parquet")
    with pa.ipc.new_file(tmp_path / "file.arrow", table.schema) as writer:
        writer.write_table(table)
    with pa.ipc.new_stream(tmp_path / "stream.arrow", table.schema) as writer:
        writer.write_table(table)
    for name in ("a.parquet", "file.arrow", "stream.arrow"):
        assert read(str(tmp_path / name)).dataset.to_list() == table.to_pylist()


def test_columns_of_types_that_no_row_needs_do_not_close_a_file(tmp_path):
    """A map is read as a list of {key, value}, an extension type as what it is stored as."""
    numbers = pa.map_(pa.string(), pa.int64())
    columns = {
        "prompt": pa.array(["a", "b"]),
        "scores": pa.array([[("x", 1), ("y", 2)], None], numbers),
        "deep": pa.array([[{"scores": [("x", 1)]}], []], pa.list_(pa.struct([("scores", numbers)]))),
        "pair": pa.array([[[("x", 1)], []], None], pa.list_(numbers, 2)),
        "id": pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"0123456789abcdef", None], pa.binary(16))),
    }
    table, x = pa.table(columns), {"key": "x", "value": 1}
    pq.write_table(table, tmp_path / "a.parquet")
    with pa.ipc.new_file(tmp_path / "a.arrow", table.schema) as writer:
        writer.write_table(table)
    for name in ("a.parquet", "a.arrow"):
        assert read(str(tmp_path / name)).dataset.to_list() == [
            {
                "prompt": "a", "scores": [x, {"key": "y", "value": 2}], "deep": [{"scores": [x]}], "pair": [[x], []],
                "id": b"0123456789abcdef",
            },
            {"prompt": "b", "scores": None, "deep": [], "pair": None, "id": None},
        ]  # fmt: skip
