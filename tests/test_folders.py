import datetime
import json
import os
import signal
import subprocess
import sys

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

from xright.config.naming import LONGEST, cell_name
from xright.errors import UserError
from xright.machine import files, preemption
from xright.pipeline.folders import RunFolder, why

CFG = {"strategy": {"weights": {"dpo": 0.5, "sft": 0.5}}, "lam": 0.5, "seed": 0}


def name(*overrides, **cfg):
    return cell_name(CFG | cfg, "alright", overrides)


def test_cell_name_has_a_fixed_order():
    assert name() == "strategy-alright_lam-0.5_seed-0"
    expected = "strategy-alright_lam-0.25_seed-3_data.max_length-9_optim-paper"
    given = ["optim=paper", "lam=0.25", "data.max_length=9", "seed=3", "strategy=alright"]
    assert name(*given, lam=0.25, seed=3) == name(*given[::-1], lam=0.25, seed=3) == expected


def test_lam_is_normalised_and_left_out_where_the_strategy_has_none():
    assert name("lam=0.50", lam=0.50) == name("lam=0.5") == name()
    assert name("lam=1", lam=1) == "strategy-alright_lam-1_seed-0"
    assert cell_name({"strategy": {}, "lam": 0.5, "seed": 0}, "sft", ["lam=0.5"]) == "strategy-sft_seed-0"


def test_places_and_machines_do_not_enter():
    immaterial = [
        "name=x", "runs_dir=/a/b", "overwrite=true", "logger=csv", "trainer=gpu", "trainer.devices=2",
        "hydra/launcher=slurm", "hydra.sweep.dir=x", "+hydra.verbose=true", "stage=run", "~logger.wandb",
    ]  # fmt: skip
    assert name(*immaterial) == name()


@pytest.mark.parametrize(
    ("single", "sweep"),
    [
        ("optim.lr=1e-4", "optim.lr=1e-4,2e-4"),
        ("model.lora.alpha=16.0", "model.lora.alpha=16.0,32.0"),
        ("strategy.epochs=[3, 3]", "strategy.epochs=[3, 3],[4, 2]"),
        ("data.source.conflict=0.10", "data.source.conflict=0.10,0.20"),
        ("optim=paper", "optim=paper,embedded"),
    ],
)
def test_a_cell_of_a_sweep_is_the_single_runs_folder(single, sweep):
    first, *_ = OverridesParser.create().parse_override(sweep).sweep_string_iterator()
    assert name(f"{single.split('=')[0]}={first}") == name(single)


def test_characters_are_safe():
    awkward = [
        "model.path=/data/my model",
        "+x='{a: 1}'",
        "objective@objectives.dpo=ipo",
        "data.streams.sft.template='<u> é'",
    ]
    cell = name(*awkward)
    assert set(cell) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.,+-é"), cell
    assert os.sep not in cell


def test_long_names_are_hashed_and_distinct():
    long = [name(f"a={'x' * 200}{end}") for end in "12"]
    assert all(len(cell) <= LONGEST and cell.startswith("strategy-alright_lam-0.5") for cell in long)
    assert long[0] != long[1]
    assert long[0] == name(f"a={'x' * 200}1")


def test_precision_makes_another_run():
    assert name("trainer.precision=bf16-mixed") == "strategy-alright_lam-0.5_seed-0_trainer.precision-bf16-mixed"


