import numpy as np
import pandas as pd
import pytest

from xright.analysis.figures.bars import compared_in_time
from xright.analysis.numbers.runtime import runtime_increases
from xright.analysis.read.runs import read_runs
from xright.analysis.text.flat_table import from_rows, to_rows
from xright.errors import UserError

KEPT = ["label", "strategy", "family", "method", "front", "variant", "lam", "weighting", "first", "seed", "steps"]
KEPT += ["f_dpo", "f_sft", "f_dpo_opt", "f_sft_opt"]
KEPT += ["gap_dpo", "gap_sft", "ideal_distance", "train_seconds", "step_ms", "device", "utilization_median_pct"]


@pytest.fixture
def runs(make, study):
    for seed in (1, 2):
        make("mix", 0.4, 0.1, lam=0.5, seed=seed, steps=80, train_seconds=2.4, utilization_median_pct=50.0)
    make("sequential", 0.34, 0.3, epochs=(3, 3), first="sft", train_seconds=1.2)
    make("model_average", 1.0, 0.2, lam=0.5)
    found = read_runs([study])
    # conftest: 30 ms a step up to an evaluation; so that the last evaluation says what result.json says
    found.table["train_seconds"] = 0.03 * found.table["steps"]
    found.table["step_ms"] = 30.0 * (found.table["steps"] > 0).where(found.table["steps"] > 0)
    return found


def through_a_file(runs, folder, *more):
    to_rows(runs, *more).to_csv(folder / "results.csv", index=False)
    return from_rows(pd.read_csv(folder / "results.csv"), runs.axes)


def test_what_a_figure_needs_survives_the_file(runs, tmp_path):
    again = through_a_file(runs, tmp_path)
    pd.testing.assert_frame_equal(again.table[KEPT], runs.table[KEPT], check_dtype=False)
    ways = ["step", "f_dpo", "f_sft", "gap_dpo", "gap_sft", "ideal_distance"]
    assert again.table["weights"].tolist() == runs.table["weights"].tolist()
    for old, new in zip(runs.table["folder"], again.table["folder"], strict=True):
        mine, theirs = (part.trajectory.query("folder == @name") for part, name in ((again, new), (runs, old)))
        np.testing.assert_allclose(mine[ways].to_numpy(float), theirs[ways].to_numpy(float), atol=1e-12)


def test_runs_come_in_the_order_of_every_table(runs, make, study, tmp_path):
    make("dpo", 0.3, 1.9)
    make("sft", 2.3, 0.03)
    rows = to_rows(found := read_runs([study]))
    parts = [part for _, part in rows.groupby(["label", "seed"])]
    pd.concat(reversed(parts)).to_csv(tmp_path / "results.csv", index=False)
    again = from_rows(pd.read_csv(tmp_path / "results.csv"), found.axes)
    assert again.table[["label", "seed"]].to_numpy().tolist() == found.table[["label", "seed"]].to_numpy().tolist()


def test_the_runs_work_as_runs_do(runs, tmp_path):
    again = through_a_file(runs, tmp_path)
    mix = again.only(again.table["strategy"] == "mix")
    assert mix.table["folder"].tolist()[1:3] == ["Mix λ=0.5, seed 1", "Mix λ=0.5, seed 2"]
    assert set(mix.trajectory["folder"]) == set(mix.table["folder"])
    assert (
        len(runtime_increases(again.table)) == len(runtime_increases(runs.table)) == 0
    )  # no split fits a λ of its seed


def test_a_runtime_increase_survives_the_file_and_an_old_file_has_none(make, tmp_path):
    # conftest: of 40 steps, 60 ms each with Mix; the split (2, 4) of six epochs is what λ = .25 is held against
    make("sequential", 0.34, 0.3, epochs=(2, 4), first="dpo", train_seconds=2.0)
    make("mix", 0.4, 0.1, lam=0.25, train_seconds=2.4)
    rows = to_rows(read_runs([tmp_path]))
    assert rows["phases"].dropna().tolist() == ["dpo:2 sft:4", "dpo+sft:6"]
    last = rows.groupby("label", sort=False)["train_seconds"].last()
    rows.to_csv(tmp_path / "new.csv", index=False)
    again = from_rows(pd.read_csv(tmp_path / "new.csv"), read_runs([tmp_path]).axes)
    (increase,) = runtime_increases(again.table)["increase"]
    assert increase == pytest.approx(last.iloc[1] / last.iloc[0] - 1)
    assert len(compared_in_time(again)) == 1
    old = from_rows(pd.read_csv(tmp_path / "new.csv").drop(columns="phases"), again.objectives)
    assert old.table["phases"].tolist() == [[], []]
    assert compared_in_time(old).empty
    mixed = pd.read_csv(tmp_path / "new.csv")
    mixed.loc[mixed["label"].str.startswith("Seq"), "phases"] = np.nan  # of a run that is not published again
    assert from_rows(mixed, again.objectives).table["phases"].map(len).tolist() == [0, 1]


def test_further_columns_come_along(runs, tmp_path):
    runs.table["stretch"] = range(len(runs.table))
    again = through_a_file(runs, tmp_path, "stretch")
    assert again.table["stretch"].tolist() == list(range(len(runs.table)))


def test_two_studies_at_once_are_refused(make, tmp_path):
    make("mix", 0.4, 0.1, lam=0.5)
    make("mix", 0.4, 0.1, lam=0.5, seed=1)  # this one may stay
    same = make("mix", 0.5, 0.1, lam=0.5, seed=2)
    (same / "result.json").write_text((same / "result.json").read_text().replace('"seed": 2', '"seed": 0'))
    with pytest.raises(UserError, match=r"second run with label 'Mix λ=0[.]5' and its seed; name one study"):
        to_rows(read_runs([tmp_path]))
