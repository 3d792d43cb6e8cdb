"""experiments/real_model/published.py and held_out.py: a cell replaces its own rows in the csv files, and no others."""

import json
import os
import shutil
import subprocess

import pandas as pd
import pytest

from tests.beside import importable


@pytest.fixture(scope="module", autouse=True)
def modules():
    """The experiment's modules can be imported, for as long as these tests run."""
    with importable("", "paper", "smollm2", "real_model"):
        yield


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Files and runs are below a folder of the test's own."""
    import held_out
    import published

    for name, place in (("HERE", tmp_path), ("RUNS", tmp_path / "runs"), ("CELLS", tmp_path / "cells.csv")):
        monkeypatch.setattr(published, name, place)
    monkeypatch.setattr(held_out, "FILE", tmp_path / "held_out.csv")
    monkeypatch.chdir(tmp_path)  # locks are below its runs/
    return tmp_path


def test_a_finished_cell_is_published_and_no_other(here, command_line, monkeypatch):
    import published
    from cells import FIRST, Cell

    cell = Cell("smollm2_safety", 3, ("strategy=mix", "lam=0.5"))  # a study's first cell: without a MAXRIGHT run
    small = ["debug=fast", "logger=csv", f"runs_dir={here / 'runs' / cell.study}", f"name={cell.name}", "seed=3"]
    command_line.run(here, *small, *cell.options, XRIGHT_CACHE=str(here / "cache"))
    published.publish(cell, asked=False)
    assert published.is_there(cell)
    rows = pd.read_csv(file := here / "smollm2_safety.csv")
    assert rows[["label", "seed"]].iloc[0].tolist() == ["Mix λ=0.5", 3]
    assert rows["f_dpo"].notna().all()

    # a first look, which has the same label, another cell of another machine, and a run that was set aside
    first = Cell("smollm2_safety", 3, FIRST[1])
    shutil.copytree(published.folder(cell).parent, published.folder(cell).parents[1] / first.name)
    shutil.copytree(published.folder(cell), published.folder(cell).with_name("run.old-1"))
    theirs = rows.assign(seed=4, f_dpo=7.0)
    pd.concat([theirs, rows.assign(f_dpo=8.0)]).to_csv(file, index=False)
    published.publish(cell, asked=False)
    pd.testing.assert_frame_equal(pd.read_csv(file), pd.concat([theirs, rows], ignore_index=True), check_dtype=False)

    def row(asked, commit):
        monkeypatch.setattr(published, "commit", lambda: commit)
        if asked:  # an answer to nothing: what was asked does not matter here
            for name, columns in (("scores", "label seed"), ("counts", "label seed"), ("examples", "method seed")):
                none = pd.DataFrame(columns=["study", *columns.split()])
                monkeypatch.setattr(published, name, lambda *given, none=none: none)
        published.publish(cell, asked)
        (found,) = pd.read_csv(published.CELLS).itertuples()
        return found.finished, bool(found.asked), found.commit

    result = published.folder(cell) / "result.json"
    os.utime(result, (86400 * 365,) * 2)  # when it was run, not when it is published
    (made,) = pd.read_csv(published.CELLS)["commit"]
    assert row(False, "b") == ("1971-01-01", False, made)
    assert row(True, "c") == ("1971-01-01", True, made)
    assert row(False, "d") == ("1971-01-01", True, made)
    told = json.loads(result.read_text()) | {"train_seconds": 9.87654321}
    result.write_text(json.dumps(told))
    assert row(False, "e")[1:] == (False, "e")  # another run, whose model has not been asked


def test_a_name_without_value_is_the_same_in_a_file(here):
    from publish import join_rows, read_rows

    file = here / "rows.csv"
    for value in (1, 2):
        join_rows(
            pd.DataFrame([{"label": "ORPO", "lam": None, "seed": 0, "value": value}]), file, ["label", "lam", "seed"]
        )
    join_rows(pd.DataFrame([{"label": "Mix", "lam": 0.5, "seed": 1.0, "value": 3}]), file, ["label", "lam", "seed"])
    join_rows(pd.DataFrame([{"label": "Mix", "lam": 0.5, "seed": 1, "value": 4}]), file, ["label", "lam", "seed"])
    assert read_rows(file)["value"].tolist() == [2, 4]


