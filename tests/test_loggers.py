"""W&B offline: a run's files hold every key that is promised; a resumed run's one file holds every point once."""

import ast
import csv
import json
import re
import subprocess
import sys
import time
from fnmatch import fnmatch
from pathlib import Path

import pytest
from wandb.proto import wandb_internal_pb2 as protobuf

from xright.tracking.keys import LOGGED, METRICS, STEP, TABLES, pattern
from xright.tracking.loggers import running

ROOT = Path(__file__).resolve().parents[1]
RELIABILITY = ROOT / "experiments" / "reliability"
MIX = (
    "debug=fast", "logger=wandb", "name=study", "strategy=mix", "lam=0.3", "callbacks=probes",
    "callbacks.behaviour.every=2", "callbacks.device.every=3", "callbacks.device.interval=0.02",
)  # fmt: skip
ORPO = ("debug=fast", "logger=wandb", "name=study", "strategy=orpo")
KEY = re.compile(r"\bideal_distance\b|\b(?:train|val|gap|weight|strategy|device|time|behaviour)/(?:<\w+>|\w+)")
STANDS_FOR = {  # in docstrings
    **{f"{group}/<metric>": [f"{group}/*{name}" for name in METRICS] for group in ("train", "val")},
    "behaviour/<metric>": ["behaviour/*"],
}


def records(folder, kind):
    """What W&B's files of a run folder hold, in the order written, of one kind: history, metric, run, …"""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(RELIABILITY)
        from wandb_files import _files, _records
    every = [protobuf.Record.FromString(data) for file in _files(folder) for data in _records(file.read_bytes())]
    return [getattr(record, kind) for record in every if record.WhichOneof("record_type") == kind]


