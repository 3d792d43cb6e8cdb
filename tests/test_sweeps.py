"""Sweeps that search (adaptive λ, Optuna, an agent of W&B) and that share a machine's devices: each by the real
command, and each by the same command again."""

import json
import signal
import sys
from pathlib import Path

import psutil
import pytest
import yaml
from wandb.wandb_agent import Agent

from xright import run as command
from xright.errors import UserError
from xright.launch.adaptive import gaps
from xright.launch.local import places

ROOT = Path(__file__).resolve().parents[1]
FAST = [
    "debug=fast", "logger=csv", "trainer=cpu", "reference=base", "epochs=1", "data.source.probes_per_kind=1",
    "callbacks.samples=null", "callbacks.device=null", "model.init.hidden_size=16",
    "model.init.num_hidden_layers=1", "model.init.num_attention_heads=2", "model.init.intermediate_size=32",
]  # fmt: skip
NO_OPTIMA, OPTIMA = "optima=null", "optima={dpo: 0.1, sft: 0.1}"
ADAPTIVE = ("hydra/sweeper=adaptive", "lam=interval(0,1)", "hydra.sweeper.gain=0.001", "hydra.sweeper.most=4")


@pytest.fixture
def xright(command_line, tmp_path):
    """xright(*overrides): a sweep in a folder of its own; with start=True a job that runs."""

    def run(*overrides: str, start: bool = False, **options):
        options = {"XRIGHT_CACHE": str(tmp_path / "cache"), **options}
        return (command_line.start if start else command_line.run)(tmp_path, *FAST, *overrides, "-m", **options)

    return run


def results(place: Path) -> dict[Path, dict]:
    return {path: json.loads(path.read_text()) for path in sorted(place.glob("runs/*/*/result.json"))}


def lams(place: Path, seed: int = 0) -> list[float]:
    return sorted(result["lam"] for result in results(place).values() if result["seed"] == seed)


def stamps(place: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in results(place)}


# --- adaptive λ -------------------------------------------------------------------------------------------------------


def test_the_widest_gap_comes_first():
    """Ends span 4 · 4; the front's rectangles are 3 · 1, 0.5 · 1 and 0.5 · 2, of which a quarter is expected."""
    front = {0.0: (4, 0), 0.25: (1, 1), 0.5: (0.5, 2), 1.0: (0, 4)}
    assert gaps(front) == [(3 / 64, 0.125), (1 / 64, 0.75), (0.5 / 64, 0.375)]


def test_units_of_the_losses_do_not_matter():
    front = {0.0: (4, 0), 0.25: (1, 1), 1.0: (0, 4)}
    assert gaps({lam: (8 * a - 1, b / 4 + 2) for lam, (a, b) in front.items()}) == gaps(front)


def test_where_one_of_two_points_is_better_in_both_there_is_nothing_to_fill():
    assert gaps({0.0: (4, 0), 0.5: (4, 4), 1.0: (0, 4)})[0] == (0, 0.25)
    assert gaps({0.0: (1, 1), 1.0: (0, 0)}) == [(0, 0.5)]


def test_a_front_is_found_and_found_again(tmp_path, xright):
    done = xright(NO_OPTIMA, *ADAPTIVE)
    assert done.returncode == 0, done.stderr
    first, *rest = lams(tmp_path)
    assert (first, rest[-1], len(rest), 0.5 in rest) == (0, 1, 3, True)
    before = stamps(tmp_path)
    again = xright(NO_OPTIMA, *ADAPTIVE)
    assert (again.returncode, again.stderr.count("finished already")) == (0, 4)
    assert stamps(tmp_path) == before
    more = xright(NO_OPTIMA, *ADAPTIVE, "hydra.sweeper.most=5")
    assert more.stderr.count("finished already") == 4
    assert stamps(tmp_path).items() > before.items()


def test_fronts_of_several_seeds_side_by_side(tmp_path, xright):
    most = "hydra.sweeper.most=3"
    done = xright(NO_OPTIMA, "seed=0,1", *ADAPTIVE, most, "hydra/launcher=local", "hydra.launcher.jobs=2")
    assert done.returncode == 0, done.stderr
    assert lams(tmp_path, 0) == lams(tmp_path, 1) == [0, 0.5, 1]


@pytest.mark.slow
def test_a_killed_front_goes_on(tmp_path, xright):
    longer = (NO_OPTIMA, "epochs=20", "eval_every=1000", *ADAPTIVE, "hydra.sweeper.most=3")
    job = xright(*longer, start=True)
    job.until(lambda: any("lam-0.5" in path.name for path in tmp_path.glob("runs/*/[!.]*")))
    job.kill()
    job.wait()
    assert lams(tmp_path) == [0, 1]
    done = xright(*longer)
    assert done.returncode == 0, done.stderr
    assert lams(tmp_path) == [0, 0.5, 1]


