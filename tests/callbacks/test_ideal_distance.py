import math

import pytest
from xright.callbacks.ideal_distance import IdealDistance

from xright.callbacks.trajectory import Trajectory
from xright.strategies import Mix
from xright.theory.problems import trade_off


def test_logs_the_trajectorys_figures(train_tiny, recorder, tmp_path):
    optima = {"dpo": 0.25, "sft": 4.5}
    trajectory = Trajectory(tmp_path, optima, 5)
    train_tiny(Mix(trade_off(0.5)), [IdealDistance(optima), trajectory], loggers=[recorder])
    rows = trajectory.file.read()
    assert len(rows) == 3
    for key in ("gap_dpo", "gap_sft", "ideal_distance"):
        logged = recorder.values(key.replace("_", "/") if key.startswith("gap") else key)
        assert logged == [(int(row["step"]), pytest.approx(float(row[key]))) for row in rows]
    (_, gap_dpo), *_ = recorder.values("gap/dpo")
    (_, gap_sft), *_ = recorder.values("gap/sft")
    assert recorder.values("ideal_distance")[0] == (1, pytest.approx(math.sqrt(gap_dpo**2 + gap_sft**2)))


def test_unknown_optima_log_nothing(train_tiny, recorder):
    train_tiny(Mix(trade_off(0.5)), [IdealDistance(None)], loggers=[recorder])
    assert recorder.logged == []


def test_a_run_without_steps_is_logged_at_step_0(train_tiny, recorder):
    train_tiny(Mix(trade_off(0.5)), [IdealDistance({"dpo": 0.0, "sft": 0.0})], steps=0, loggers=[recorder])
    assert recorder.values("gap/dpo") == [(0, pytest.approx(math.log(2), abs=1e-5))]
