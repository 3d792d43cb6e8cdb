import math
from types import SimpleNamespace

import pytest

from xright.callbacks.trajectory import Trajectory
from xright.metrics import ideal_distance
from xright.strategies import Mix, Only
from xright.theory.problems import trade_off

COLUMNS = [
    "step", "epoch", "f_dpo", "f_sft", "gap_dpo", "gap_sft", "ideal_distance", "dpo_steps", "sft_steps",
    "train_seconds", "eval_seconds",
]  # fmt: skip
ALONE = SimpleNamespace(loggers=[])


def outputs(step, pick, evaluation=None, seconds=0.5):
    found = {"step": step, "weights": {pick: 1.0}, "seconds": seconds}
    if evaluation:
        found |= {"evaluation": evaluation, "evaluation_metrics": {}, "eval_seconds": 0.25}
    return found


def test_a_real_run(train_tiny, recorder, tmp_path):
    watch = Trajectory(tmp_path, {"dpo": 0.5, "sft": 4.0}, steps_per_epoch=5)
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


def test_without_steps_the_start_is_the_trajectory(train_tiny, tmp_path):
    watch = Trajectory(tmp_path, None, steps_per_epoch=5)
    train_tiny(Only("sft"), [watch], steps=0)
    (row,) = watch.file.read()
    assert (row["step"], row["epoch"], row["dpo_steps"]) == ("0", "0.0", "0")
    assert float(row["f_dpo"]) == pytest.approx(math.log(2), abs=1e-6)  # the policy is the reference
    assert (row["gap_dpo"], row["gap_sft"], row["ideal_distance"]) == ("", "", "")
    assert watch.summary()["ideal_distance"] is None
    assert watch.summary()["f_dpo_opt"] is None


def test_hand_values(tmp_path):
    watch = Trajectory(tmp_path, {"dpo": 0.5, "sft": 1.0}, steps_per_epoch=2)
    watch.on_fit_start(ALONE, None)
    watch.on_train_batch_end(ALONE, None, outputs(0, "dpo"))
    watch.on_train_batch_end(ALONE, None, outputs(1, "sft"))
    watch.on_train_batch_end(ALONE, None, outputs(2, "sft", {"dpo": 3.5, "sft": 5.0}))
    (row,) = watch.file.read()
    expected = ["3", "1.5", "3.5", "5.0", "3.0", "4.0", "5.0", "1", "2", "1.5", "0.25"]  # 3² + 4² = 5²
    assert list(row.values()) == expected
    assert ideal_distance({"dpo": 3.0, "sft": 4.0}) == 5.0


def test_a_resumed_run_goes_on_behind_its_checkpoint(tmp_path):
    first = Trajectory(tmp_path, None, steps_per_epoch=2)
    first.on_fit_start(ALONE, None)
    first.on_train_batch_end(ALONE, None, outputs(0, "dpo", {"dpo": 1.0, "sft": 2.0}))
    state = first.state_dict()
    first.on_train_batch_end(ALONE, None, outputs(1, "sft", {"dpo": 9.0, "sft": 9.0}))  # after the checkpoint
    second = Trajectory(tmp_path, None, steps_per_epoch=2)
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
    watch = Trajectory(tmp_path, None, steps_per_epoch=2)
    watch.on_fit_start(ALONE, None)
    assert watch.file.read() == []
