import math
from dataclasses import replace

import pytest

from xright.callbacks.steps import Steps
from xright.data.sampler import StepBatches
from xright.errors import UserError
from xright.strategies import ALRIGHT, MAXRIGHT, Mix, Phase, Schedule, Sequential
from xright.theory.problems import NAMES, trade_off


def test_one_row_per_step(train_tiny, parts, recorder, tmp_path):
    watch = Steps(every=2)
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
        "weight_dpo",
        "weight_sft",
    ]
    assert [row["step"] for row in rows] == list("01234")
    picks = [next(iter(selector.weights(step))) for step in range(5)]
    assert set(picks) == {"dpo", "sft"}
    assert [row["pick"] for row in rows] == picks
    for row in rows:
        other = "sft" if row["pick"] == "dpo" else "dpo"
        assert float(row[f"loss_{row['pick']}"]) > 0
        assert row[f"loss_{other}"] == row["seen_gap_dpo"] == row["seen_gap_sft"] == ""
        assert (row[f"weight_{row['pick']}"], row[f"weight_{other}"]) == ("1.0", "")
    # Two writes of two steps and one of what is left; the mean weight on DPO of each.
    is_dpo = [pick == "dpo" for pick in picks]
    expected = [(2, sum(is_dpo[:2]) / 2), (4, sum(is_dpo[2:4]) / 2), (5, float(is_dpo[4]))]
    assert recorder.values("strategy/pick") == recorder.values("weight/dpo") == expected
    assert recorder.values("weight/sft") == [(step, 1 - share) for step, share in expected]
    summary = watch.summary()
    seconds = sorted(float(row["seconds"]) for row in rows)
    assert summary["step_seconds_median"] == seconds[2]
    assert summary["tokens_per_second"] == pytest.approx(sum(int(row["tokens"]) for row in rows) / sum(seconds))


def test_both_objectives_and_their_tokens(train_tiny, parts, recorder, tmp_path):
    watch = Steps(every=10)
    train_tiny(Mix(trade_off(0.25)), [watch], steps=1, loggers=[recorder])
    (row,) = watch.file.read()
    assert row["pick"] == "both"
    assert float(row["loss_dpo"]) == pytest.approx(0.693147, abs=1e-5)  # before the first update: log 2
    sft = [parts.streams["sft"][i] for i in StepBatches("sft", 40, 8, 1, 0).batch(0)]
    pairs = [parts.streams["preference"][i] for i in StepBatches("preference", 20, 4, 1, 0).batch(0)]
    assert int(row["tokens"]) == sum(len(r.prompt) + len(answer) for r in (*sft, *pairs) for answer in r.responses)
    assert (row["weight_dpo"], row["weight_sft"]) == ("0.25", "0.75")
    assert recorder.values("strategy/pick") == recorder.values("weight/dpo") == [(1, 0.25)]
    assert recorder.values("weight/sft") == [(1, 0.75)]
    assert recorder.values("train/sft") == [(1, pytest.approx(float(row["loss_sft"])))]
    assert recorder.values("train/rewards/margins") == [(1, pytest.approx(0.0, abs=1e-5))]


THREE = ["dpo", "terse", "sft"]  # the table's order, whatever that of the weights


def test_three_objectives_have_a_column_each(train_tiny, tmp_path):
    watch = Steps()
    train_tiny(Mix({"sft": 1, "terse": 2, "dpo": 1}), [watch], steps=2, three=True)
    for row in watch.file.read():
        assert list(row) == [
            "step", "pick", *(f"loss_{name}" for name in THREE), *(f"seen_gap_{name}" for name in THREE), "seconds",
            "tokens", *(f"weight_{name}" for name in THREE),
        ]  # fmt: skip
        assert row["pick"] == "sft+terse+dpo"  # in the order that the rule gives them
        assert [row[f"weight_{name}"] for name in THREE] == ["0.25", "0.5", "0.25"]
        assert all(float(row[f"loss_{name}"]) > 0 for name in THREE)


def test_two_of_three_are_not_both(train_tiny, recorder, tmp_path):
    watch = Steps(every=2)
    schedule = Schedule([Phase(Mix({"dpo": 0.25, "sft": 0.75})), Phase(ALRIGHT({"terse": 1, "dpo": 0}, seed=0))])
    train_tiny(schedule, [watch], steps=1, three=True, loggers=[recorder])
    first, second = watch.file.read()
    assert (first["pick"], second["pick"]) == ("dpo+sft", "terse")
    assert [first[f"weight_{name}"] for name in THREE] == ["0.25", "", "0.75"]
    assert [second[f"weight_{name}"] for name in THREE] == ["", "1.0", ""]
    assert first["loss_terse"] == second["loss_dpo"] == second["loss_sft"] == ""
    means = {name: recorder.values(f"weight/{name}") for name in THREE}  # over the two steps
    assert means == {"dpo": [(2, 0.125)], "terse": [(2, 0.5)], "sft": [(2, 0.375)]}
    assert recorder.values("strategy/pick") == [(2, 0.125)]  # of the first objective


def test_seen_gaps_of_three(train_tiny, tmp_path):
    watch, best = Steps(), {"dpo": 0.5, "terse": 1.0, "sft": 2.0}
    train_tiny(MAXRIGHT(dict.fromkeys(THREE, 1), best, k=2), [watch], steps=3, three=True)
    rows = watch.file.read()
    for row in rows:
        pick, seen = row["pick"], float(row[f"seen_gap_{row['pick']}"])
        assert seen == pytest.approx(float(row[f"loss_{pick}"]) - best[pick])
        assert all(row[f"seen_gap_{name}"] for name in THREE)
    assert float(rows[0]["seen_gap_dpo"]) == pytest.approx(0.693147 - 0.5, abs=1e-5)  # looked at, never chosen
    assert {row["pick"] for row in rows} <= {"terse", "sft"}


def test_seen_gaps(train_tiny, tmp_path):
    watch = Steps()
    train_tiny(MAXRIGHT(trade_off(0.5), {"dpo": 0.5, "sft": 1.0}, k=2), [watch], steps=3)
    for row in watch.file.read():
        best = {"dpo": 0.5, "sft": 1.0}[row["pick"]]
        assert float(row[f"seen_gap_{row['pick']}"]) == pytest.approx(float(row[f"loss_{row['pick']}"]) - best)
        assert row["seen_gap_dpo"]
        assert row["seen_gap_sft"]


def test_the_steps_before_a_failure_are_written(train_tiny, parts, tmp_path):
    # the fourth step is the first to see the pairs
    watch, selector = Steps(every=100), Sequential("sft", (1, 1), NAMES)
    spoilt = [replace(row, reference=(math.nan, math.nan)) for row in parts.streams["preference"]]
    with pytest.raises(UserError, match="the dpo loss became NaN or infinite at step 3"):
        train_tiny(selector, [watch], steps=3, streams={**parts.streams, "preference": spoilt})
    assert [(row["step"], row["pick"]) for row in watch.file.read()] == [("0", "sft"), ("1", "sft"), ("2", "sft")]


def test_a_run_without_steps_has_no_rows(train_tiny, tmp_path):
    watch = Steps()
    train_tiny(Mix(trade_off(0.5)), [watch], steps=0)
    assert watch.file.read() == []
    assert watch.summary() == {"step_seconds_median": None, "tokens_per_second": None}