def test_a_front_with_a_run_that_fails_ends_there_and_the_other_goes_on(tmp_path, xright):
    done = xright(NO_OPTIMA, "optim.lr=0.001,1e30", *ADAPTIVE)
    assert done.returncode == 1
    assert "of 6 cells did not finish" in done.stderr  # four of the one, both ends of the other
    assert len(lams(tmp_path)) >= 4
    assert "Traceback" not in done.stderr


REFUSED = [
    (["lam=0.2,0.3"], "give 'lam=interval(0,1)'"),
    (["lam=interval(0,1)", "optim.lr=interval(0,1)"], "give 'lam=interval(0,1)'"),
    (["lam=interval(0,1)", "hydra.sweeper.gain=2"], "gain=2 must be in (0, 1)"),
    (["lam=interval(0,2)"], "lam=2.0 must be a number in [0, 1]"),
]


@pytest.mark.parametrize(("overrides", "sentence"), REFUSED, ids=lambda found: str(found))
def test_what_no_front_can_be_made_of_is_told_before_anything_trains(tmp_path, xright, overrides, sentence):
    done = xright(NO_OPTIMA, "hydra/sweeper=adaptive", *overrides)
    assert done.returncode == 2, done.stderr
    assert sentence in done.stderr.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


# --- the devices of a machine -----------------------------------------------------------------------------------------

LOCAL = ("hydra/launcher=local", "hydra.launcher.jobs=2")
SPY = """
import os, pathlib, lightning
class Spy(lightning.Callback):
    def on_train_start(self, trainer, pl_module):
        pathlib.Path(f"seen-{os.environ['CUDA_VISIBLE_DEVICES']}-{os.environ['OMP_NUM_THREADS']}").touch()
"""


def test_places_share_what_there_is(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 12)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert places([], 3, 1) == [{"OMP_NUM_THREADS": "4"}] * 3
    four = [place["CUDA_VISIBLE_DEVICES"] for place in places(["0", "1"], 4, 1)]
    assert four == ["0", "1", "0", "1"]
    assert [place["CUDA_VISIBLE_DEVICES"] for place in places([*"abcde"], None, 2)] == ["a,b", "c,d"]


@pytest.mark.parametrize(
    ("gpus", "jobs", "each", "sentence"),
    [
        ([], None, 1, "hydra.launcher.jobs=2"),
        (["0"], None, 2, "there are 1 GPUs"),
        ([], 0, 1, "numbers from 1 on"),
        ([], 1, "auto", "gpus_per_job=auto"),
    ],
)
def test_what_no_place_can_be_made_of_is_told(gpus, jobs, each, sentence, capsys):
    with pytest.raises(SystemExit) as caught:
        places(gpus, jobs, each)
    assert caught.value.code == 2
    assert sentence in capsys.readouterr().err


def test_each_cell_has_a_device_and_each_stage_is_built_once(tmp_path, xright):
    (tmp_path / "spy.py").write_text(SPY)
    spied = ("+callbacks.spy._target_=spy.Spy", NO_OPTIMA, "lam=0.25,0.75", "hydra/launcher=local")
    done = xright(*spied, CUDA_VISIBLE_DEVICES="3,7", OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.glob("seen-?-?")} >= {"seen-3-1", "seen-7-1"}
    assert done.stderr.count("base: building") == 1
    before = stamps(tmp_path)
    assert len(before) == 2
    again = xright(*spied, CUDA_VISIBLE_DEVICES="3,7")
    assert again.stderr.count("finished already") == 2
    assert stamps(tmp_path) == before


def test_a_cell_that_diverges_leaves_the_other_places_running(tmp_path, xright):
    done = xright(NO_OPTIMA, "optim.lr=0.001,1e30,0.002", *LOCAL)
    assert done.returncode == 1, done.stderr
    assert len(results(tmp_path)) == 2
    assert "xright: 1 of 3 cells did not finish:\n  optim.lr=1e+30" in done.stderr
    assert "Traceback" not in done.stderr


ASKED = [(signal.SIGTERM, 75), (signal.SIGINT, 130)]


@pytest.mark.parametrize(("number", "code"), ASKED)
def test_places_that_are_asked_to_go_save_and_end(tmp_path, xright, number, code):
    job = xright(NO_OPTIMA, "epochs=300", "eval_every=1000", "optim.lr=0.001,0.002,0.003", *LOCAL, start=True)
    job.until(lambda: len(list(tmp_path.glob("runs/*/*/steps.csv"))) == 2)
    processes = psutil.Process(job.pid).children(recursive=True)
    assert len(processes) == 4  # two places, and a worker in each
    job.send(number)
    done = job.wait(30)
    assert done.returncode == code, done.stderr
    assert done.stderr.count("asked to go (SIGTERM)") == 2
    assert len(list(tmp_path.glob("runs/*/*/checkpoints/last.ckpt"))) == 2
    assert len(list(tmp_path.glob("runs/*/[!.]*"))) == 2
    assert "Traceback" not in done.stderr
    psutil.wait_procs(processes, timeout=10)
    assert not [process for process in processes if process.is_running()]


