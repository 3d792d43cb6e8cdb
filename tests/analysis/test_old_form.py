"""Run folders from before result.json had `method` and `objectives`: `old_runs/` has one of each kind, written by
`debug=fast` runs of such a version (without models and checkpoints). Expected: read off their files by hand."""

from pathlib import Path

import pytest

from xright.analysis.read.files import read_json
from xright.analysis.read.methods import Objective
from xright.analysis.read.results import read_result
from xright.analysis.read.runs import read_runs
from xright.errors import UserError

OLD = Path(__file__).parent / "old_runs"


@pytest.fixture(scope="module")
def runs():
    return read_runs([OLD])


@pytest.fixture(scope="module")
def table(runs):
    return runs.table.set_index("label")


def test_none_of_them_has_what_the_new_form_has():
    files = list(OLD.glob("*/result.json"))
    assert len(files) == 11
    assert not any({"method", "objectives"} & read_json(file).keys() for file in files)


def test_every_kind_is_read_in_the_order_of_every_table(runs):
    assert runs.left_out == {}
    assert runs.objectives == runs.axes == {
        "dpo": Objective("dpo", "DPO", "nats per pair"), "sft": Objective("sft", "SFT", "nats per token"),
    }  # fmt: skip
    assert runs.table[["label", "family", "method", "variant", "front"]].to_numpy().tolist() == [
        ["Sequential DPO→SFT (2,1)", "sequential", "Sequential", "Sequential DPO→SFT (2,1)", "Sequential DPO→SFT"],
        ["Sequential SFT→DPO (2,1)", "sequential", "Sequential", "Sequential SFT→DPO (2,1)", "Sequential SFT→DPO"],
        ["Mix λ=0.25", "joint", "Mix", "Mix", "Mix"],
        ["ALRIGHT λ=0.25", "joint", "ALRIGHT", "ALRIGHT", "ALRIGHT"],
        ["ALRIGHT λ=0.75", "joint", "ALRIGHT", "ALRIGHT", "ALRIGHT"],
        ["MAXRIGHT λ=0.25", "joint", "MAXRIGHT", "MAXRIGHT", "MAXRIGHT"],
        ["MAXRIGHT λ=0.25 k=1", "joint", "MAXRIGHT", "MAXRIGHT k=1", "MAXRIGHT k=1"],
        ["Model average λ=0.25", "merge", "Model average", "Model average", "Model average"],
        ["ORPO only", "single", "ORPO only", "ORPO only", "ORPO only"],
        ["SFT only", "single", "SFT only", "SFT only", "SFT only"],
        ["DPO only", "single", "DPO only", "DPO only", "DPO only"],
    ]


@pytest.mark.parametrize(
    ("label", "phases"),  # 4 steps are an epoch, 3 epochs a run
    [
        ("Sequential DPO→SFT (2,1)", [(["dpo"], 2, 8), (["sft"], 1, 4)]),
        ("Sequential SFT→DPO (2,1)", [(["sft"], 2, 8), (["dpo"], 1, 4)]),
        ("ALRIGHT λ=0.75", [(["dpo", "sft"], 3, 12)]),
        ("Mix λ=0.25", [(["dpo", "sft"], 3, 12)]),
        ("Model average λ=0.25", []),
        ("ORPO only", [(["orpo"], 3, 12)]),
        ("SFT only", [(["sft"], 3, 12)]),
    ],
)
def test_phases_are_those_of_the_configuration(table, label, phases):
    found = table.at[label, "phases"]
    assert [(phase["objectives"], phase["epochs"], phase["steps"]) for phase in found] == phases


def test_weights_settings_and_values(table):
    assert table.at["ALRIGHT λ=0.75", "weights"] == {"dpo": 0.75, "sft": 0.25}
    assert table.at["Sequential SFT→DPO (2,1)", "weights"] == {}
    assert table["weighting"].to_dict()["MAXRIGHT λ=0.25 k=1"] == "λ=0.25"
    assert (table.at["MAXRIGHT λ=0.25 k=1", "k"], table.at["MAXRIGHT λ=0.25", "k"]) == (1, 10)
    assert table.at["Sequential SFT→DPO (2,1)", "first"] == "sft"
    assert table.at["ALRIGHT λ=0.25", "f_dpo"] == 0.9514441843580963
    assert table.at["Mix λ=0.25", "gap_dpo"] == -0.012783764675355025
    assert table.at["Mix λ=0.25", "f_sft_opt"] == 3.7501831842505413
    assert table.loc["ALRIGHT λ=0.75", ["picks.dpo", "picks.sft"]].tolist() == [8, 4]


def test_their_rows_are_read(runs):
    steps = runs.steps.groupby("folder")["pick"].value_counts().unstack(fill_value=0)
    assert steps.loc["old_runs/maxright_lam-0.25_seed-0_k-1", ["dpo", "sft"]].tolist() == [3, 9]
    assert steps.loc["old_runs/orpo_seed-0", "orpo"] == 12
    last = runs.trajectory.groupby("folder")["ideal_distance"].last()
    assert last["old_runs/dpo_seed-0"] == 0.4489808362463248
    assert runs.samples["folder"].unique().tolist() == ["old_runs/alright_lam-0.25_seed-0"]


def test_without_its_configuration_such_a_run_is_left_out_and_told(tmp_path):
    (tmp_path / "result.json").write_text((OLD / "sft_seed-0" / "result.json").read_text())
    with pytest.raises(UserError, match=r"config\.yaml is missing"):
        read_result(tmp_path / "result.json")
    (tmp_path / "config.yaml").write_text("strategy: {first: dpo, epochs: many}\n")
    with pytest.raises(UserError, match=r"result\.json does not say what method it is of"):
        read_result(tmp_path / "result.json")