def points(folder):
    """[(step, loss)] of all files, when the last start has written its own: W&B's `finish` may be faster than that."""
    deadline = time.monotonic() + 30
    while not records(folder, "exit"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    rows = [values(record.item) for record in records(folder, "history")]
    return [(row[STEP], row["loss"]) for row in rows]


def values(items):
    """{key: value} of a record's items; parts of a key are joined by slashes."""
    return {(item.key or "/".join(item.nested_key)): json.loads(item.value_json) for item in items}


@pytest.fixture(scope="module")
def runs(command_line, tmp_path_factory):
    """The folders of a Mix run and an ORPO run, of one study, logged offline."""
    place = tmp_path_factory.mktemp("place")
    folders = []
    for overrides in (MIX, ORPO):
        done = command_line.run(place, *overrides, XRIGHT_CACHE=str(place / "cache"), WANDB_MODE="offline")
        assert done.returncode == 0, done.stderr
        assert "wandb" not in done.stderr.replace(str(place), "")
        folders.append(place / done.stdout.splitlines()[-1])
    return folders


def logged(folder):
    """[{key: number}] of a run, W&B's own keys and tables left out."""
    rows = [values(record.item) for record in records(folder, "history")]
    return [
        {
            key: value
            for key, value in row.items()
            if key[0] != "_" and not key.startswith(tuple(f"{t}/" for t in TABLES))
        }
        for row in rows
    ]


def unit(key):
    return next((unit for known, unit in LOGGED.items() if re.fullmatch(pattern(known), key)), None)


def test_every_promised_key_is_logged_and_no_other(runs):
    rows = [row for folder in runs for row in logged(folder)]
    found = {key for row in rows for key in row} - {STEP}
    assert {key for key in found if unit(key) is None} == set()
    assert [known for known in LOGGED if not any(re.fullmatch(pattern(known), key) for key in found)] == []
    assert all(STEP in row for row in rows)
    numbers = [(key, value) for row in rows for key, value in row.items() if key != STEP]
    shares = [value for key, value in numbers if unit(key).startswith(("share", "mean weight"))]
    assert len(shares) > 10
    assert all(0 <= value <= 1 for value in shares)
    assert all(0 < value < 60 for key, value in numbers if unit(key) == "seconds per step")
    assert all(0.1 < value < 100 for key, value in numbers if unit(key).startswith("GB"))


def test_every_key_has_the_step_axis(runs):
    for folder in runs:
        axes = {metric.glob_name or metric.name: metric.step_metric for metric in records(folder, "metric")}
        for key in LOGGED:
            assert axes[f"{key.split('/')[0]}/*" if "/" in key else key] == STEP


def test_runs_are_grouped_and_say_what_they_are(runs):
    for folder, lam in zip(runs, (0.3, 0.5), strict=True):
        (run,) = records(folder, "run")
        config = values(run.config.update)
        assert (run.project, run.run_group, run.display_name) == ("xright", "study", folder.name)
        assert config["lam"] == lam
        assert config["units"] == LOGGED


def test_the_summary_ends_with_the_result(runs):
    for folder in runs:
        summary = {}
        for record in records(folder, "summary"):
            summary |= values(record.update)
        result = json.loads((folder / "result.json").read_text())
        for key in ("strategy", "label", "lam", "seed", "steps", "stopped_by", "f_dpo", "f_sft", "ideal_distance"):
            assert summary[key] == result[key]


def table(folder, key):
    """The columns, and the rows of all files of one key."""
    files = sorted(folder.glob(f"wandb/offline-run-*/files/media/table/{key}_*.table.json"))
    read = [json.loads(file.read_text()) for file in files]
    assert read
    columns = " ".join(TABLES[key]).replace("f_<objective>", "f_dpo f_sft").split()
    assert [one["columns"] for one in read] == [columns] * len(read)
    return [dict(zip(one["columns"], row, strict=True)) for one in read for row in one["data"]]


def test_completions_are_tables(runs):
    mix, _ = runs
    written = [json.loads(line) for line in (mix / "samples.jsonl").read_text().splitlines()]
    logged = table(mix, "samples")
    assert sorted(map(str, (sorted(row.items()) for row in logged))) == sorted(
        str(sorted(line.items())) for line in written
    )
    assert {row["step"] for row in table(mix, "behaviour/completions")} == {1, 8, 12}


def test_the_trajectory_is_a_chart(runs):
    for folder, label in zip(runs, ("Mix λ=0.3", "ORPO only"), strict=True):
        with (folder / "trajectory.csv").open(newline="") as file:
            expected = [
                (label, *(float(row[key]) for key in ("step", "f_dpo", "f_sft", "ideal_distance")))
                for row in csv.DictReader(file)
            ]
        rows = table(folder, "trajectory_table")
        assert [(r["label"], r["step"], r["f_dpo"], r["f_sft"], r["ideal_distance"]) for r in rows] == expected
        assert {row["run"] for row in rows} == {folder.name}
        config = {}
        for record in records(folder, "config"):
            config |= values(record.update)
        panel = config["_wandb/visualize/trajectory"]["panel_config"]
        assert panel["fieldSettings"] == {"x": "f_dpo", "y": "f_sft"}
        assert panel["userQuery"]["queryFields"][0]["fields"][3]["args"][0]["value"] == "trajectory_table"


def test_the_callbacks_promise_these_keys():
    promised = set()
    for file in (f for room in ("callbacks", "tracking") for f in (ROOT / "xright" / room).glob("*.py")):
        text = ast.get_docstring(ast.parse(file.read_text())) or ""
        for key in KEY.findall(text):
            promised |= set(STANDS_FOR.get(key, [key]))
    assert promised - TABLES.keys() == LOGGED.keys()


def test_the_docs_promise_these_keys():
    rows = [line.split("|") for line in (ROOT / "docs" / "howto" / "wandb.md").read_text().splitlines()]
    promised = [key.replace("…", "*") for row in rows if len(row) == 5 for key in re.findall("`([^`]+)`", row[1])]
    keys = LOGGED.keys() | TABLES.keys()
    assert {key for key in keys if not any(fnmatch(key, pattern) for pattern in promised)} == set()
    assert [pattern for pattern in promised if not any(fnmatch(key, pattern) for key in keys)] == []


def log(folder, steps):
    node = {
        "_target_": "xright.tracking.loggers.wandb_logger", "project": "test", "group": "test",
    }  # fmt: skip
    with running({"wandb": node, "other": None}, folder) as (logger,):
        for step in steps:
            logger.log_metrics({"loss": step / 10}, step=step)
        return logger.version


def test_a_resumed_run_has_every_point_once(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    folder = tmp_path / "run"
    first = log(folder, [1, 2, 3, 4])  # killed at 4, its checkpoint at 2
    second = log(folder, [3, 4, 5])
    assert first == second
    assert points(folder) == [(step, step / 10) for step in (1, 2, 3, 4, 5)]
    assert len(list(folder.glob("wandb/offline-run-*"))) == 1


HOLDER = "import os, sys, wandb; wandb.setup().ensure_service(); print(os.environ['WANDB_SERVICE']); sys.stdin.read()"


@pytest.fixture
def service():
    """$WANDB_SERVICE of a process that has started W&B, as what it starts would have it."""
    holder = [sys.executable, "-uc", HOLDER]
    with subprocess.Popen(holder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process.stdout.readline().strip()
        process.stdin.close()


def test_a_killed_run_goes_on_though_its_parent_has_a_service(command_line, tmp_path, service):
    """That service would outlive the run, and hold its id."""
    about = {"XRIGHT_CACHE": str(tmp_path / "cache"), "WANDB_SERVICE": service}
    run = ("debug=fast", "logger=wandb", "name=study", "strategy=sft", "epochs=10")
    command_line.kill(tmp_path, *run, when="runs/study/*/wandb/history.jsonl", **about)
    done = command_line.run(tmp_path, *run, **about)
    assert done.returncode == 0, done.stderr


def test_half_a_line_is_dropped(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    folder = tmp_path / "run"
    log(folder, [1, 2])
    with (folder / "wandb" / "history.jsonl").open("a") as file:
        file.write('[3, {"lo')
    log(folder, [3])
    assert [step for step, _ in points(folder)] == [1, 2, 3]


def test_damaged_lines_are_left_out_and_told(tmp_path, monkeypatch, caplog):
    """A power cut may leave NUL bytes in the place of lines, and of the run's id."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    folder = tmp_path / "run"
    log(folder, [1, 2])
    (folder / "wandb" / "run_id").write_bytes(bytes(12))
    with (folder / "wandb" / "history.jsonl").open("ab") as file:
        file.write(bytes(9) + b"\n7\n")
    log(folder, [3])
    assert [step for step, _ in points(folder)] == [1, 2, 3]
    assert "2 of 4 lines are damaged" in caplog.text


def test_a_resumed_run_has_every_table_once(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    node = {"_target_": "xright.tracking.loggers.wandb_logger", "project": "t", "group": "t"}
    for steps in ([1, 2, 3], [3, 4]):
        with running({"wandb": node}, tmp_path) as (logger,):
            for step in steps:
                logger.log_rows("samples", ["step"], [[step]], step)
    files = tmp_path.glob("wandb/offline-run-*/files/media/table/*.json")
    assert sorted(json.loads(file.read_text())["data"][0][0] for file in files) == [1, 2, 3, 4]
