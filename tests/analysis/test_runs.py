import json
import shutil

import pytest

from xright.analysis.read.runs import read_runs
from xright.errors import UserError


def test_one_row_per_run_in_the_order_of_every_table(study):
    table = read_runs([study]).table
    assert list(table["label"]) == [
        "Sequential DPO→SFT (5,1)",
        *("Mix λ=0.25", "Mix λ=0.75", "ALRIGHT λ=0.25", "ALRIGHT λ=0.75"),
        *("MAXRIGHT λ=0.25", "MAXRIGHT λ=0.75"),
    ]
    first = table.iloc[0]
    assert first["folder"] == "runs/demo/strategy=sequential,lam=None,seed=0,Sequential_DPO→SFT_(5,1)"
    assert first["gap_dpo"] == pytest.approx(2.362 - 0.326)
    assert first["behaviour.refuses_harmful"] == 0.0
    assert first["first"] == "dpo"
    assert list(table["variant"].unique()) == ["Sequential DPO→SFT (5,1)", "Mix", "ALRIGHT", "MAXRIGHT"]
    assert table.loc[1, "step_ms"] == pytest.approx(60.0)  # 40 steps in 2.4 s


def test_set_aside_hidden_cached_and_unfinished_are_not_runs(study, make):
    runs_before = len(read_runs([study]).table)
    finished = make("mix", 0.341, 0.113, lam=0.5)
    for name in (".cache/x", "cache/reference/abc", finished.name + ".old-1"):
        shutil.copytree(finished, finished.parent / name)
    waiting = make("orpo", 1.0, 1.0, finished=False, steps=40)
    not_begun = make("sft", 1.0, 1.0, finished=False)
    (not_begun / "trajectory.csv").unlink()
    runs = read_runs([study])
    assert len(runs.table) == runs_before + 1
    last = dict(runs.unfinished[["folder", "step"]].to_numpy())
    assert last[f"runs/demo/{waiting.name}"] == 40
    assert len(last) == 2
    assert last[f"runs/demo/{not_begun.name}"] != last[f"runs/demo/{not_begun.name}"]  # NaN: no evaluation yet


def test_overlapping_folders_count_a_run_once(study):
    assert len(read_runs([study, study / "demo"]).table) == 7
    single = next(path for path in (study / "demo").iterdir() if "mix" in path.name)
    assert len(read_runs([single]).table) == 1


def test_files_are_read_side_by_side_and_may_be_missing(study, make):
    average = make("model_average", 2.06, 0.043, lam=0.5)
    assert not (average / "steps.csv").exists()
    runs = read_runs([study])
    assert runs.steps.groupby("folder").size().unique().tolist() == [40]
    assert runs.steps["folder"].nunique() == 7
    assert set(runs.samples["kind"]) == {"harmful", "look-alike"}
    mixes = runs.only(runs.table["strategy"] == "mix")
    assert set(mixes.trajectory["folder"]) == set(mixes.table["folder"])


def test_what_every_seed_has_leaves_out_a_lam_of_one_seed(make, tmp_path):
    for seed in (0, 1):
        make("mix", 0.4, 0.126, lam=0.5, seed=seed)
        make("alright", 0.4, 0.126, lam=0.5, seed=seed)
    make("alright", 0.4, 0.126, lam=0.25, seed=1)
    runs = read_runs([tmp_path]).of_every_seed()
    assert [*runs.table["label"]] == ["Mix λ=0.5", "Mix λ=0.5", "ALRIGHT λ=0.5", "ALRIGHT λ=0.5"]
    assert {*runs.trajectory["folder"]} == {*runs.table["folder"]} == {*runs.configs}


def test_a_different_configuration_is_another_setting(study, make):
    assert set(read_runs([study]).table["setting"]) == {""}
    make("mix", 0.33, 0.03, lam=0.5, config={"data": {"source": {"conflict": 0.0, "seed": 0}}})
    settings = [setting for setting, _ in read_runs([study]).by_setting()]
    assert settings == ["data.source.conflict=0.0", "data.source.conflict=0.1"]


def test_data_seeds_are_no_setting_but_tell_cells_apart(study, make):
    make("mix", 0.35, 0.1, lam=0.5, config={"data": {"source": {"conflict": 0.1, "seed": 7}}})
    table = read_runs([study]).table
    assert set(table["setting"]) == {""}
    assert set(table["seeds"]) == {"data.source.seed=0", "data.source.seed=7"}


def test_unknown_optima_leave_gaps_empty(make, tmp_path):
    unknown = dict.fromkeys(["f_dpo_opt", "f_sft_opt", "gap_dpo", "gap_sft", "ideal_distance"])
    make("mix", 0.35, 0.1, lam=0.5, **unknown)
    table = read_runs([tmp_path]).table
    assert table["ideal_distance"].isna().all()
    assert table["f_dpo"].tolist() == [0.35]


def test_no_runs_says_what_was_looked_for(tmp_path, make):
    with pytest.raises(UserError, match="There is no folder"):
        read_runs([tmp_path / "nowhere"])
    make("mix", 1.0, 1.0, lam=0.5, finished=False)
    with pytest.raises(UserError, match=r"No finished run \(a folder with result.json\).* but 1 unfinished"):
        read_runs([tmp_path])


