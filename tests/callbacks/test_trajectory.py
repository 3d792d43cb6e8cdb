import math
from types import SimpleNamespace

import pytest

from xright.metrics import ideal_distance
from xright.objectives import DPO, ORPO, SFT
from xright.strategies import Mix, Only
from xright.theory.problems import trade_off
from xright.tracking.trajectory import Trajectory, by_metric

COLUMNS = [
    "step", "epoch", "f_dpo", "f_sft", "gap_dpo", "gap_sft", "ideal_distance", "dpo_steps", "sft_steps",
    "train_seconds", "eval_seconds",
]  # fmt: skip
TWO = {"dpo": DPO(), "sft": SFT()}
ALONE = SimpleNamespace(loggers=[])


def outputs(step, pick, evaluation=None, seconds=0.5):
    found = {"step": step, "weights": {pick: 1.0}, "seconds": seconds}
    if evaluation:
        found |= {"evaluation": evaluation, "evaluation_metrics": {}, "eval_seconds": 0.25}
    return found


def test_a_real_run(train_tiny, recorder, tmp_path):
    watch = Trajectory(tmp_path, TWO, {"dpo": 0.5, "sft": 4.0}, steps_per_epoch=5)
    train_tiny(Mix(trade_off(0.5)), [watch], steps=5, eval_every=2, loggers=[recorder])
    rows = watch.file.read()
    assert list(rows[0]) == COLUMNS
    assert [row["step"] for row in rows] == ["1", "2", "4", "5"]  # after the first, every second and the last step
    assert [row["epoch"] for row in rows] == ["0.2", "0.4", "0.8", "1.0"]
    assert [(row["dpo_steps"], row["sft_steps"]) for row in rows] == [(n, n) for n in "1245"]
    for row in rows:
        f_dpo, f_sft = float(row["f_dpo"]), float(row["f_sft"])
        assert float(row["gap_dpo"]) == pytest.approx(f_dpo - 0.5)
        assert float(row["gap_sft"]) == pytest.approx(f_sft - 4.0)
        assert float(row["ideal_distance"]) == pytest.approx(math.hypot(f_dpo - 0.5, f_sft - 4.0))
    assert float(rows[-1]["f_sft"]) < float(rows[0]["f_sft"])
    assert 0 < float(rows[0]["train_seconds"]) <= float(rows[-1]["train_seconds"])
    summary = watch.summary()
    assert (summary["steps"], summary["picks"]) == (5, {"dpo": 5, "sft": 5})
    assert summary["f_dpo"] == float(rows[-1]["f_dpo"])
    assert (summary["f_dpo_opt"], summary["f_sft_opt"]) == (0.5, 4.0)
    assert recorder.values("val/sft") == [(int(row["step"]), float(row["f_sft"])) for row in rows]
    assert [step for step, _ in recorder.values("val/rewards/accuracies")] == [1, 2, 4, 5]
    for key in ("gap_dpo", "gap_sft", "ideal_distance"):
        logged = recorder.values(key.replace("gap_", "gap/"))
        assert logged == [(int(row["step"]), pytest.approx(float(row[key]))) for row in rows]


def test_unknown_optima_log_no_gap(train_tiny, recorder, tmp_path):
    for optima in ({}, {"dpo": None, "sft": None}):
        train_tiny(Mix(trade_off(0.5)), [Trajectory(tmp_path, TWO, optima, 5)], loggers=[recorder])
    assert [step for step, _ in recorder.values("val/dpo")] == [1, 2, 4] * 2
    assert not [key for _, logged in recorder.logged for key in logged if key.startswith(("gap", "ideal"))]


def test_a_run_without_steps_is_logged_at_step_0(train_tiny, recorder, tmp_path):
    watch = Trajectory(tmp_path, TWO, {"dpo": 0.0, "sft": 0.0}, 5)
    train_tiny(Mix(trade_off(0.5)), [watch], steps=0, loggers=[recorder])
    assert recorder.values("gap/dpo") == [(0, pytest.approx(math.log(2), abs=1e-5))]


