import math

import pandas as pd
import pytest

from xright.analysis.numbers import oscillation
from xright.analysis.numbers.oscillation import stretch
from xright.analysis.read.runs import read_runs


def rise(trajectory):
    return oscillation.rise(trajectory, ["dpo", "sft"])


def path(folder, *points):
    """Evaluations of a run at steps 1, 20, 40, …: (f_DPO, f_SFT) each."""
    steps = [max(1, 20 * place) for place in range(len(points))]
    return pd.DataFrame(points, columns=["f_dpo", "f_sft"]).assign(folder=folder, step=steps)


def picks(folder, text):
    """A step per letter: d for DPO, s for SFT."""
    names = [{"d": "dpo", "s": "sft"}[letter] for letter in text]
    return pd.DataFrame({"folder": folder, "step": range(len(names)), "pick": names})


def test_rise_adds_up_the_increases_only():
    # f_DPO: −.5, +.2, −.4, +.1 -> .3;  f_SFT: +.1, −.3, +.4, −.1 -> .5
    found = rise(path("a", (1.0, 0.5), (0.5, 0.6), (0.7, 0.3), (0.3, 0.7), (0.4, 0.6)))
    assert found.columns.tolist() == ["folder", "rise_dpo", "rise_sft", "rise"]
    assert found.iloc[0, 1:].tolist() == pytest.approx([0.3, 0.5, 0.8])


def test_a_fall_does_not_rise():
    assert rise(path("a", (3.0, 2.0), (2.0, 2.0), (1.0, 0.5)))["rise"].tolist() == [0]


def test_each_folder_by_itself_in_order_of_appearance_and_of_steps():
    high, low = path("b", (1.0, 1.0), (1.5, 1.0)), path("a", (9.0, 9.0), (8.0, 9.25))
    mixed = pd.concat([high[::-1], low])  # b backwards: its step 20 stands before its step 1
    found = rise(mixed)
    assert found["folder"].tolist() == ["b", "a"]
    assert found["rise_dpo"].tolist() == [0.5, 0]  # not the way from b's end to a's start
    assert found["rise_sft"].tolist() == [0, 0.25]


def test_one_evaluation_tells_nothing_and_a_missing_one_is_stepped_over():
    found = rise(pd.concat([path("once", (1.0, 1.0)), path("gap", (1.0, 1.0), (math.nan, 1.5), (1.25, 1.0))]))
    assert found.loc[found["folder"] == "once", ["rise_dpo", "rise_sft", "rise"]].isna().all(axis=None)
    assert found.loc[found["folder"] == "gap", ["rise_dpo", "rise_sft"]].values.tolist() == [[0.25, 0.5]]


def test_stretch_is_steps_per_turn():
    # dds|s… as runs: dd, sss, d = 3 turns in 6 steps; alternating: 4 turns in 4; one objective only: 1 turn in 5
    found = stretch(pd.concat([picks("b", "ddsssd"), picks("a", "dsds"), picks("c", "sssss")]))
    assert found["folder"].tolist() == ["b", "a", "c"]
    assert found["stretch"].tolist() == [2, 1, 5]


def test_a_third_objective_counts():
    found = oscillation.rise(path("a", (1.0, 0.5), (1.25, 0.5)).assign(f_safety=[1.0, 1.5]), ["dpo", "sft", "safety"])
    assert found.iloc[0, 1:].tolist() == [0.25, 0, 0.5, 0.75]


def test_of_runs_as_they_are_read(make, tmp_path):
    make("sequential", 2.3, 0.06, epochs=(1, 1), steps=40)
    runs = read_runs([tmp_path])
    # conftest's path: f_DPO .34 + left while DPO is trained (falls), then the second half jumps up to near f_dpo = 2.3
    half, after = 20, 25  # evaluations every 5 steps; left = exp(−6 (step − 1) / 39)
    up = 2.3 + math.exp(-6 * (after - 1) / 39) * 0.2 - (0.34 + math.exp(-6 * (half - 1) / 39))
    assert rise(runs.trajectory)["rise_dpo"].tolist() == pytest.approx([up])
    assert stretch(runs.steps)["stretch"].tolist() == [20]
