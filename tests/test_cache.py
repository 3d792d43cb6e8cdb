import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from xright.cache import cache_root, cached_stage

KEY = {"rows": "abc", "steps": 3}


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("XRIGHT_CACHE", str(tmp_path))
    return tmp_path


def builder(calls):
    def build(folder):
        calls.append(folder)
        (folder / "weights").write_text("w")
        return {"optimum": 0.5}

    return build


def test_miss_builds_and_hit_reuses(root, caplog):
    calls = []
    first = cached_stage("optimum", KEY, builder(calls))
    assert (first.folder / "weights").read_text() == "w"
    assert yaml.safe_load((first.folder / "config.yaml").read_text()) == KEY
    assert first.folder.parent == root / "optimum"
    assert first.id == first.folder.name
    caplog.set_level("INFO")
    again = cached_stage("optimum", dict(reversed(KEY.items())), builder(calls))  # the order of keys is no difference
    assert again == first
    assert again.result == {"optimum": 0.5}
    assert len(calls) == 1
    assert f"from the cache, {first.folder}" in caplog.text


def test_other_key_or_other_name_is_another_stage():
    calls = []
    folders = [
        cached_stage(name, key, builder(calls)).folder
        for name, key in (("a", KEY), ("a", KEY | {"steps": 4}), ("b", KEY), ("a", KEY | {"steps": "3"}))
    ]
    assert len(set(folders)) == len(calls) == 4


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_failed_builder_leaves_nothing_and_the_next_one_builds(root, error):
    def fail(folder):
        (folder / "half").write_text("x")
        raise error

    with pytest.raises(error):
        cached_stage("s", KEY, fail)
    assert [path.suffix for path in (root / "s").iterdir()] == [".lock"]
    assert cached_stage("s", KEY, builder([])).result == {"optimum": 0.5}


def test_what_a_dead_builder_left_is_cleared(root):
    folder = cached_stage("s", KEY, builder([])).folder
    scratch = folder.with_name(f"{folder.name}.building")
    folder.rename(scratch)  # as if killed before the rename: no finished folder, a full scratch one
    (scratch / "stale").write_text("x")
    calls = []
    assert cached_stage("s", KEY, builder(calls)).folder == folder
    assert len(calls) == 1
    assert not scratch.exists()
    assert sorted(path.name for path in folder.iterdir()) == ["config.yaml", "result.json", "weights"]


WORKER = """
import os, sys, time
from pathlib import Path
from xright.cache import cached_stage

def build(folder):
    with open(sys.argv[1], "a") as file:
        file.write(f"{os.getpid()}\\n")
    time.sleep(0.5)
    return {"pid": os.getpid()}

print(cached_stage("s", {"a": 1}, build).result["pid"])
"""


def test_six_processes_at_once_build_once(tmp_path):
    builds = tmp_path / "builds"
    workers = [
        subprocess.Popen([sys.executable, "-c", WORKER, str(builds)], stdout=subprocess.PIPE, text=True)
        for _ in range(6)
    ]
    outputs = [worker.communicate(timeout=60)[0].strip() for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * 6
    (builder_pid,) = builds.read_text().split()
    assert outputs == [builder_pid] * 6


def test_lock_of_a_killed_builder_is_free(root, tmp_path):
    script = WORKER.replace("time.sleep(0.5)", "print('building', flush=True); time.sleep(60)")
    worker = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "builds")], stdout=subprocess.PIPE, text=True
    )
    assert worker.stdout.readline() == "building\n"
    worker.kill()
    worker.wait()
    assert list((root / "s").glob("*.building"))
    stage = cached_stage("s", {"a": 1}, lambda folder: {"pid": 0})
    assert json.loads((stage.folder / "result.json").read_text()) == {"pid": 0}
    assert not list((root / "s").glob("*.building"))


def test_root_by_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("XRIGHT_CACHE", "~/there")
    assert cache_root() == Path("~/there").expanduser()
    monkeypatch.delenv("XRIGHT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_root() == tmp_path / "xright"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_root() == Path("~/.cache/xright").expanduser()
