import math
from dataclasses import replace

import pytest

from xright.callbacks.steps import Steps
from xright.data.sampler import StepBatches
from xright.errors import UserError
from xright.strategies import ALRIGHT, MAXRIGHT, Mix, Sequential
from xright.theory.problems import NAMES, trade_off


def test_one_row_per_step(train_tiny, parts, recorder, tmp_path):
    watch = Steps(tmp_path, every=2)
    selector = ALRIGHT(trade_off(0.5), seed=1)
    train_tiny(selector, [watch], steps=5, loggers=[recorder])
    rows = watch.file.read()
    assert list(rows[0]) == [
        "step",
        "pick",
        "loss_dpo",
        "loss_sft",
        "seen_gap_dpo",
        "seen_gap_sft",
        "seconds",
        "tokens",
    ]
    assert [row["step"] for row in rows] == list("01234")
    picks = [next(iter(selector.weights(step))) for step in range(5)]
    assert set(picks) == {"dpo", "sft"}
    assert [row["pick"] for row in rows] == picks
    for row in rows:
        other = "sft" if row["pick"] == "dpo" else "dpo"
        assert float(row[f"loss_{row['pick']}"]) > 0
        assert row[f"loss_{other}"] == row["seen_gap_dpo"] == row["seen_gap_sft"] == ""
    # Two writes of two steps and one of what is left; the mean weight on DPO of each.
    is_dpo = [pick == "dpo" for pick in picks]
    expected = [(2, sum(is_dpo[:2]) / 2), (4, sum(is_dpo[2:4]) / 2), (5, float(is_dpo[4]))]
    assert recorder.values("strategy/pick") == expected
    summary = watch.summary()
    seconds = sorted(float(row["seconds"]) for row in rows)
    assert summary["step_seconds_median"] == seconds[2]
    assert summary["tokens_per_second"] == pytest.approx(sum(int(row["tokens"]) for row in rows) / sum(seconds))


def test_both_objectives_and_their_tokens(train_tiny, parts, recorder, tmp_path):
    watch = Steps(tmp_path, every=10)
    train_tiny(Mix(trade_off(0.25)), [watch], steps=1, loggers=[recorder])
    (row,) = watch.file.read()
    assert row["pick"] == "both"
    assert float(row["loss_dpo"]) == pytest.approx(0.693147, abs=1e-5)  # before the first update: log 2
    sft = [parts.streams["sft"][i] for i in StepBatches("sft", 40, 8, 1, 0).batch(0)]
    pairs = [parts.streams["preference"][i] for i in StepBatches("preference", 20, 4, 1, 0).batch(0)]
    assert int(row["tokens"]) == sum(len(r.prompt) + len(answer) for r in (*sft, *pairs) for answer in r.responses)
    assert recorder.values("strategy/pick") == [(1, 0.25)]
    assert recorder.values("train/sft") == [(1, pytest.approx(float(row["loss_sft"])))]
    assert recorder.values("train/rewards/margins") == [(1, pytest.approx(0.0, abs=1e-5))]


def test_seen_gaps(train_tiny, tmp_path):
    watch = Steps(tmp_path)
    train_tiny(MAXRIGHT(trade_off(0.5), {"dpo": 0.5, "sft": 1.0}, k=2), [watch], steps=3)
    for row in watch.file.read():
        best = {"dpo": 0.5, "sft": 1.0}[row["pick"]]
        assert float(row[f"seen_gap_{row['pick']}"]) == pytest.approx(float(row[f"loss_{row['pick']}"]) - best)
        assert row["seen_gap_dpo"]
        assert row["seen_gap_sft"]


def test_the_steps_before_a_failure_are_written(train_tiny, parts, tmp_path):
    watch, selector = Steps(tmp_path, every=100), Sequential("sft", (1, 1), NAMES)
    selector.phases(3, 0)  # the fourth step is the first to see the pairs
    spoilt = [replace(row, reference=(math.nan, math.nan)) for row in parts.streams["preference"]]
    with pytest.raises(UserError, match="the dpo loss became NaN or infinite at step 3"):
        train_tiny(selector, [watch], steps=6, streams={**parts.streams, "preference": spoilt})
    assert [(row["step"], row["pick"]) for row in watch.file.read()] == [("0", "sft"), ("1", "sft"), ("2", "sft")]


def test_a_run_without_steps_has_no_rows(train_tiny, tmp_path):
    watch = Steps(tmp_path)
    train_tiny(Mix(trade_off(0.5)), [watch], steps=0)
    assert watch.file.read() == []
    assert watch.summary() == {"step_seconds_median": None, "tokens_per_second": None}
