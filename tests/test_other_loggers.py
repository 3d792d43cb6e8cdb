"""TensorBoard's event files, MLflow's and Trackio's databases, read back: alone, beside W&B, and after a kill."""

import importlib.util
import json
import logging
import sqlite3

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from xright.tracking.loggers import running

EVENTS = {"_target_": "xright.tracking.tensorboard.Events"}


def events(folder):
    """{key: [(step, value)]} of a run's event files, as TensorBoard reads them."""
    logging.getLogger("tensorboard").setLevel(logging.ERROR)
    read = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0}).Reload()
    return {key: [(point.step, point.value) for point in read.Scalars(key)] for key in read.Tags()["scalars"]}


def stored(folder, uri):
    """{key: [(step, value)]} of a run in MLflow, and its parameters."""
    from mlflow import MlflowClient

    client, run_id = MlflowClient(uri), (folder / "mlflow_run_id").read_text()
    run = client.get_run(run_id)
    points = {key: client.get_metric_history(run_id, key) for key in run.data.metrics}
    found = {key: sorted((point.step, point.value) for point in own) for key, own in points.items()}
    return found, run.data.params


def tracked(place, project, run):
    """{key: [(step, value)]} of a run in Trackio's database, read without it."""
    (database,) = place.glob(f"{project}*.db")
    with sqlite3.connect(database) as rows:
        found: dict = {}
        for step, metrics in rows.execute("SELECT step, metrics FROM metrics WHERE run_name = ? ORDER BY id", (run,)):
            for key, value in json.loads(metrics).items():
                found.setdefault(key, []).append((step, value))
    return found


def kept(folder):
    """The same of W&B, by the file that its logger keeps; tables left out."""
    found: dict = {}
    for line in (folder / "wandb" / "history.jsonl").read_text().splitlines():
        step, metrics = json.loads(line)
        for key, value in metrics.items():
            if not isinstance(value, dict):
                found.setdefault(key, []).append((step, pytest.approx(value, rel=1e-6)))
    return found


@pytest.mark.parametrize("kind", ["tensorboard", "mlflow"])
def test_a_resumed_run_has_every_point_once(kind, tmp_path):
    folder, uri = tmp_path / "run", f"sqlite:///{tmp_path}/mlflow.db"
    folder.mkdir()
    store = {"_target_": "xright.tracking.mlflow.mlflow_logger", "experiment": "study", "uri": uri}
    for steps in ([1, 2, 3, 4], [3, 4, 5]):  # killed at 4, its checkpoint at 2
        with running({kind: EVENTS if kind == "tensorboard" else store}, folder) as (logger,):
            for step in steps:
                logger.log_metrics({"loss": step / 8}, step=step)
            logger.save()
    found = events(folder) if kind == "tensorboard" else stored(folder, uri)[0]
    assert found == {"loss": [(step, step / 8) for step in (1, 2, 3, 4, 5)]}


@pytest.mark.skipif(not importlib.util.find_spec("trackio"), reason="trackio is not installed: pip install trackio")
def test_trackio_has_every_point_of_a_killed_run_once(command_line, tmp_path):
    about = {"XRIGHT_CACHE": str(tmp_path / "cache"), "TRACKIO_DIR": None}
    run = ("debug=fast", "logger=trackio", "name=study", "strategy=mix", "lam=0.3", "epochs=12", "checkpoint_every=7")
    command_line.kill(tmp_path, *run, when="runs/study/*/checkpoints/previous.ckpt", **about)
    done = command_line.run(tmp_path, *run, **about)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / done.stdout.splitlines()[-1]
    found = tracked(tmp_path / "runs" / "trackio", "study", folder.name)
    rows = [line.split(",") for line in (folder / "trajectory.csv").read_text().splitlines()]
    steps = [int(row[rows[0].index("step")]) for row in rows[1:]]
    assert {"train/dpo", "val/sft", "gap/dpo", "samples"} <= found.keys()
    assert [step for step, _ in found["val/sft"]] == steps
    for key, points in found.items():
        assert [step for step, _ in points] == sorted({step for step, _ in points}), key


def test_trackio_composes_and_says_what_is_missing(command_line, tmp_path):
    done = command_line.run(tmp_path, "debug=fast", "logger=[trackio,wandb]", "--cfg", "job")
    assert "_target_: xright.tracking.trackio.trackio_logger" in done.stdout
    assert "project: default" not in done.stderr
    if not importlib.util.find_spec("trackio"):
        done = command_line.run(tmp_path, "debug=fast", "logger=trackio", XRIGHT_CACHE=str(tmp_path / "cache"))
        assert done.returncode == 2
        assert "logger=trackio needs a package that is not installed: pip install trackio." in done.stderr


@pytest.mark.slow
def test_beside_wandb_and_after_a_kill(command_line, tmp_path):
    about = {"XRIGHT_CACHE": str(tmp_path / "cache"), "WANDB_MODE": "offline"}
    run = (
        "debug=fast", "logger=[wandb,tensorboard,mlflow]", "name=study", "strategy=mix", "lam=0.3", "epochs=12",
        "checkpoint_every=7",
    )  # fmt: skip
    command_line.kill(tmp_path, *run, when="runs/study/*/checkpoints/previous.ckpt", **about)
    done = command_line.run(tmp_path, *run, **about)
    assert done.returncode == 0, done.stderr
    assert "mlflow" not in done.stderr.replace("mlflow.db", "").replace("mlflow]", "")  # it is not chatty
    folder = tmp_path / done.stdout.splitlines()[-1]
    expected = kept(folder)
    timed = {key for key in expected if key.startswith(("time/", "device/"))}
    in_mlflow, parameters = stored(folder, f"sqlite:///{tmp_path}/runs/mlflow.db")
    assert parameters["lam"] == "0.3"
    for found in (events(folder), in_mlflow):
        assert found.keys() >= expected.keys() - timed
        for key in expected.keys() - timed:
            assert found[key] == expected[key], key
            steps = [step for step, _ in found[key]]
            assert steps == sorted({*steps}), key