def test_a_run_of_three_objectives_has_columns_and_labels_of_three(make, tmp_path):
    weights = {"dpo": 0.5, "sft": 0.3, "safety": 0.2}
    make("alright", 0.426, 0.126, more={"safety": 0.3}, weights=weights, seed=1)
    make("sequential", 0.5, 0.2, more={"safety": 0.4}, epochs=(3, 2, 1))
    runs = read_runs([tmp_path])
    assert [(one.label, one.unit) for one in runs.axes.values()] == [
        ("DPO", "nats per pair"), ("SFT", "nats per token"), ("Safety", "nats per token"),
    ]  # fmt: skip
    sequential, alright = runs.table.to_dict("records")
    assert sequential["variant"] == sequential["label"] == "Sequential DPO→SFT→Safety (3,2,1)"
    assert sequential["front"] == "Sequential DPO→SFT→Safety"
    assert (alright["label"], alright["variant"]) == ("ALRIGHT dpo=0.5 sft=0.3 safety=0.2", "ALRIGHT")
    assert (alright["weighting"], alright["weights"]) == ("dpo=0.5 sft=0.3 safety=0.2", weights)
    assert alright["lam"] != alright["lam"]  # NaN: no one number says it
    gaps = [alright[f"gap_{name}"] for name in runs.axes]
    assert gaps == pytest.approx([0.1, 0.1, 0.1])  # optima .326, .026, .2
    assert alright["ideal_distance"] == pytest.approx(0.03**0.5)
    assert {"f_safety", "gap_safety"} <= set(runs.trajectory)
    assert alright["picks.dpo"] + alright["picks.sft"] + alright["picks.safety"] == 40


def test_a_surrogate_has_columns_and_is_no_axis_nor_another_setting(study, make):
    make("orpo", 0.9, 0.2, surrogate={"orpo": 1.1}, config={"objectives": {"orpo": {"weight": 0.1}}})
    runs = read_runs([study])
    assert ([*runs.objectives], [*runs.axes]) == (["dpo", "sft", "orpo"], ["dpo", "sft"])
    assert set(runs.table["setting"]) == {""}
    orpo = runs.table.iloc[-1]
    assert (orpo["method"], orpo["f_orpo"], orpo["family"]) == ("ORPO only", 1.1, "single")
    joint = runs.only(runs.table["family"] == "joint")
    assert [*joint.objectives] == ["dpo", "sft"]


def test_a_new_rule_stands_behind_the_known_ones_of_its_family(study, make):
    make("tilt", 0.35, 0.1, lam=0.5, method={"name": "Tilt", "variant": "Tilt", "slope": 2})
    make("tilt", 0.35, 0.1, lam=0.25, method={"name": "Tilt", "variant": "Tilt slope=3", "slope": 3})
    table = read_runs([study]).table
    assert table["method"].unique().tolist() == ["Sequential", "Mix", "ALRIGHT", "MAXRIGHT", "Tilt"]
    assert table["variant"].tolist()[-2:] == ["Tilt", "Tilt slope=3"]
    assert table["slope"].tolist()[-2:] == [2, 3]
    assert set(table["family"]) == {"sequential", "joint"}


def test_methods_of_all_families_stand_in_their_order(make, tmp_path):
    make("dpo", 0.3, 1.9)
    make("sft", 2.3, 0.03)
    make("orpo", 0.9, 0.2)
    make("model_average", 1.0, 0.5, lam=0.5)
    make("mix", 0.4, 0.1, lam=0.5)
    make("sequential", 2.0, 0.1, first="sft")
    make("sequential", 2.0, 0.1)
    assert read_runs([tmp_path]).table["label"].tolist() == [
        *("Sequential DPO→SFT (3,3)", "Sequential SFT→DPO (3,3)", "Mix λ=0.5", "Model average λ=0.5"),
        *("ORPO only", "SFT only", "DPO only"),
    ]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("objectives", {}), ("objectives", {"dpo": 3}), ("objectives", {"dpo": {"label": "DPO"}}),
        ("method", "ALRIGHT"), ("method", {"family": "joint"}),
        ("method", {"family": "single", "name": "Only", "variant": "Only", "weights": None, "phases": []}),
        ("method", {"family": "sequential", "name": "S", "variant": "S", "weights": None, "phases": []}),
        ("method", {"family": "joint", "name": "A", "variant": "A", "weights": {"dpo": "much"}, "phases": []}),
    ],
)  # fmt: skip
def test_a_result_that_does_not_say_its_method_is_named(study, make, key, value):
    file = make("mix", 0.35, 0.1, lam=0.5) / "result.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {key: value}))
    runs = read_runs([study])
    assert len(runs.table) == 7
    (reason,) = runs.left_out.values()
    assert "result.json does not say what method it is of" in reason


def test_a_result_without_the_loss_of_one_of_its_objectives_is_named(study, make):
    more = {"safety": {"label": "Safety", "unit": "nats", "surrogate": False}}
    make("mix", 0.35, 0.1, lam=0.5, objectives={"dpo": more["safety"], "sft": more["safety"]} | more)
    (reason,) = read_runs([study]).left_out.values()
    assert "result.json lacks f_safety" in reason
