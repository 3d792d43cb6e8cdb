"""Several processes through the real command line: DDP on the CPU, in the plain launcher."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from omegaconf import OmegaConf

from xright.errors import UserError
from xright.launch.processes import processes

SMALL = ["model.init.hidden_size=16", "model.init.num_hidden_layers=1", "model.init.num_attention_heads=2"]
FAST = ["debug=fast", *SMALL, "model.init.intermediate_size=32", "trainer.accelerator=cpu"]
SWEEP = ["strategy=alright", "lam=0.25,0.75", "-m"]


@pytest.fixture(scope="module")
def place(tmp_path_factory, command_line):
    """A sweep by one process (`one`) and the same by two (`two`), with W&B."""
    place = tmp_path_factory.mktemp("processes")
    for name, trainer in (("two", ["trainer=ddp"]), ("one", [])):
        done = command_line.run(place, *trainer, *FAST, f"name={name}", *SWEEP, XRIGHT_CACHE=name, timeout=240)
        assert done.returncode == 0, done.stderr
        (place / f"{name}.txt").write_text(done.stdout + done.stderr)
    return place


def cells(place: Path, name: str) -> list[Path]:
    return sorted(path for path in (place / "runs" / name).iterdir() if path.is_dir())


def test_a_sweep_by_two_processes_is_the_sweep_by_one(place):
    assert [cell.name for cell in cells(place, "two")] == [cell.name for cell in cells(place, "one")]
    assert len(cells(place, "two")) == 2
    for two, one in zip(cells(place, "two"), cells(place, "one"), strict=True):
        for file, times in (("trajectory.csv", ["train_seconds", "eval_seconds"]), ("steps.csv", ["seconds"])):
            ours, theirs = (pd.read_csv(folder / file).drop(columns=times) for folder in (two, one))
            pd.testing.assert_frame_equal(ours, theirs, rtol=1e-5, atol=1e-6)
        ours, theirs = (json.loads((folder / "result.json").read_text()) for folder in (two, one))
        assert ours["picks"] == theirs["picks"]
        assert ours["f_dpo_opt"] == pytest.approx(theirs["f_dpo_opt"], rel=1e-5)  # the stages, too, were built by two


def test_each_job_has_its_own_wandb_run_and_speaks_once(place):
    ids = [(cell / "wandb" / "run_id").read_text() for cell in cells(place, "two")]
    assert len(set(ids)) == 2
    assert [len(list(cell.glob("wandb/offline-run-*"))) for cell in cells(place, "two")] == [1, 1]
    said = (place / "two.txt").read_text()
    assert said.count("2 processes work on this job") == 2
    assert said.count("base: building") == 1
    assert sum(line.startswith("runs/two/") for line in said.splitlines()) == 2


def torchrun(place: Path, name: str, *options: str, launcher: tuple[str, ...] = ()) -> subprocess.Popen:
    """`torchrun … -m xright.run …`, started."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=1", *launcher, "-m", "xright.run"]
    return subprocess.Popen(
        [*command, "trainer=ddp", *FAST, f"name={name}", "logger=csv", *options],
        cwd=place, env=os.environ | {"XRIGHT_CACHE": "two", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def two_nodes(place: Path, name: str, *options: str) -> list[subprocess.Popen]:
    """Both are this machine; what starts the ranks, and where they meet, is as on two."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        meet = ("--nnodes=2", "--master-addr=127.0.0.1", f"--master-port={free.getsockname()[1]}")
    ranks = ("trainer.devices=1", "trainer.num_nodes=2")
    return [torchrun(place, name, *ranks, *options, launcher=(*meet, f"--node-rank={node}")) for node in (0, 1)]


def test_a_sweep_by_torchrun_on_two_nodes(place):
    """The jobs of a sweep meet one after another."""
    for node in two_nodes(place, "nodes", *SWEEP):
        said, _ = node.communicate(timeout=120)
        assert node.returncode == 0, said
    assert [cell.name for cell in cells(place, "nodes")] == [cell.name for cell in cells(place, "two")]
    for theirs, ours in zip(cells(place, "nodes"), cells(place, "two"), strict=True):
        assert weights(theirs) == weights(ours)


def test_a_node_that_dies_ends_the_run_in_seconds(place):
    options = ("strategy=mix", "epochs=1000", "checkpoint_every=5", "optima={dpo: 0.1, sft: 0.1}")
    first, second = two_nodes(place, "lost-node", *options)
    until(lambda: list(place.glob("runs/lost-node/*/checkpoints/last.ckpt")), first)
    for process in (child_of(second.pid), second.pid):
        os.kill(process, signal.SIGKILL)
    died = time.monotonic()
    said, _ = first.communicate(timeout=60)
    assert time.monotonic() - died < 15
    assert first.returncode == 1
    assert "xright: another rank has ended, and the run with it; the same command goes on" in said
    assert json.loads((cells(place, "lost-node")[0] / "ended.json").read_text())["reason"] == "another rank ended"


def test_torchrun_passes_on_that_it_shall_go(place):
    two, long = (
        ("--nproc-per-node=2",),
        ("trainer.devices=2", "strategy=mix", "epochs=20", "optima={dpo: 0.1, sft: 0.1}"),
    )
    asked = torchrun(place, "asked", *long, launcher=two)
    until(lambda: [path for path in place.glob("runs/asked/*/steps.csv") if path.read_text().count("\n") > 1], asked)
    asked.terminate()
    said, _ = asked.communicate(timeout=60)
    assert "the same command goes on from here" in said
    (folder,) = cells(place, "asked")
    assert (folder / "checkpoints" / "last.ckpt").exists()
    assert not (folder / "result.json").exists()
    steps = pd.read_csv(folder / "steps.csv")
    again = torchrun(place, "asked", *long, launcher=two)
    said, _ = again.communicate(timeout=120)
    assert again.returncode == 0, said
    pd.testing.assert_frame_equal(pd.read_csv(folder / "steps.csv").head(len(steps)), steps)


def weights(folder: Path) -> bytes:
    return (folder / "model" / "model.safetensors").read_bytes()


def until(true: Callable[[], object], process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)


def child_of(pid: int) -> int:
    """The rank that a command has started."""
    command = ["pgrep", "-P", str(pid), "-f", "xright.(launch.one_run|run)"]
    found = subprocess.run(command, capture_output=True, text=True)
    return int(found.stdout.split()[0])


def started(place, command_line, name, cache="two"):
    """A long run by two processes, in the middle of its training."""
    options = ["trainer=ddp", *FAST, f"name={name}", "logger=csv", "strategy=mix", "epochs=1000", "checkpoint_every=5"]
    job = command_line.start(place, *options, "optima={dpo: 0.1, sft: 0.1}", XRIGHT_CACHE=cache)
    job.until(lambda: any(place.glob(f"runs/{name}/*/checkpoints/last.ckpt")), 90)
    return job


def test_a_rank_that_dies_ends_the_run_in_seconds(place, command_line):
    job = started(place, command_line, "dies")
    os.kill(child_of(job.pid), signal.SIGKILL)
    died = time.monotonic()
    ended = job.wait(30)
    assert ended.returncode == 1
    assert time.monotonic() - died < 15
    assert "xright: rank 1 was killed by signal 9, and the run with it" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_rank_that_dies_at_its_start_ends_the_run_in_seconds(tmp_path):
    program = (
        "import runpy, sys\n"
        "sys.executable = '/bin/false'  # what the other rank is started with\n"
        "runpy.run_module('xright.run', run_name='__main__', alter_sys=True)"
    )
    command = [sys.executable, "-c", program, "trainer=ddp", *FAST, "logger=csv"]
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"XRIGHT_CACHE": "cache"}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1, done.stderr
    assert "xright: rank 1 ended with code 1, and the run with it" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_rank_outlives_the_first(place, command_line):
    job = started(place, command_line, "first-dies")
    child = child_of(job.pid)
    os.kill(job.pid, signal.SIGKILL)
    end = time.monotonic() + 30
    while Path(f"/proc/{child}").exists() and "State:\tZ" not in Path(f"/proc/{child}/status").read_text():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.parametrize("whom", ["first", "second"])
def test_ranks_stop_together_when_one_is_asked_to(place, command_line, whom):
    job = started(place, command_line, f"asked-{whom}")
    os.kill(job.pid if whom == "first" else child_of(job.pid), signal.SIGUSR1)
    ended = job.wait(30)
    assert ended.returncode == 75, ended.stderr
    assert "xright: asked to go (" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_rank_without_rows_is_refused(place, command_line):
    refused = command_line.run(
        place,
        "trainer=ddp",
        *FAST,
        "name=few",
        "logger=csv",
        "data.streams.preference.batch_size=1",
        XRIGHT_CACHE="few",
    )
    assert refused.returncode == 2
    assert "data.streams.preference.batch_size=1 is smaller than the 2 processes" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["trainer=fsdp", "trainer.accelerator=gpu"], "trainer.accelerator=gpu needs a GPU and torch sees none here"),
        (["trainer=ddp", "trainer.accelerator=cpu", "trainer.num_nodes=2"], "needs 4 processes, but 1 were started"),
        (["trainer=gpu"], "needs a GPU"),
    ],
)
def test_what_is_missing_is_said(tmp_path, command_line, overrides, said):
    refused = command_line.run(tmp_path, *FAST[:-1], *overrides, "logger=csv", XRIGHT_CACHE="cache")
    assert refused.returncode == 2
    assert said in refused.stderr
    assert refused.stderr.count("xright: ") == 1
    assert "Traceback" not in refused.stderr
    assert not (tmp_path / "runs").exists()


def test_the_environment_is_as_before(compose):
    cfg = compose("trainer=ddp", "trainer.accelerator=cpu", "trainer.num_nodes=2")
    before = dict(os.environ)
    with pytest.raises(UserError, match="srun"), processes(cfg, "mix", []):
        pass
    assert dict(os.environ) == before
    assert OmegaConf.select(cfg, "trainer.devices") == 2
