"""A run that is finished is found without what trains it."""

import json
import subprocess
import sys

import pytest

FAST = ("debug=fast", "logger=csv", "name=done", "epochs=1", "strategy=sft", "optima=null", "reference=base")


@pytest.fixture(scope="module")
def place(tmp_path_factory, command_line):
    place = tmp_path_factory.mktemp("finished")
    done = command_line.run(place, *FAST, XRIGHT_CACHE="cache")
    assert done.returncode == 0, done.stderr
    return place


LIGHT = """import runpy, sys
try: runpy.run_module("xright.run", run_name="__main__", alter_sys=True)
finally: print("lightning" in sys.modules)
"""


@pytest.mark.parametrize("sweep", [(), ("-m",)], ids=["run", "sweep"])
def test_it_is_told_without_lightning(place, sweep, monkeypatch):
    monkeypatch.setenv("XRIGHT_CACHE", "cache")
    command = [sys.executable, "-c", LIGHT, *FAST, *sweep]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True)
    (folder,) = (place / "runs" / "done").glob("strategy*")
    assert done.stdout.split("\n")[-3:] == [str(folder.relative_to(place)), "False", ""], done.stderr
    assert done.stderr.count("finished already: ") == 1


@pytest.mark.parametrize("sweep", [(), ("-m",)], ids=["run", "sweep"])
def test_a_machine_that_is_named_otherwise_is_checked(place, command_line, sweep):
    done = command_line.run(place, *FAST, "threads=-1", *sweep, XRIGHT_CACHE="cache")
    assert done.returncode == 2
    assert "threads=-1 must be a whole number" in done.stderr


def test_of_a_sweep_the_other_cells_are_run_and_all_are_told_in_order(place, command_line):
    done = command_line.run(place, *FAST, "seed=0,1", "-m", XRIGHT_CACHE="cache")
    assert done.returncode == 0, done.stderr
    assert ["seed-0" in line for line in done.stdout.split("\n") if line.startswith("runs/")] == [True, False]
    again = command_line.run(place, *FAST, "seed=0,1", "-m", XRIGHT_CACHE="cache")
    assert again.stderr.count("finished already: ") == 2


def test_a_damaged_result_is_told_by_the_run(place, command_line):
    (folder,) = (place / "runs" / "done").glob("strategy*seed-0*")
    whole = (folder / "result.json").read_text()
    assert json.loads(whole)
    (folder / "result.json").write_text(whole[:20])
    done = command_line.run(place, *FAST, XRIGHT_CACHE="cache")
    (folder / "result.json").write_text(whole)
    assert done.returncode == 2
    assert "result.json is damaged" in done.stderr