def test_places_that_lose_their_sweep_end(tmp_path, xright):
    job = xright(NO_OPTIMA, "epochs=300", "eval_every=1000", "optim.lr=0.001,0.002", *LOCAL, start=True)
    job.until(lambda: len(list(tmp_path.glob("runs/*/*/steps.csv"))) == 2)
    processes = psutil.Process(job.pid).children(recursive=True)
    job.send(signal.SIGKILL)
    job.wait()
    psutil.wait_procs(processes, timeout=10)
    assert not [process for process in processes if process.is_running()]


# --- Optuna -----------------------------------------------------------------------------------------------------------

OPTUNA = ("hydra/sweeper=optuna", "lam=interval(0,1)", "hydra.sweeper.n_jobs=1")


def found(place: Path) -> dict:
    return yaml.safe_load((place / "cache/sweeps/default/optimization_results.yaml").read_text())


def test_optuna_finds_its_trials_again_and_goes_on(tmp_path, xright):
    done = xright(OPTIMA, *OPTUNA, "hydra.sweeper.n_trials=2")
    assert done.returncode == 0, done.stderr
    before = stamps(tmp_path)
    assert len(before) == 2
    best = min(result["ideal_distance"] for result in results(tmp_path).values())
    assert found(tmp_path)["best_value"] == best
    assert 0 < found(tmp_path)["best_params"]["lam"] < 1
    again = xright(OPTIMA, *OPTUNA, "hydra.sweeper.n_trials=3")
    assert (again.returncode, again.stderr.count("finished already")) == (0, 2)
    after = stamps(tmp_path)
    assert len(after) == 3
    assert after.items() > before.items()


def test_optuna_is_told_both_gaps(tmp_path, xright):
    done = xright(OPTIMA, *OPTUNA, "hydra.sweeper.n_trials=2", "hydra.sweeper.direction=[minimize,minimize]")
    assert done.returncode == 0, done.stderr
    gaps = {(result["gap_dpo"], result["gap_sft"]) for result in results(tmp_path).values()}
    assert {tuple(solution["values"]) for solution in found(tmp_path)["solutions"]} <= gaps
    assert "Traceback" not in done.stderr


def test_optuna_without_optima_is_refused(tmp_path, xright):
    done = xright(NO_OPTIMA, *OPTUNA)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith("and optima=null has none; give optima=auto.")
    assert list(tmp_path.iterdir()) == []


def test_optuna_that_is_not_there(monkeypatch):
    command._refuse("hydra/sweeper=optuna")
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'xright\[sweep\]'"):
        command._refuse("hydra/sweeper=optuna")


# --- an agent of a W&B sweep ------------------------------------------------------------------------------------------


@pytest.mark.slow  # a fresh interpreter imports everything
def test_what_an_agent_starts_has_its_id(tmp_path, monkeypatch):
    """W&B's agent itself builds the command, its environment and its files; only the server, which names the run and
    chooses the values, is not there."""
    _, page = (ROOT / "docs/howto/sweeps.md").read_text().split("```yaml\n# sweep.yaml\n")
    sweep = yaml.safe_load(page.split("```")[0])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:/usr/bin:/bin")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for name, value in {
        "WANDB_MODE": "offline", "WANDB_SWEEP_ID": "sw33p", "WANDB_RUN_ID": "", "WANDB_SWEEP_PARAM_PATH": "",
        "XRIGHT_CACHE": "cache", "WANDB_DIR": str(tmp_path),
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    agent = Agent.__new__(Agent)
    agent._sweep_command = [*sweep["command"], *FAST, NO_OPTIMA, "logger=wandb"]
    agent._in_jupyter, agent._function, agent._forward_signals, agent._run_processes = False, None, False, {}
    chosen = {"lam": {"value": 0.3}, "strategy": {"value": sweep["parameters"]["strategy"]["values"][0]}}
    agent._command_run({"run_id": "ag3ntsid", "program": sweep["program"], "args": chosen})
    assert agent._run_processes["ag3ntsid"].wait() == 0
    ((path, result),) = results(tmp_path).items()
    assert (result["lam"], result["strategy"]) == (0.3, "alright")
    assert (path.parent / "wandb/run_id").read_text() == "ag3ntsid"
    (written,) = path.parent.glob("wandb/offline-run-*")
    assert written.name.endswith("-ag3ntsid")


def test_a_run_that_was_begun_goes_on_as_itself_under_an_agent(tmp_path, xright):
    longer = ("logger=wandb", NO_OPTIMA, "epochs=40", "checkpoint_every=1")
    job = xright(*longer, start=True)
    job.until(lambda: bool(list(tmp_path.glob("runs/*/*/checkpoints/last.ckpt"))))
    job.kill()
    job.wait()
    (folder,) = tmp_path.glob("runs/*/[!.]*")
    own = (folder / "wandb/run_id").read_text()
    done = xright(*longer, WANDB_SWEEP_ID="sw33p", WANDB_RUN_ID="ag3ntsid")
    assert done.returncode == 0, done.stderr
    assert (folder / "wandb/run_id").read_text() == own
    (written,) = folder.glob("wandb/offline-run-*")
    assert written.name.endswith(f"-{own}")
