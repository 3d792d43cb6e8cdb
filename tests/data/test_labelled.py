"""Labelled rows: how a label is read, and whose answer stands beside a row's own."""

import json

import numpy as np
import pytest

from xright.data.columns import detect, normalise
from xright.data.corpus import Corpus
from xright.data.prompts import Row, encode
from xright.data.rows import Rows
from xright.data.sources import Files
from xright.data.stream import Stream, streams_of
from xright.data.templates import Template
from xright.data.tokenised import read, write
from xright.errors import UserError

STREAM = Stream("labelled", "labelled", template="raw")


def canonical(row):
    return normalise(STREAM, row, detect(STREAM, list(row), "a.jsonl"), "row 0 of 'a.jsonl'")


@pytest.mark.parametrize(("label", "expected"), [
    (True, True), (False, False), (1, True), (0, False), (1.0, True), ("true", True), ("False", False), ("1", True),
])  # fmt: skip
@pytest.mark.parametrize("answer", ["completion", "response"])
def test_a_label_is_true_or_false(label, expected, answer):
    (made,) = canonical({"prompt": "Q", answer: "A", "label": label})
    assert made == {"prompt": "Q", "response": "A", "label": expected}
    assert made["label"] is expected


@pytest.mark.parametrize("label", [None, float("nan"), "", "good", 2, -1, 0.5, [], {"a": 1}])
def test_anything_else_is_refused(label):
    with pytest.raises(UserError, match=r"^row 0 of 'a.jsonl' has the label .*; give true for a good answer, or"):
        canonical({"prompt": "Q", "completion": "A", "label": label})


def test_a_label_is_needed():
    with pytest.raises(UserError, match="but labelled need prompt/completion/label or prompt/response/label"):
        detect(STREAM, ["prompt", "completion"], "a.jsonl")


def test_messages_and_other_names():
    stream = Stream("labelled", "labelled", columns={"label": "ok"})
    row = {"prompt": [{"role": "user", "content": "Q"}], "completion": [{"role": "assistant", "content": "A"}], "ok": 0}
    (made,) = normalise(stream, row, detect(stream, list(row), "a"), "row 0")
    assert (made["prompt"], made["label"]) == (row["prompt"], False)


def test_turns_are_the_last():
    with pytest.raises(UserError, match=r"turns='all' must be last: a label is of one answer\.$"):
        streams_of({"labelled": {"kind": "labelled", "path": "a.jsonl", "turns": "all"}})


@pytest.fixture
def rows(word_tokenizer):
    texts = [("w1", "w2 w3", 1), ("w1", "w2 w3", 0), ("w4 w5", "w6", 1), ("w4 w5", "w6", 1), ("w7", "w8", 0)]
    canonical = [{"prompt": p, "response": f" {a}", "label": bool(label)} for p, a, label in texts]
    return encode(canonical, STREAM, Template("raw"), word_tokenizer, max_length=16)[0]


def test_the_label_is_part_of_a_row(rows):
    assert [row.label for row in rows] == [True, False, True, True, False]
    assert rows[0].id != rows[1].id  # the same words, called good and bad
    assert rows[2] == rows[3]
    assert [row.responses for row in rows.chosen_only()] == [([2, 3, 0],), ([6, 0],), ([6, 0],)]  # good ones alone


def test_they_are_stored_with_their_labels(rows, tmp_path):
    write(tmp_path, [list(rows)[:2], list(rows)[2:]])
    assert read(tmp_path, 5, labelled=True) == rows
    (tmp_path / "labels.npy").unlink()
    with pytest.raises(UserError, match="are damaged"):
        read(tmp_path, 5, labelled=True)


def some(n, length=3):
    draw = np.random.default_rng(0)
    ids = draw.permutation(n) + 100
    return Rows.of(Row(int(i), [1] * (i % 3), ([int(i)] * (1 + i % length),), label=bool(i % 2)) for i in ids)


def test_mismatches_are_a_fixed_permutation_of_the_data_set():
    rows = some(50)
    mismatched = rows.with_mismatches(max_length=10)
    assert [row.responses[0] for row in mismatched] == [row.responses[0] for row in rows]
    assert sorted(row.responses[1] for row in mismatched) == sorted(row.responses[0] for row in rows)
    for row, old in zip(mismatched, rows, strict=True):
        following = old.id + 1 if old.id < 149 else 100
        assert row.responses[1] == [following] * (1 + following % 3)
        assert (row.prompt, row.label) == (old.prompt, old.label)
    assert len({row.id for row in mismatched}) == 50


def test_neither_order_nor_selection_changes_them():
    rows = some(50)
    whole = {row.responses[0][0]: row for row in rows.with_mismatches(10)}
    shuffled = rows[np.random.default_rng(1).permutation(50)].with_mismatches(10)
    assert all(whole[row.responses[0][0]] == row for row in shuffled)
    assert list(shuffled[10:20]) == list(shuffled)[10:20]
    fewer = {row.responses[0][0]: row for row in rows[:25].with_mismatches(10)}
    assert any(fewer[key].id != whole[key].id for key in fewer)  # another answer beside it is another row


def test_equal_rows_share_it_and_are_not_their_own():
    rows = Rows.of(Row(i, [1], ([i],), label=True) for i in (5, 5, 7))
    assert [row.responses[1] for row in rows.with_mismatches(10)] == [[7], [7], [5]]
    with pytest.raises(UserError, match="fewer than two labelled rows are different"):
        rows[:2].with_mismatches(10)


def test_what_is_too_long_is_cut():
    rows = Rows.of([Row(1, [1] * 7, ([2, 2, 2],), label=True), Row(2, [1], ([3] * 9,), label=False)])
    mismatched = rows.with_mismatches(max_length=10)
    assert [row.responses[1] for row in mismatched] == [[3, 3, 3], [2, 2, 2]]
    assert all(len(row.prompt) + len(row.responses[1]) <= 10 for row in mismatched)


def test_reference_log_probs_are_found_by_both_answers():
    rows = some(6).with_mismatches(10)
    table = np.arange(12.0).reshape(6, 2)
    joined = rows.union(rows[:2])
    assert joined.labels_N is None  # what asks the reference sees two answers to a prompt
    known = rows[::-1].with_reference(joined.ids_N, table)
    assert [row.reference for row in known] == [tuple(pair) for pair in table[::-1].tolist()]
    assert [row.label for row in known] == [row.label for row in rows][::-1]


def test_a_file_of_them(tmp_path, word_tokenizer):
    path = tmp_path / "rated.jsonl"
    lines = [{"prompt": f"w{i}", "completion": f" w{i + 1} w{i + 2}", "label": i % 2 == 0} for i in range(1, 30)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    streams = streams_of({"rated": {"kind": "labelled", "path": str(path), "template": "raw"}})
    corpus = Corpus(Files(streams, heldout=0.3), streams, word_tokenizer, max_length=16, eval_on="heldout")
    train, evaluation = corpus.train("rated"), corpus.evaluation("rated")
    assert len(train) + len(evaluation) == 29
    for part in (train, evaluation):
        own = {tuple(row.responses[0]) for row in part}
        assert all(row.label == (row.prompt[0] % 2 == 0) for row in part)
        assert {tuple(row.responses[1]) for row in part} == own  # of its own split
        assert all(row.responses[0] != row.responses[1] for row in part)
