"""`hydra/launcher=slurm` on a real SLURM: what is requeued, warned or cancelled ends as if nothing had happened."""

import csv
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

pytestmark = pytest.mark.slurm

# Small, but long enough that a job can be met while it trains: 4 steps x 60 epochs.
SETTINGS = (
    "debug=fast", "logger=csv", "epochs=60", "eval_every=40", "checkpoint_every=20", "callbacks.samples.every=100",
    "strategy=alright",
)  # fmt: skip
STEPS = 240
SLURM = ("hydra/launcher=slurm", "hydra.launcher.look_every_s=2", "-m")
STAGES = {"base", "reference", "reference_logps", "optimum_dpo", "optimum_sft"}
TIMES = {"train_seconds", "eval_seconds", "seconds"}  # columns
REQUEUED, WARNED, CANCELLED = "0.25", "0.5", "0.75"  # λ of the cell it happens to
PATIENCE = 300  # seconds until something that must happen has happened


def start(place: Path, *overrides: str, **environment: str) -> subprocess.Popen:
    """The command, with the stage cache in `place`."""
    ours = {"XRIGHT_CACHE": str(place / "cache"), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "xright.run", *overrides], cwd=place, env=os.environ | ours | environment,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def end(process: subprocess.Popen, code: int = 0) -> str:
    """What it said on stderr; its exit code must be as given."""
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == code, said
    return said


def run_folder(place: Path, lam: str, name: str = "default") -> Path:
    (folder,) = place.glob(f"runs/{name}/strategy-alright_lam-{lam}_*")
    return folder


def rows(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(file.open())) if file.exists() else []


def logs(place: Path) -> str:
    """What all tasks of all jobs have said, over all their starts."""
    return "\n".join(file.read_text() for file in place.glob("cache/sweeps/*/slurm/*/*.err"))


def array_of(place: Path) -> str:
    """Number of the last array of jobs that was submitted; its job i works on the i-th cell."""
    return max((f.name.split("_")[0] for f in place.glob("cache/sweeps/*/slurm/*_0")), key=int)


def until_one_trains(place: Path, lams: Collection[str], command: subprocess.Popen, name: str = "default") -> str:
    """Wait until one of these cells has saved a checkpoint, and trains on; which one."""
    deadline = time.monotonic() + PATIENCE
    while True:
        for lam in lams:
            if list(place.glob(f"runs/{name}/strategy-alright_lam-{lam}_*/checkpoints/last.ckpt")):
                return lam
        assert command.poll() is None, end(command)
        assert time.monotonic() < deadline
        time.sleep(0.05)


def same_results(one: Path, other: Path) -> None:
    """Rows (times aside) and weights are equal to the last character and bit."""
    for name in ("steps.csv", "trajectory.csv"):
        ours, theirs = rows(one / name), rows(other / name)
        for row in [*ours, *theirs]:
            assert [row.pop(column) for column in TIMES & row.keys()]
        assert len(ours) > 5
        assert ours == theirs
    weights = "model/model.safetensors"
    assert (one / weights).read_bytes() == (other / weights).read_bytes()


@dataclass
class Story:
    """What was seen of a sweep: the queue as it trained, steps when they were interrupted, what the commands said."""

    place: Path
    queue: dict[str, str] = field(default_factory=dict)
    before: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    restarts: dict[str, int] = field(default_factory=dict)


@pytest.fixture(scope="module")
def plain_sweep(tmp_path_factory) -> Iterator[tuple[Path, subprocess.Popen]]:
    """The same sweep in the plain launcher, with a cache of its own; it runs beside the one on SLURM."""
    place = tmp_path_factory.mktemp("plain")
    process = start(place, *SETTINGS, "trainer=cpu", "lam=0.25,0.5,0.75", "-m")
    yield place, process
    process.kill()


@pytest.fixture(scope="module")
def plain(plain_sweep) -> Path:
    """Where the plain sweep has left its runs and stages."""
    place, process = plain_sweep
    if process.returncode is None:
        end(process)
    return place


@pytest.fixture(scope="module")
def story(slurm, plain_sweep, tmp_path_factory) -> Story:
    """Three cells: while they train one is requeued, one warned (as before the end of its time), one cancelled. Then
    the same command again."""
    place = tmp_path_factory.mktemp("slurm")
    story = Story(place)
    sweep = (*SETTINGS, "trainer=cpu", "lam=0.25,0.5,0.75", *SLURM)
    command = start(place, *sweep, **slurm.environment)
    happens = {REQUEUED: ("scontrol", "requeue"), WARNED: ("scancel", "--signal=USR2"), CANCELLED: ("scancel",)}
    for _ in happens:
        lam = until_one_trains(place, happens.keys() - story.before.keys(), command)
        jobs = {lam: f"{array_of(place)}_{i}" for i, lam in enumerate(happens)}  # cells are numbered in their order
        story.queue = story.queue or slurm.jobs()
        slurm.ask(*happens[lam], jobs[lam])
        story.before[lam] = rows(run_folder(place, lam) / "steps.csv")
    story.said.append(end(command, code=1))
    story.restarts = {lam: slurm.restarts(job) for lam, job in jobs.items()}
    story.said.append(end(start(place, *sweep, **slurm.environment)))
    return story


def test_three_jobs_run_at_once(story):
    assert sorted(story.queue.values()) == ["RUNNING"] * 3


def test_shared_stages_are_built_once(story):
    assert sorted(re.findall(r"(\w+): building", logs(story.place))) == sorted(STAGES)


