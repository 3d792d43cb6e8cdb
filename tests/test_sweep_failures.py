"""A cell that diverges, crashes or is killed leaves the others running; the sweep tells what did not finish, where and
why, ends with a code that is not 0, and the same command tries again just that. Under every launcher and sweeper."""

import signal
from pathlib import Path

import psutil
import pytest
import yaml

# The reference is the base and there are no optima, so that the joint run alone has the learning rate that diverges.
FAST = [
    "debug=fast", "logger=csv", "trainer=cpu", "reference=base", "optima=null", "model.init.hidden_size=16",
    "model.init.num_hidden_layers=1", "model.init.num_attention_heads=2", "model.init.intermediate_size=32",
]  # fmt: skip
DIVERGING = "optim.lr=0.001,1e30,0.002"


def cells(place: Path, name: str = "default") -> dict[str, Path]:
    """{learning rate: folder}."""
    configs = (place / "runs" / name).glob("*/config.yaml")
    return {f"{yaml.safe_load(path.read_text())['optim']['lr']:g}": path.parent for path in configs}


def finished(place: Path, name: str = "default") -> set[str]:
    return {lr for lr, folder in cells(place, name).items() if (folder / "result.json").exists()}


def stamps(place: Path) -> dict[str, int]:
    """When each result was written."""
    return {lr: (cells(place)[lr] / "result.json").stat().st_mtime_ns for lr in finished(place)}


def told(stderr: str) -> list[str]:
    """The lines of the table of what did not finish."""
    lines = stderr.splitlines()
    (start,) = [number for number, line in enumerate(lines) if line.endswith("cells did not finish:")]
    return lines[start : start + 2 + int(lines[start].split()[1])]


@pytest.fixture
def xright(command_line, tmp_path):
    """xright(*overrides): the command in a folder of its own; with start=True a job that runs."""

    def run(*overrides: str, start: bool = False, **options):
        options = {"XRIGHT_CACHE": str(tmp_path / "cache"), **options}
        return (command_line.start if start else command_line.run)(tmp_path, *FAST, *overrides, **options)

    return run


def test_a_cell_that_diverges_leaves_the_others_running(tmp_path, xright):
    done = xright(DIVERGING, "-m")
    assert done.returncode == 1, done.stderr
    assert finished(tmp_path) == {"0.001", "0.002"}
    heading, row, then = told(done.stderr)
    assert heading == "xright: 1 of 3 cells did not finish:"
    lr, where, *_ = row.split()
    assert (lr, tmp_path / where) == ("optim.lr=1e+30", cells(tmp_path)["1e+30"])
    assert "the dpo loss became NaN or infinite at step" in row or "the sft loss became NaN" in row
    assert then.startswith("The same command tries them again, and them alone")
    assert "Traceback" not in done.stderr

    before = {
        lr: (folder / "result.json").stat().st_mtime_ns for lr, folder in cells(tmp_path).items() if lr != "1e+30"
    }
    again = xright(DIVERGING, "-m")
    assert again.returncode == 1
    assert again.stderr.count("finished already") == 2
    assert [line.split()[0] for line in told(again.stderr)[1:-1]] == ["optim.lr=1e+30"]
    after = stamps(tmp_path)
    assert before == after


def test_all_cells_alike_end_with_their_code(tmp_path, xright):
    """What no cell can work with is bad input of the command."""
    done = xright("data.streams.sft.batch_size=1000", "lam=0.25,0.75", "-m")
    assert done.returncode == 2
    assert told(done.stderr)[0] == "xright: 2 of 2 cells did not finish:"
    assert "larger than the 96 rows" in told(done.stderr)[1]
    assert not (tmp_path / "runs").exists()


def test_a_cell_that_is_killed_leaves_the_others_running_and_goes_on(tmp_path, xright):
    longer = ("epochs=12", "checkpoint_every=1", "callbacks.samples.every=1000", "optim.lr=0.001,0.002,0.003", "-m")
    job = xright(*longer, start=True)
    job.until(lambda: (tmp_path / "runs").exists() and "0.002" in cells(tmp_path))
    checkpoint = cells(tmp_path)["0.002"] / "checkpoints" / "last.ckpt"
    job.until(checkpoint.exists)
    (worker,) = psutil.Process(job.pid).children()
    worker.send_signal(signal.SIGKILL)
    done = job.wait()
    assert done.returncode == 1
    assert finished(tmp_path) == {"0.001", "0.003"}
    assert [line.split()[0] for line in told(done.stderr)[1:-1]] == ["optim.lr=0.002"]
    assert "was killed by signal 9 (as where memory runs out)" in told(done.stderr)[1]
    again = xright(*longer)
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("finished already") == 2
    assert f"going on from {checkpoint.relative_to(tmp_path)}" in again.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_a_sweep_that_is_asked_to_go_ends_at_once(tmp_path, xright, number, code):
    longer = ("epochs=200", "callbacks.samples.every=1000", "optim.lr=0.001,0.002", "-m")
    job = xright(*longer, start=True)
    job.until(lambda: (tmp_path / "runs").exists() and bool(list((tmp_path / "runs").glob("*/*/steps.csv"))))
    (worker,) = psutil.Process(job.pid).children()
    job.send(number)  # to the command alone; it passes it on
    done = job.wait(20)
    assert (done.returncode, worker.is_running()) == (code, False), done.stderr
    assert "Traceback" not in done.stderr
    assert set(cells(tmp_path)) == {"0.001"}
    assert finished(tmp_path) == set()


