import gzip
import json
import logging
from pathlib import Path

import pytest

from xright.data.prepared import prepared
from xright.errors import UserError

REAL = {"_target_": "xright.data.filters.RealPreference", "scores": None}
SAFETY = {"_target_": "xright.data.filters.OppositeSafety", "labels": ["is_response_0_safe", "is_response_1_safe"]}
STRING_MATCH = {"_target_": "xright.evaluation.judges.StringMatch"}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XRIGHT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def write(tmp_path):
    def write(rows, name="rows.jsonl"):
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(tmp_path / name)

    return write


def pairs(*answers):
    return [{"prompt": f"q{i}", "chosen": a, "rejected": b} for i, (a, b) in enumerate(answers)]


def read(path):
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def test_the_kept_rows_in_a_file_and_what_was_dropped(write, caplog):
    rows = pairs(("ä", "b"), ("a", "a"), ("a", " "), ("c", "d"))
    with caplog.at_level(logging.INFO):
        path = prepared(write(rows), REAL)
        assert prepared(write(rows), REAL) == path
    assert read(path) == [rows[0], rows[3]]
    counts = "2 of 4 rows kept; 1 dropped: equal answers; 1 dropped: an empty answer"
    assert sum(f"rows.jsonl: {counts}" in line for line in caplog.messages) == 2  # whenever it is asked for
    assert sum("prepared: building" in line for line in caplog.messages) == 1


def test_other_rows_step_or_judge_are_another_file(write):
    path, step = write(pairs(("a", "b"), ("I cannot.", "b"))), {**SAFETY, "labels": None}
    judged = prepared(path, {**step, "judge": STRING_MATCH})
    unjudged = prepared(path, {**step, "judge": None})
    assert [len(read(file)) for file in (judged, unjudged)] == [1, 2]
    fewer = write(pairs(("a", "b")), "fewer.jsonl")
    assert len({judged, unjudged, prepared(path, REAL), prepared(fewer, REAL), prepared(path, REAL, "train[:1]")}) == 5


def test_a_model_that_changes_under_its_name_is_asked_anew(write, tmp_path):
    """Any text of a step that names a folder stands for what is in it; here it is a column's name as well."""
    folder, column = tmp_path / "judge", str(tmp_path / "judge")
    folder.mkdir()
    path, found = write([{**row, column: 1, "other": 2} for row in pairs(("a", "b"))]), []
    for content in ("old", "new", "new"):
        (folder / "config.json").write_text(content)
        found.append(prepared(path, {**REAL, "scores": [column, "other"]}))
    assert found[0] != found[1] == found[2]


def test_nothing_left_is_said_and_nothing_is_kept(write, tmp_path):
    path = write(pairs(("a", "a")))
    says = "No row is left (" + path + ": 0 of 1 rows kept; 1 dropped: equal answers); check the step and its columns."
    with pytest.raises(UserError) as caught:
        prepared(path, REAL)
    assert str(caught.value) == says
    assert not list((tmp_path / "cache").rglob("rows.jsonl"))


@pytest.mark.parametrize("step", [{}, None, {"scores": None}])
def test_a_step_has_a_target(write, step):
    with pytest.raises(UserError, match="is no step; give its _target_"):
        prepared(write(pairs(("a", "b"))), step)


def test_it_stands_where_a_path_would(write, files):
    """As `conf/data/ultrafeedback.yaml` has it: one file for both streams, `limit` of what was kept."""
    rows = pairs(("a", "a"), ("b", "c"), ("d", "e"), ("f", "g"))
    path = prepared(write(rows), REAL)
    sft = {"path": path, "limit": 2, "columns": {"response": "chosen"}}
    source = files(sft, {"path": path, "limit": 2}, heldout=0)
    assert list(source.rows("preference", "train")) == rows[1:3]
    assert [row["response"] for row in source.rows("sft", "train")] == ["b", "d"]


def test_pku_saferlhf_as_the_hub_has_it(real_data, write):
    """Real pairs put back into the published shape, the safe answer now first, now second, and a row of each label."""
    with gzip.open(real_data / "pref" / "pku_saferlhf_test.jsonl.gz", "rt") as file:
        real = [json.loads(line) for line in file][:400]
    rows = []
    for number, row in enumerate(real):
        answers, first = (row["chosen"], row["rejected"]), number % 2 == 0
        rows.append(
            {
                "prompt": row["prompt"], "response_0": answers[not first], "response_1": answers[first],
                "is_response_0_safe": first, "is_response_1_safe": not first, "better_response_id": 0,
                "safer_response_id": int(not first),
            }
        )  # fmt: skip
        rows.append({**rows[-1], "is_response_0_safe": True, "is_response_1_safe": True})
    path = write(rows)
    assert read(prepared(path, {**SAFETY, "judge": None})) == real
    confirmed = read(prepared(path, {**SAFETY, "judge": STRING_MATCH}))
    assert 0 < len(confirmed) < len(real)
    assert all(row in real for row in confirmed)