def test_another_configuration_is_refused_with_the_difference(tmp_path):
    folder = RunFolder(tmp_path / "run")
    config = {"optim": {"lr": 5e-5, "betas": [0.9, 0.95]}, "lam": 0.5, "logger": {}, "trainer": {"devices": 1}}
    folder.check_holds(config)  # there is no folder yet
    folder.begin(config)
    folder.check_holds(config)
    folder.check_holds(config | {"logger": {"wandb": 1}, "trainer": {"devices": 2}, "overwrite": True})
    with pytest.raises(UserError, match=r"trainer\.precision: 'absent' there, 'bf16-mixed' asked for"):
        folder.check_holds(config | {"trainer": {"devices": 1, "precision": "bf16-mixed"}})
    with pytest.raises(UserError) as caught:
        folder.check_holds(config | {"optim": {"lr": 1e-4, "betas": [0.9, 0.95]}, "new": 1})
    message = str(caught.value)
    assert "new: 'absent' there, 1 asked for; optim.lr: 5e-05 there, 0.0001 asked for" in message
    assert str(folder.path) in message
    assert "overwrite=true" in message
    assert "betas" not in message


def test_set_aside_keeps_every_old_folder(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.set_aside()  # nothing there: nothing happens
    for turn in (1, 2):
        folder.begin({"turn": turn})
        folder.set_aside()
    assert not folder.path.exists()
    old = [yaml.safe_load((tmp_path / f"run.old-{n}" / "config.yaml").read_text()) for n in (1, 2)]
    assert old == [{"turn": 1}, {"turn": 2}]


def test_result_is_none_until_written(tmp_path):
    folder = RunFolder(tmp_path / "run")
    assert folder.result is None
    folder.begin({})
    assert folder.result is None
    folder.finish({"f_dpo": 0.5})
    assert folder.result == {"f_dpo": 0.5}


def test_a_damaged_result_is_named(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.begin({})
    (folder.path / "result.json").write_text("")
    with pytest.raises(UserError, match=r"result\.json is damaged"):
        folder.finished({})


@pytest.mark.parametrize("content", [b"", b"a: [", bytes(40), b"\xff\xfe", b"- 1"])
def test_a_damaged_configuration_is_named(tmp_path, content):
    folder = RunFolder(tmp_path / "run")
    folder.begin({})
    (folder.path / "config.yaml").write_bytes(content)
    with pytest.raises(UserError, match=r"config\.yaml is damaged \(.*\); remove it and the same command goes on"):
        folder.finished({})
    (folder.path / "config.yaml").unlink()
    assert folder.finished({}) is None


def test_the_slurm_job_that_began_a_run_is_known(tmp_path):
    folder = RunFolder(tmp_path / "run")
    assert folder.begun_by() is None
    folder.begin({})
    assert folder.begun_by() is None
    folder.begin({}, slurm_job="17_2")
    assert folder.begun_by() == "17_2"


def test_finish_is_whole_or_not_at_all(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.begin({})
    with pytest.raises(TypeError):
        folder.finish({"good": 1, "bad": object()})
    assert folder.result is None
    folder.finish({"f": 1})
    with pytest.raises(TypeError):
        folder.finish({"bad": object()})
    assert folder.result == {"f": 1}
    folder.finish({"f": 2})
    assert sorted(path.name for path in folder.path.iterdir()) == ["config.yaml", "result.json"]


def interrupted_as_lightning_does():
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt:
        sys.exit(1)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (preemption.Preempted("SIGTERM"), "preempted"),
        (KeyboardInterrupt(), "interrupted (Ctrl-C)"),
        (UserError("lam=2 must be\na number   in [0, 1]."), "UserError: lam=2 must be a number in [0, 1]."),
        (RuntimeError(), "RuntimeError"),
        (OSError(28, "No space left on device"), "OSError: [Errno 28] No space left on device"),
        (ValueError("x" * 400), "ValueError: " + "x" * 287 + "…"),
        (ValueError("\udcff"), "ValueError: ?"),  # half a file name; UTF-8 has no such letter
    ],
)
def test_why_a_run_ended_is_told_on_one_line(error, reason):
    assert why(error) == reason
    assert len(reason) <= 300


def test_ctrl_c_in_a_training_is_told_as_such():
    with pytest.raises(SystemExit) as end:
        interrupted_as_lightning_does()
    assert why(end.value) == "interrupted (Ctrl-C)"


def test_after_a_signal_a_broken_connection_is_its_consequence(monkeypatch):
    monkeypatch.setattr(preemption, "_received", signal.SIGTERM)
    assert why(RuntimeError("Connection closed by peer")) == "preempted"
    assert why(UserError("the sft loss became NaN")) == "UserError: the sft loss became NaN"


def test_the_folder_tells_why_its_run_ended_until_it_goes_on(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.begin({})
    before = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
    with pytest.raises(ZeroDivisionError), folder.telling_why():
        raise ZeroDivisionError("division by zero")
    told = json.loads((folder.path / "ended.json").read_text())
    assert told["reason"] == "ZeroDivisionError: division by zero"
    assert before <= datetime.datetime.fromisoformat(told["when"]) <= datetime.datetime.now(datetime.timezone.utc)
    (folder.path / "ended.tmp").touch()  # of one that was killed while it wrote
    folder.begin({})
    assert [path.name for path in folder.path.iterdir()] == ["config.yaml"]
    with folder.telling_why():
        pass
    folder.ended("preempted")
    folder.finish({"f": 1})
    with pytest.raises(ZeroDivisionError), folder.telling_why():
        raise ZeroDivisionError  # after the end: the run is finished all the same
    assert sorted(path.name for path in folder.path.iterdir()) == ["config.yaml", "result.json"]


def test_only_the_first_rank_tells(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path / "run")
    folder.begin({})
    monkeypatch.setattr("xright.pipeline.folders.is_first", lambda: False)
    with pytest.raises(KeyboardInterrupt), folder.telling_why():
        raise KeyboardInterrupt
    assert not (folder.path / "ended.json").exists()


def test_a_disk_that_is_full_does_not_hide_what_ended_the_run(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path / "run")
    folder.begin({})

    def full(path, text):
        path.with_suffix(".tmp").touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "write", full)
    with pytest.raises(KeyError), folder.telling_why():
        raise KeyError
    assert [path.name for path in folder.path.iterdir()] == ["config.yaml"]


HOLDER = """
import sys, time
from pathlib import Path
from xright.folders import RunFolder

folder = RunFolder(Path(sys.argv[1]))
with folder.lock():
    print("locked", flush=True)
    time.sleep(0.7)
    folder.begin({})
    folder.finish({"by": "the first"})
"""


def test_a_second_process_waits_and_finds_the_run_finished(tmp_path, caplog):
    folder = RunFolder(tmp_path / "study" / "run")
    caplog.set_level("INFO")
    first = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder.path)], stdout=subprocess.PIPE, text=True)
    assert first.stdout.readline() == "locked\n"
    assert not folder.path.exists()  # the lock lies beside the folder: nothing is created before `begin`
    with folder.lock():
        assert folder.result == {"by": "the first"}
    assert "waiting for another process" in caplog.text
    assert first.wait(timeout=20) == 0


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    folder = RunFolder(tmp_path / "run")
    script = HOLDER.replace("0.7", "60")
    first = subprocess.Popen([sys.executable, "-c", script, str(folder.path)], stdout=subprocess.PIPE, text=True)
    first.stdout.readline()
    first.kill()
    first.wait()
    with folder.lock():
        assert folder.result is None


@pytest.mark.parametrize("absent", ["config.yaml", "trajectory.csv"])
def test_a_finished_run_that_lost_what_tells_of_it(tmp_path, absent):
    folder = RunFolder(tmp_path / "run")
    folder.begin({"lam": 0.5})
    (folder.path / "trajectory.csv").write_text("step\n")
    folder.finish({"f_dpo": 0.5})
    assert folder.finished({"lam": 0.5}) == {"f_dpo": 0.5}
    (folder.path / absent).unlink()
    with pytest.raises(UserError, match=rf"a finished run without its {absent}; put that back, or give overwrite=true"):
        folder.finished({"lam": 0.5})
