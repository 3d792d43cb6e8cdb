"""Signals, to the real command line: it saves, ends with code 75, and the same command ends as if nothing had been."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.command import CommandLine
from xright.analysis.read.unfinished_runs import why_unfinished
from xright.machine import preemption

SIGNALS = ["SIGTERM", "SIGUSR1", "SIGUSR2"]
# Long enough to be caught in the middle; checkpoints so rare that only the one made on request is there.
SMALL = ["model.init.hidden_size=16", "model.init.num_hidden_layers=1", "model.init.num_attention_heads=2"]
FAST = ["debug=fast", "logger=csv", *SMALL, "model.init.intermediate_size=32"]
RUN = [*FAST, "strategy=maxright", "epochs=40", "checkpoint_every=1000", "eval_every=40"]


@pytest.fixture(scope="module")
def place(tmp_path_factory, command_line):
    """A folder with a finished run `whole`, and warm stages."""
    place = tmp_path_factory.mktemp("preemption")
    done = command_line.run(place, *RUN, "name=whole", XRIGHT_CACHE=str(place / "cache"))
    assert done.returncode == 0, done.stderr
    return place


def run_of(place: Path, name: str) -> Path:
    (folder,) = (path for path in (place / "runs" / name).iterdir() if path.is_dir())
    return folder


def steps_of(place: Path, name: str) -> int:
    files = list((place / "runs").glob(f"{name}/*/steps.csv"))
    return len(files[0].read_text().splitlines()) - 1 if files else 0


@pytest.mark.parametrize("name", SIGNALS)
def test_a_training_saves_and_goes_on(place, command_line, assert_same_run, name):
    job = command_line.start(place, *RUN, f"name={name}", XRIGHT_CACHE=str(place / "cache"))
    job.until(lambda: steps_of(place, name) > 10)
    job.send(signal.Signals[name])
    stopped = job.wait(20)
    assert stopped.returncode == preemption.EXIT_CODE == 75
    assert f"xright: asked to go ({name}); the same command goes on from here." in stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert not (run_of(place, name) / "result.json").exists()
    assert (run_of(place, name) / "checkpoints" / "last.ckpt").exists()
    assert why_unfinished(run_of(place, name)) == "preempted"
    done = steps_of(place, name)
    again = command_line.run(place, *RUN, f"name={name}", XRIGHT_CACHE=str(place / "cache"))
    assert again.returncode == 0, again.stderr
    assert 0 < done < steps_of(place, name) == 160
    assert_same_run(run_of(place, name), run_of(place, "whole"))
    assert not (run_of(place, name) / "ended.json").exists()


def test_ctrl_c_is_told_in_the_folder_and_a_kill_cannot_be(place, command_line):
    told = []
    for number in (signal.SIGINT, signal.SIGKILL):
        job = command_line.start(place, *RUN, "name=broken-off", XRIGHT_CACHE=str(place / "cache"))
        job.until(lambda: (place / "runs" / "broken-off").exists())
        job.until(lambda: not list((place / "runs").glob("broken-off/*/ended.json")))
        job.until(lambda: steps_of(place, "broken-off") > 10)
        job.send(number)
        job.wait(20)
        told.append(why_unfinished(run_of(place, "broken-off")))
    assert told == ["interrupted (Ctrl-C)", "running, or stopped before its first checkpoint"]


def test_an_evaluation_is_cut_short_and_made_up_for(place, command_line, assert_same_run):
    """2000 rows one by one: many seconds that no scheduler grants."""
    long = ["eval_batch_size=1", "data.source.eval_sft_rows=2000", "epochs=2", "eval_every=100"]
    options = [*FAST, "strategy=mix", *long, "optima={dpo: 0.1, sft: 0.1}"]
    cache = {"XRIGHT_CACHE": str(place / "cache")}
    whole = command_line.run(place, *options, "name=slow-whole", **cache)
    assert whole.returncode == 0, whole.stderr
    job = command_line.start(place, *options, "name=slow", **cache)
    job.until(lambda: list((place / "runs").glob("slow/*/trajectory.csv")))
    time.sleep(0.5)  # in the evaluation after the first step, which takes seconds
    job.send(signal.SIGTERM)
    asked = time.monotonic()
    stopped = job.wait(20)
    assert stopped.returncode == 75, stopped.stderr
    assert time.monotonic() - asked < 2
    folder = run_of(place, "slow")
    assert len((folder / "trajectory.csv").read_text().splitlines()) == 1  # the header
    assert steps_of(place, "slow") == 1
    again = command_line.run(place, *options, "name=slow", **cache)
    assert again.returncode == 0, again.stderr
    assert_same_run(folder, run_of(place, "slow-whole"))


def test_a_stage_goes_on_too(tmp_path, command_line):
    options = [*FAST, "stage=prepare", "model.pretrain.steps=600", "checkpoint_every=5"]
    job = command_line.start(tmp_path, *options, XRIGHT_CACHE="cache")
    job.until(lambda: list(tmp_path.glob("cache/base/*.building/checkpoints/previous.ckpt")))
    job.send(signal.SIGTERM)
    stopped = job.wait(20)
    assert stopped.returncode == 75, stopped.stderr
    (checkpoint,) = tmp_path.glob("cache/base/*.building/checkpoints/last.ckpt")
    assert 0 < torch.load(checkpoint, weights_only=True)["global_step"] < 600
    assert not list(tmp_path.glob("cache/base/*/result.json"))
    again, whole = (
        command_line.run(tmp_path, *options, XRIGHT_CACHE=cache, timeout=200) for cache in ("cache", "other")
    )
    assert (again.returncode, whole.returncode) == (0, 0), again.stderr
    assert not list(tmp_path.glob("cache/*/*/checkpoints"))
    ours, theirs = (next(tmp_path.glob(f"{cache}/base/*/model/model.safetensors")) for cache in ("cache", "other"))
    assert ours.read_bytes() == theirs.read_bytes()


def test_overwrite_starts_afresh_but_not_when_slurm_starts_the_job_again(place, command_line, assert_same_run):
    cache = {"XRIGHT_CACHE": str(place / "cache")}
    slurm = {"SLURM_JOB_ID": "17", "SLURM_JOB_NAME": "xright", "PATH": ""}  # where scontrol is not found
    for name, environment in (("again", {}), ("requeued", slurm)):
        job = command_line.start(place, *RUN, f"name={name}", "overwrite=true", **cache, **environment)
        job.until(lambda name=name: steps_of(place, name) > 10)
        job.send(signal.SIGTERM)
        assert job.wait(20).returncode == 75
        done = command_line.run(place, *RUN, f"name={name}", "overwrite=true", **cache, **environment)
        assert done.returncode == 0, done.stderr
        folders = sorted(path for path in (place / "runs" / name).iterdir() if path.is_dir())
        assert len(folders) == (1 if environment else 2)
        assert_same_run(folders[0], run_of(place, "whole"))


@pytest.mark.parametrize("sweep", [[], ["lam=0.25,0.75", "-m"]], ids=["run", "sweep"])
@pytest.mark.parametrize("seconds", [0.0, 1.0])
def test_a_signal_while_everything_is_imported(tmp_path, sweep, seconds):
    """Python itself takes some hundredths of a second to begin; from the first line of ours the code is 75."""
    command = [sys.executable, "-m", "xright.run", "debug=fast", "trainer=cpu", "logger=csv", *sweep]
    job = subprocess.Popen(command, cwd=tmp_path, env=os.environ | {"XRIGHT_CACHE": "cache"}, stderr=subprocess.PIPE)
    caught = 1 << (signal.SIGTERM - 1)
    while not int(re.search(r"SigCgt:\s*(\w+)", Path(f"/proc/{job.pid}/status").read_text())[1], 16) & caught:
        time.sleep(0.002)
    time.sleep(seconds)
    job.send_signal(signal.SIGTERM)
    _, said = job.communicate(timeout=60)
    assert (job.returncode, said.decode().splitlines()[-1]) == (
        75,
        "xright: asked to go (SIGTERM); the same command goes on from here.",
    )
    assert not (tmp_path / "runs").exists()


def test_the_number_of_a_slurm_job(monkeypatch):
    for name in ("SLURM_JOB_ID", "SLURM_JOB_NAME", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"):
        monkeypatch.delenv(name, raising=False)
    assert preemption.slurm_job() is None
    assert preemption.requeue(speaks=True) is None
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    assert preemption.slurm_job() == "17"
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "15")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "2")
    assert preemption.slurm_job() == "15_2"
    monkeypatch.setenv("SLURM_JOB_NAME", "interactive")
    assert preemption.slurm_job() is None


def test_handlers_are_put_back():
    before = [signal.getsignal(number) for number in preemption.SIGNALS]
    with preemption.listening():
        with pytest.raises(preemption.Preempted, match="SIGUSR1"):
            signal.raise_signal(signal.SIGUSR1)
        assert preemption.requested()
    assert [signal.getsignal(number) for number in preemption.SIGNALS] == before
    assert not preemption.requested()
    with preemption.listening():
        assert not preemption.requested()
        with pytest.raises(preemption.Preempted, match="SIGUSR2"), preemption.deferred():
            signal.raise_signal(signal.SIGUSR2)  # only noted
        assert preemption.requested()


LATE = """import os, signal
from lightning.pytorch import Callback

class Late(Callback):
    def on_train_start(self, trainer, module):
        os.kill(os.getpid(), signal.SIGINT)

    def on_exception(self, trainer, module, exception):
        raise RuntimeError("Please call iter() first.")  # as Lightning's loaders, interrupted while they are set up
"""


@pytest.mark.parametrize("how", [["seed=0"], ["seed=0,1", "-m"]])
def test_an_error_in_cleaning_up_after_ctrl_c_is_ctrl_c(place, tmp_path, how):
    (tmp_path / "late.py").write_text(LATE)
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    added = ["+callbacks.late._target_=late.Late", "name=late", f"runs_dir={tmp_path / 'runs'}"]
    with CommandLine(PYTHONPATH=path, XRIGHT_CACHE=str(place / "cache")) as command_line:
        done = command_line.run(place, *RUN, *added, *how)
    assert done.returncode == preemption.INTERRUPTED == 130, done.stderr
    assert "Traceback" not in done.stderr
    (folder,) = {steps.parent for steps in tmp_path.glob("runs/late/*/steps.csv")}
    assert why_unfinished(folder) == "interrupted (Ctrl-C)"
