import json
import os

import pytest

from xright.data.counts import COPIED
from xright.data.stream import streams_of
from xright.errors import UserError

ROWS = [{"prompt": f"q{i}", "response": f"a{i}"} for i in range(3)]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The working folder, with a.jsonl, a link to it, and a copy of it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("a", "copy"):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (tmp_path / "linked.jsonl").symlink_to("a.jsonl")
    (tmp_path / "folder").symlink_to(".")
    return tmp_path


@pytest.mark.parametrize("key", ["path", "eval_path"])
@pytest.mark.parametrize(
    "again",
    ["a.jsonl", "./a.jsonl", "~/a.jsonl", "linked.jsonl", "folder/a.jsonl", os.path.join("..", "{}", "a.jsonl")],
)
def test_one_file_named_twice_is_refused(place, key, again):
    again = again.format(place.name)
    given = {"path": "copy.jsonl", key: ["a.jsonl", "copy.jsonl", again]}
    with pytest.raises(UserError) as caught:
        streams_of({"sft": {"kind": "completions", **given}})
    assert f"data.streams.sft.{key} names the same data twice, as 'a.jsonl' and '{again}'" in str(caught.value)
    assert "name them once" in str(caught.value)


def test_one_dataset_of_the_hub_named_twice_is_refused(place):
    with pytest.raises(UserError, match=r"data\.streams\.preference\.path names the same data twice"):
        streams_of({"preference": {"kind": "pairs", "path": ["someone/pairs", "someone/others", "someone/pairs"]}})


def test_a_copy_under_another_name_is_read_and_said(place, files):
    source = files({"path": ["a.jsonl", "copy.jsonl"]}, heldout=0)
    assert list(source.rows("sft", "train")) == ROWS * 2
    assert source.rows("sft", "train").about.said == {COPIED: 3}
    source = files({"path": ["a.jsonl", "copy.jsonl"], "limit": 4}, heldout=0)
    assert source.rows("sft", "train").about.said == {COPIED: 1}


@pytest.mark.parametrize("path", [5, [5], {"a": 1}, ["a.jsonl", None]])
def test_a_path_that_is_no_text_is_one_sentence(path):
    with pytest.raises(
        UserError, match=r"data\.streams\.sft\.path=.* must be a file or a hub dataset, or a list of them"
    ):
        streams_of({"sft": {"kind": "completions", "path": path}})
