"""Where things are is decided in one place: `~` is a home everywhere, and no path of ours needs $HOME."""

import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from xright.errors import UserError
from xright.machine.paths import cache_root, place

FAST = [
    "debug=fast", "logger=csv", "trainer=cpu", "reference=base", "optima=null", "epochs=1", "model.init.hidden_size=16",
    "model.init.num_hidden_layers=1", "model.init.num_attention_heads=2", "model.init.intermediate_size=32",
]  # fmt: skip
UNSET = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "XRIGHT_CACHE"))


def test_the_cache_is_where_it_is_said_to_be(monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    for given, xdg, expected in (
        ("~/cache", None, "/home/somebody/cache"), ("/c", "/x", "/c"), (None, "~/x", "/home/somebody/x/xright"),
        (None, None, "/home/somebody/.cache/xright"), ("", "", "/home/somebody/.cache/xright"),
        ("here", None, str(Path.cwd() / "here")),
    ):  # fmt: skip
        for name, value in (("XRIGHT_CACHE", given), ("XDG_CACHE_HOME", xdg)):
            monkeypatch.delenv(name, raising=False) if value is None else monkeypatch.setenv(name, value)
        assert cache_root() == Path(expected)


def test_no_home_at_all_is_told(monkeypatch):
    """Neither $HOME nor the list of users has one, as in many containers."""

    def unknown(_):
        raise KeyError

    for name in UNSET:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    with pytest.raises(UserError, match="no home folder is known to keep the cache of stages in; set XRIGHT_CACHE"):
        cache_root()
    with pytest.raises(UserError, match="'~/runs' begins with ~, and no home folder is known for it; write it out"):
        place("~/runs")
    monkeypatch.setenv("XRIGHT_CACHE", "/c")
    assert cache_root() == Path("/c")


def test_a_run_and_a_sweep_without_home(tmp_path, command_line):
    environment = {**UNSET, "XRIGHT_CACHE": "cache"}
    done = command_line.run(tmp_path, *FAST, "lam=0.25,0.75", "-m", **environment)
    assert done.returncode == 0, done.stderr
    single = command_line.run(tmp_path, *FAST, "lam=0.25", **environment)
    assert "finished already" in single.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "runs"]


def test_a_home_in_every_setting_that_is_a_path(tmp_path, command_line):
    home = {"HOME": str(tmp_path), "XRIGHT_CACHE": "~/cache"}
    done = command_line.run(tmp_path, *FAST, "runs_dir='~/runs'", **home)
    assert done.returncode == 0, done.stderr
    (result,) = tmp_path.glob("runs/default/*/result.json")
    assert Path(done.stdout.splitlines()[-1]) == result.parent
    (model,) = tmp_path.glob("cache/base/*/model")
    given = f"~/{model.relative_to(tmp_path)}"
    options = ["model=hf", f"model.path='{given}'", f"reference='{given}'", "optima={dpo: 0.1, sft: 0.1}"]
    settings = [x for x in FAST if not x.startswith(("model.", "reference=", "optima="))]
    done = command_line.run(
        tmp_path, *settings, *options, "runs_dir='~/runs'", "name=again", "callbacks=stopping",
        "callbacks.stop.front='~/runs/default'", **home,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "runs"]  # and no folder named ~


@pytest.mark.parametrize("command", [["xright.cache"], ["xright.cache", "prune", "--all"], ["xright.report", "--help"]])
def test_other_commands_without_home(tmp_path, command):
    environment = {name: value for name, value in os.environ.items() if name not in UNSET}
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=tmp_path, env=environment | {"XRIGHT_CACHE": str(tmp_path / "cache")},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