def test_a_sweep_that_is_killed_takes_its_worker_with_it(tmp_path, xright):
    job = xright("epochs=200", "optim.lr=0.001,0.002", "-m", start=True)
    job.until(lambda: (tmp_path / "runs").exists())
    (worker,) = psutil.Process(job.pid).children()
    job.send(signal.SIGKILL)
    job.wait()
    psutil.wait_procs([worker], timeout=5)
    assert not worker.is_running()


SHARED = [
    (["threads=1,2"], "threads=2", "threads=1"),
    (["strategy=sft", "lam=0.25,0.5"], "lam=0.5", "lam=0.25"),
    (["lam=0.5,0.50"], "lam=0.5", "lam=0.5"),
    (["name=a,b", "threads=1,2"], "name=a threads=2", "name=a threads=1"),
    (["threads=1,2", "overwrite=true"], "threads=2", "threads=1"),
]


@pytest.mark.parametrize(("overrides", "second", "first"), SHARED, ids=str)
def test_cells_that_would_share_a_folder_are_told_before_anything_trains(tmp_path, xright, overrides, second, first):
    done = xright(*overrides, "-m")
    assert done.returncode == 2, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("xright: in the cell ")
    assert f"{second}" in last.partition(": its run folder")[0]
    assert f"{first}" in last.partition("is that of the cell ")[2]
    assert list(tmp_path.iterdir()) == []


def test_the_remedy_for_cells_that_share_a_folder_works(tmp_path, xright):
    """`strategy=alright,sft lam=0.25,0.5` has two cells that are one; as two commands it has three."""
    assert xright("epochs=1", "strategy=alright", "lam=0.25,0.5", "-m").returncode == 0
    assert xright("epochs=1", "strategy=sft", "name=alone", "-m").returncode == 0
    assert len(list((tmp_path / "runs").glob("*/*/result.json"))) == 3


def test_another_run_in_a_cells_folder_is_told_before_anything_trains_and_its_remedies_work(tmp_path, xright):
    sweep = ("optim.lr=0.001,0.002", "-m")
    assert xright(*sweep).returncode == 0
    config = cells(tmp_path)["0.002"] / "config.yaml"
    config.write_text(config.read_text().replace("eval_every:", "eval_every: 99 #"))
    before = sorted(path for path in (tmp_path / "runs").rglob("*"))
    done = xright(*sweep)
    assert done.returncode == 2
    assert "holds a run with a different configuration (eval_every: 99 there" in done.stderr
    assert before == sorted(path for path in (tmp_path / "runs").rglob("*"))
    assert xright("name=other", *sweep).returncode == 0
    assert xright("overwrite=true", *sweep).returncode == 0
    assert finished(tmp_path, "other") == {"0.001", "0.002"}
    assert len(list((tmp_path / "runs" / "default").glob("*.old-1"))) == 2


JOBLIB = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "-m")


@pytest.mark.slow  # fresh interpreters import everything
def test_joblib_too(tmp_path, xright):
    """Its own workers last: what dies is the cell's process below them."""
    done = xright("epochs=2", "optim.lr=0.001,1e30,0.002", *JOBLIB, timeout=300)
    assert done.returncode == 1, done.stderr
    assert finished(tmp_path) == {"0.001", "0.002"}
    assert [line.split()[0] for line in told(done.stderr)[1:-1]] == ["optim.lr=1e+30"]
    assert "Traceback" not in done.stderr
    again = xright("epochs=2", "optim.lr=0.001,1e30,0.002", *JOBLIB)
    assert (again.returncode, again.stderr.count("finished already")) == (1, 2)


@pytest.mark.slow
def test_joblib_and_a_signal(tmp_path, xright):
    job = xright("epochs=300", "callbacks.samples.every=1000", "optim.lr=0.001,0.002", *JOBLIB, start=True)
    job.until(lambda: len(list(tmp_path.glob("runs/*/*/steps.csv"))) == 2, timeout=180)
    processes = psutil.Process(job.pid).children(recursive=True)
    job.send(signal.SIGTERM)
    done = job.wait(30)
    assert done.returncode == 75, done.stderr
    assert done.stderr.count("asked to go (SIGTERM)") == 2
    psutil.wait_procs(processes, timeout=10)
    assert [process for process in processes if process.is_running()] == []


OPTUNA = ("hydra/sweeper=optuna", "hydra.sweeper.n_trials=4", "hydra/sweeper/sampler=random", "-m")


def test_optuna_goes_on_after_a_trial_that_failed(tmp_path, xright):
    """It counts the trial as failed: no value of the objective is made up for it. Two of four draws are bad."""
    sampler = ("hydra.sweeper.sampler.seed=1", "optima={dpo: 0.1, sft: 0.1}", "epochs=1")
    done = xright(*sampler, "optim.lr=choice(0.001,1e30)", *OPTUNA)
    assert done.returncode == 1, done.stderr
    heading, *rows, _ = told(done.stderr)
    assert finished(tmp_path) == {"0.001"}
    assert 0 < len(rows) < 4
    assert heading == f"xright: {len(rows)} of 4 cells did not finish:"
    assert {row.split()[0] for row in rows} == {"optim.lr=1e+30"}
    best = yaml.safe_load((tmp_path / "cache/sweeps/default/optimization_results.yaml").read_text())
    assert best["best_params"] == {"optim.lr": 0.001}
    assert "Traceback" not in done.stderr


def test_optuna_without_any_trial_that_finished(tmp_path, xright):
    done = xright("optima={dpo: 0.1, sft: 0.1}", "optim.lr=choice(1e30,1e31)", *OPTUNA)
    assert done.returncode == 2, done.stderr
    assert told(done.stderr)[0] == "xright: 4 of 4 cells did not finish:"
    assert "Traceback" not in done.stderr