def test_without_steps_the_start_is_the_trajectory(train_tiny, tmp_path):
    watch = Trajectory(tmp_path, TWO, {}, steps_per_epoch=5)
    train_tiny(Only("sft"), [watch], steps=0)
    (row,) = watch.file.read()
    assert (row["step"], row["epoch"], row["dpo_steps"]) == ("0", "0.0", "0")
    assert float(row["f_dpo"]) == pytest.approx(math.log(2), abs=1e-6)  # the policy is the reference
    assert (row["gap_dpo"], row["gap_sft"], row["ideal_distance"]) == ("", "", "")
    assert watch.summary()["ideal_distance"] is None
    assert watch.summary()["f_dpo_opt"] is None


def test_hand_values(tmp_path):
    watch = Trajectory(tmp_path, TWO, {"dpo": 0.5, "sft": 1.0}, steps_per_epoch=2)
    watch.on_fit_start(ALONE, None)
    watch.on_train_batch_end(ALONE, None, outputs(0, "dpo"))
    watch.on_train_batch_end(ALONE, None, outputs(1, "sft"))
    watch.on_train_batch_end(ALONE, None, outputs(2, "sft", {"dpo": 3.5, "sft": 5.0}))
    (row,) = watch.file.read()
    expected = ["3", "1.5", "3.5", "5.0", "3.0", "4.0", "5.0", "1", "2", "1.5", "0.25"]  # 3² + 4² = 5²
    assert list(row.values()) == expected
    assert ideal_distance({"dpo": 3.0, "sft": 4.0}) == 5.0


THREE = {"dpo": DPO(), "terse": SFT("terse"), "sft": SFT()}


def test_hand_values_of_three(tmp_path):
    logged = []
    trainer = SimpleNamespace(loggers=[SimpleNamespace(log_metrics=lambda metrics, step: logged.append(metrics))])
    watch = Trajectory(tmp_path, THREE, {"dpo": 0.5, "sft": 1.0, "terse": 2.0}, steps_per_epoch=4)
    watch.on_fit_start(trainer, None)
    watch.on_train_batch_end(trainer, None, outputs(0, "terse"))
    both = outputs(1, "dpo", {"terse": 8.0, "dpo": 2.5, "sft": 4.0}) | {"weights": {"sft": 0.5, "terse": 0.5}}
    watch.on_train_batch_end(trainer, None, both)
    (row,) = watch.file.read()
    assert row == {  # 2² + 6² + 3² = 7²
        "step": "2", "epoch": "0.5", "f_dpo": "2.5", "f_terse": "8.0", "f_sft": "4.0", "gap_dpo": "2.0",
        "gap_terse": "6.0", "gap_sft": "3.0", "ideal_distance": "7.0", "dpo_steps": "0", "terse_steps": "2",
        "sft_steps": "1", "train_seconds": "1.0", "eval_seconds": "0.25",
    }  # fmt: skip
    assert list(row) == [
        "step", "epoch", "f_dpo", "f_terse", "f_sft", "gap_dpo", "gap_terse", "gap_sft", "ideal_distance", "dpo_steps",
        "terse_steps", "sft_steps", "train_seconds", "eval_seconds",
    ]  # fmt: skip
    assert logged == [{
        "val/terse": 8.0, "val/dpo": 2.5, "val/sft": 4.0, "gap/dpo": 2.0, "gap/terse": 6.0, "gap/sft": 3.0,
        "ideal_distance": 7.0,
    }]  # fmt: skip
    summary = watch.summary()
    assert summary["picks"] == {"dpo": 0, "terse": 2, "sft": 1}
    assert list(summary["objectives"]) == ["dpo", "terse", "sft"]
    assert summary["objectives"]["terse"] == {
        "f": 8.0, "optimum": 2.0, "gap": 6.0, "steps": 2, "unit": "nats per token", "label": "terse",
        "surrogate": False,
    }  # fmt: skip
    assert [told["label"] for told in summary["objectives"].values()] == ["DPO", "terse", "SFT"]
    assert [told["unit"] for told in summary["objectives"].values()] == [
        "nats per pair", "nats per token", "nats per token",
    ]  # fmt: skip