def test_requeued_and_warned_jobs_are_started_again(story):
    assert story.restarts == {REQUEUED: 1, WARNED: 1, CANCELLED: 0}


@pytest.mark.parametrize("lam", [REQUEUED, WARNED, CANCELLED])
def test_no_step_is_trained_twice(story, lam):
    """Those of the first start are still there, with their times to the digit. (The last row was being written.)"""
    before, after = story.before[lam][:-1], rows(run_folder(story.place, lam) / "steps.csv")
    assert 15 <= len(before) < len(after) == STEPS
    assert after[: len(before)] == before


def test_cancelled_cell_is_named(story):
    """In one line, with its log, and without a page of traceback."""
    said = story.said[0]
    assert "Traceback" not in said
    heading, row, _ = said.splitlines()[-3:]
    assert heading == "xright: 1 of 3 cells did not finish:"
    told = re.match(r"  lam=0\.75  (\S+)  ", row)
    assert told
    assert "CANCELLED" in Path(told[1]).read_text()


@pytest.mark.parametrize("lam", [REQUEUED, WARNED, CANCELLED])
def test_results_equal_those_of_the_plain_launcher(story, plain, lam):
    same_results(run_folder(story.place, lam), run_folder(plain, lam))


def test_two_tasks_per_job(slurm, plain):
    """trainer=ddp: SLURM starts the ranks of every job. One job is warned while it trains; each has its own folder."""
    sweep = (*SETTINGS, "name=ddp", "trainer=ddp", "trainer.accelerator=cpu", "lam=0.25,0.75", *SLURM)
    command = start(plain, *sweep, **slurm.environment)
    until_one_trains(plain, ["0.75"], command, "ddp")
    array = array_of(plain)
    slurm.ask("scancel", "--signal=USR2", f"{array}_1")
    end(command)
    assert slurm.restarts(f"{array}_1") == 1
    assert {f.name for f in plain.glob("cache/sweeps/ddp/slurm/*/*_result.pkl")} == {
        f"{array}_{job}_{task}_result.pkl" for job in (0, 1) for task in (0, 1)
    }
    same_losses(plain, "ddp")


def test_two_nodes(slurm, plain):
    """srun starts a rank on each; the jobs of a sweep meet one after another. Both nodes are this machine."""
    ranks = ("srun", "--partition=both", "--nodes=2", "--ntasks-per-node=1", sys.executable, "-m", "xright.run")
    options = ("name=nodes", "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=1", "trainer.num_nodes=2")
    done = subprocess.run(
        [*ranks, *SETTINGS, *options, "lam=0.25,0.75", "-m"], cwd=plain, stdin=subprocess.DEVNULL,
        env=os.environ | {"XRIGHT_CACHE": str(plain / "cache"), "OMP_NUM_THREADS": "1"} | slurm.environment,
        capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    same_losses(plain, "nodes")


def same_losses(place: Path, name: str) -> None:
    """Two ranks pick and lose as one process does, up to rounding."""
    for lam in ("0.25", "0.75"):
        ours, theirs = (rows(run_folder(place, lam, study) / "steps.csv") for study in (name, "default"))
        assert [row["pick"] for row in ours] == [row["pick"] for row in theirs]
        assert len(ours) == STEPS
        for mine, alone in zip(ours, theirs, strict=True):
            for loss in ("loss_dpo", "loss_sft"):
                assert float(mine[loss] or 0) == pytest.approx(float(alone[loss] or 0), abs=1e-5)


def test_bad_input_in_a_job(slurm, tmp_path):
    """What only a job can find out; a sweep of one cell is a job by itself, without an array."""
    said = end(start(tmp_path, *SETTINGS, "lam=0.25", "reference=nowhere", *SLURM, **slurm.environment), code=1)
    assert "Traceback" not in said
    heading, row, then = said.splitlines()[-3:]
    assert heading == "xright: 1 of 1 cells did not finish:"
    assert re.search(r"reference=nowhere  \S+\.err  .*nowhere", row)
    assert then.startswith("The same command tries them again, and them alone")
    (sentence,) = [line for line in logs(tmp_path).splitlines() if line.startswith("xright: ")]
    assert "nowhere" in sentence


def test_leaving_the_command(slurm, tmp_path):
    """Ctrl-C ends the waiting, not the work."""
    command = start(tmp_path, *SETTINGS, "lam=0.25", *SLURM, **slurm.environment)
    deadline = time.monotonic() + PATIENCE
    while not (started := list(tmp_path.glob("cache/sweeps/default/slurm/*/*.err"))):
        assert command.poll() is None, end(command)
        assert time.monotonic() < deadline
        time.sleep(0.1)
    command.send_signal(signal.SIGINT)
    said = end(command, code=130)
    job = started[0].parent.name
    assert said.endswith(f"xright: the cells go on without this command (SLURM job {job}; scancel {job} ends them).\n")
    assert slurm.jobs() == {job: "RUNNING"}
    slurm.ask("scancel", job)


def test_refused_by_slurm(slurm, tmp_path):
    said = end(
        start(tmp_path, *SETTINGS, "lam=0.25,0.5", "hydra.launcher.partition=nowhere", *SLURM, **slurm.environment),
        code=2,
    )
    assert "Traceback" not in said
    assert re.search(r"xright: SLURM does not take the jobs \(.*invalid partition.*\); see hydra\.launcher\.$", said)