def test_answers_survive_the_file(here):
    from publish import read_rows, write_rows

    answers = ["None", "N/A", "one\rtwo", "one\r\ntwo", "three\u2028four", 'a "quote", and more', ""]
    write_rows(pd.DataFrame({"n": range(len(answers)), "answer": answers}), file := here / "rows.csv")
    again = read_rows(file)["answer"]
    assert [*again[:-1]] == ["None", "N/A", "one\ntwo", "one\ntwo", *answers[4:-1]]
    assert pd.isna(again.iloc[-1])


def test_each_middle_model_is_profiled_once(here, monkeypatch):
    import held_out
    import run
    from cells import cells

    study = list(cells(["smollm2_dpo_first"], [0]))
    middle = [cell for cell in study if cell.is_middle]
    assert run.due(study, "", True).profiled == middle
    rows = [{"study": cell.study, "cell": cell.key, "seed": cell.seed, "f_DPO": 0.7} for cell in middle[1:]]
    pd.DataFrame(rows).to_csv(held_out.FILE, index=False)
    assert run.due(study, "", True).profiled == middle[:1]
    assert run.due(study, "", False).profiled == []


def test_first_answers_are_published_with_what_they_are_to_beat(tmp_path, monkeypatch):
    import published
    from cells import Cell

    monkeypatch.setattr(published, "RUNS", tmp_path)
    cell = Cell("smollm2_sft_first", 3, ("strategy=mix", "lam=0.5"))
    run = tmp_path / cell.study / cell.name / "run"
    (run / "evaluation").mkdir(parents=True)
    (run / "result.json").write_text('{"label": "Mix"}')
    (run / "evaluation").joinpath("winrate_rewards.jsonl").write_text(
        "".join(
            json.dumps({"prompt": f"p{n}", "answer": f"a\u2028{n}", "reference": f"r{n}"}, ensure_ascii=False) + "\n"
            for n in range(9)
        )
    )
    found = published.examples(cell)
    assert found[["prompt", "method", "answer"]].to_numpy().tolist() == [
        [f"p{n}", who, f"{answer}{n}"]
        for n in range(3)
        for who, answer in (("Mix", "a\u2028"), ("(the answer to be beaten)", "r"))
    ]
    assert {*found["kind"], *found["study"], *found["seed"]} == {"held-out prompt", "smollm2_sft_first", 3}


def test_a_commit_is_dirty_by_its_code_alone(tmp_path):
    from published import commit

    assert commit(tmp_path) == "unknown"

    def git(*words):
        names = ["-c", "user.name=n", "-c", "user.email=n@n", "-c", "commit.gpgsign=false"]
        return subprocess.run(["git", *names, *words], cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    git("init", "-q")
    here = tmp_path / "experiments" / "study"
    code, table = here / "run.py", here / "cells.csv"
    files = [code, table, here / "page.png", here / "README.md", tmp_path / "conf" / "a.yaml", tmp_path / "data.csv"]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("1\n")
    git("add", ".")
    git("commit", "-qm", "first")
    sha = git("rev-parse", "--short", "HEAD").strip()
    assert commit(here) == sha
    for file in files[1:4]:  # what a study publishes
        file.write_text("1\n2\n")
        assert commit(here) == sha
    git("add", ".")  # staged, too
    assert commit(here) == sha
    for file in (code, *files[4:]):  # code, settings, and a table that is no study's
        file.write_text("2\n")
        assert commit(here) == f"{sha}-dirty"
        file.write_text("1\n")
        assert commit(here) == sha


def test_what_is_published_stays_and_is_not_done_again(tmp_path, monkeypatch):
    import publish
    import published
    from cells import Cell

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(published, "CELLS", tmp_path / "cells.csv")
    mine, other = (Cell("smollm2_safety", seed, ("strategy=mix", "lam=0.5")) for seed in (0, 1))
    assert not published.is_there(mine)
    for cell, commit in ((mine, "a"), (other, "b"), (mine, "c")):  # the last: run again, on purpose
        row = {"study": cell.study, "cell": cell.key, "seed": cell.seed, "asked": commit == "b", "commit": commit}
        publish.join_rows(pd.DataFrame([row]), published.CELLS, published.NAMED)
    assert published.is_there(mine)
    assert published.is_there(other, asked=True)
    assert not published.is_there(mine, asked=True)  # its model is still to be asked
    assert not published.is_there(Cell("smollm2_safety", 0, ("strategy=mix", "lam=0.25")))
    found = pd.read_csv(published.CELLS)
    assert found[["seed", "commit"]].to_numpy().tolist() == [[1, "b"], [0, "c"]]