def test_what_has_no_optimum_is_no_axis(tmp_path):
    """A surrogate is recorded, and the ideal distance is that of the others. Where f* of one of these is unknown, there
    is no distance: that over the rest would be another quantity under the same name."""
    table = {"dpo": DPO(), "sft": SFT(), "orpo": ORPO()}
    watch = Trajectory(tmp_path, table, {"dpo": 0.5, "sft": 1.0}, steps_per_epoch=2)
    watch.on_fit_start(ALONE, None)
    watch.on_train_batch_end(ALONE, None, outputs(0, "orpo", {"dpo": 3.5, "sft": 5.0, "orpo": 7.0}))
    (row,) = watch.file.read()
    assert (row["f_orpo"], row["gap_orpo"], row["ideal_distance"], row["orpo_steps"]) == ("7.0", "", "5.0", "1")
    told = watch.summary()["objectives"]
    assert (told["orpo"]["optimum"], told["orpo"]["gap"], told["orpo"]["surrogate"]) == (None, None, True)
    assert (watch.summary()["f_orpo"], watch.summary()["f_orpo_opt"]) == (7.0, None)

    watch = Trajectory(tmp_path, TWO, {"dpo": None, "sft": 1.0}, steps_per_epoch=2)
    watch.on_fit_start(ALONE, None)
    watch.on_train_batch_end(ALONE, None, outputs(0, "dpo", {"dpo": 3.5, "sft": 5.0}))
    (row,) = watch.file.read()
    assert (row["gap_dpo"], row["gap_sft"], row["ideal_distance"]) == ("", "4.0", "")


def test_metrics_that_two_objectives_share_are_told_apart(tmp_path):
    metrics = {"dpo": {"margin": 1.0, "accuracy": 0.5}, "ipo": {"margin": 2.0}, "sft": {}}
    assert by_metric(metrics) == {"dpo/margin": 1.0, "accuracy": 0.5, "ipo/margin": 2.0}


def test_three_objectives_in_a_real_run(train_tiny, recorder, tmp_path):
    watch = Trajectory(tmp_path, THREE, {"dpo": 0.5, "sft": 4.0, "terse": 3.0}, steps_per_epoch=3)
    train_tiny(Mix(dict.fromkeys(THREE, 1)), [watch], steps=3, three=True, loggers=[recorder])
    rows = watch.file.read()
    assert [row["step"] for row in rows] == ["1", "2", "3"]
    for row in rows:
        assert float(row["ideal_distance"]) == pytest.approx(math.hypot(*(float(row[f"gap_{n}"]) for n in THREE)))
    assert recorder.values("val/terse") == [(int(row["step"]), float(row["f_terse"])) for row in rows]
    assert watch.summary()["picks"] == dict.fromkeys(THREE, 3)


def test_a_resumed_run_goes_on_behind_its_checkpoint(tmp_path):
    first = Trajectory(tmp_path, TWO, {}, steps_per_epoch=2)
    first.on_fit_start(ALONE, None)
    first.on_train_batch_end(ALONE, None, outputs(0, "dpo", {"dpo": 1.0, "sft": 2.0}))
    state = first.state_dict()
    first.on_train_batch_end(ALONE, None, outputs(1, "sft", {"dpo": 9.0, "sft": 9.0}))  # after the checkpoint
    second = Trajectory(tmp_path, TWO, {}, steps_per_epoch=2)
    second.load_state_dict(state)
    second.on_fit_start(ALONE, None)
    assert [row["step"] for row in second.file.read()] == ["1"]
    assert second.summary()["f_dpo"] == 1.0
    second.on_train_batch_end(ALONE, None, outputs(1, "dpo", {"dpo": 0.5, "sft": 2.0}))
    assert [(row["step"], row["f_dpo"]) for row in second.file.read()] == [("1", "1.0"), ("2", "0.5")]
    assert second.summary()["picks"] == {"dpo": 2, "sft": 0}
    assert second.summary()["train_seconds"] == 1.0
    assert second.summary()["eval_seconds"] == 0.5


def test_a_fresh_run_begins_the_file(tmp_path):
    (tmp_path / "trajectory.csv").write_text(",".join(COLUMNS) + "\n7" + "," * 10 + "\n")
    watch = Trajectory(tmp_path, TWO, {}, steps_per_epoch=2)
    watch.on_fit_start(ALONE, None)
    assert watch.file.read() == []
