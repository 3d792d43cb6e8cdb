"""experiments/costs: the arithmetic by hand, the plans as the configuration has them, and a step that is timed."""

import json
from collections import Counter
from dataclasses import replace
from math import isnan
from pathlib import Path

import pytest

from tests.beside import importable
from xright.models import trainable
from xright.objectives import DPO, SFT

LENGTHS = {
    "preference": {"prompt": 6.0, "chosen": 4.0, "rejected": 5.0},
    "sft": {"prompt": 3.0, "response": 7.0},
}


@pytest.fixture(scope="module", autouse=True)
def beside_figure():
    """The experiment's modules can be imported, for as long as these tests run."""
    with importable("costs"):
        yield


@pytest.fixture
def small():
    """Steps per epoch: 100 pairs / 10 = 10 and ⌈205 rows / 20⌉ = 11, so 11; two epochs are 22 steps."""
    from estimate import Experiment, Length, Size, Stream

    streams = {"dpo": Stream(100, 10, Length(3, 2)), "sft": Stream(205, 20, Length(2, 1))}
    return Experiment(
        Size(body=10, trained=1, head=5), streams, chosen=Length(2, 1), epochs=2, eval_every=10, reference="chosen",
        reference_epochs=3,
    )  # fmt: skip


def test_flop_of_a_row():
    from estimate import Length, Size, forward, update

    length = Length(tokens=3, predicted=2)
    assert forward(Size(10, 1, 5), length) == 2 * (10 * 3 + 5 * 2)
    # forward and the inputs' gradient of all, the weights' gradient of one parameter: 2 (10 + 10 + 1) 3 + 2 (5 + 5) 2
    assert update(Size(10, 1, 5), length) == 126 + 40
    assert update(Size(10, 1, 5, checkpointing=True), length) == 126 + 40 + 2 * 10 * 3
    # all trained: the body three times, the head four, since its forward is repeated
    assert update(Size(10, 10, 5, head_trained=True), length) == 3 * 60 + 4 * 20


def test_flop_of_a_step(small):
    from estimate import step

    assert step(small, "dpo") == 10 * 166
    assert step(small, "sft") == 20 * 104  # 2 (21 · 2 + 10 · 1) a row


EVALUATION = 3 * 80 + 7 * 50  # ⌈.03 · 100⌉ pairs and ⌈.03 · 205⌉ rows, forward only


@pytest.mark.parametrize(
    ("cell", "flop"),
    [
        (("alright", 0.25, 10, "dpo", (2,)), 22 * (415 + 1560) + 4 * EVALUATION),  # after steps 1, 10, 20, 22
        (("mix", 0.25, 10, "dpo", (2,)), 22 * (1660 + 2080) + 4 * EVALUATION),
        (("maxright", 0.5, 2, "dpo", (2,)), 22 * (1870 + 450) + 4 * EVALUATION),  # a look: (800 + 1000) / 2, every 2
        (("sequential", 0.5, 10, "sft", (1, 2)), 11 * 2080 + 22 * 1660 + 5 * EVALUATION),
        (("sequential", 0.5, 10, "dpo", (1, 2)), 11 * 1660 + 22 * 2080 + 5 * EVALUATION),
        (("orpo", 0.5, 10, "dpo", (2,)), 22 * 1660 + 4 * EVALUATION),
        (("model_average", 0.5, 10, "dpo", (2,)), EVALUATION),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else None,
)
def test_flop_of_a_run(small, cell, flop):
    from estimate import run

    assert run(small, *cell) == pytest.approx(flop)


def test_a_strategy_without_a_rule_is_an_error(small):
    from estimate import run

    with pytest.raises(ValueError, match="coin"):
        run(small, "coin", 0.5, 10, "dpo", (2,))


def test_flop_of_the_stages(small):
    from estimate import stages

    assert stages(small) == {
        "reference": 3 * 10 * 10 * 104,  # epochs, steps, pairs; the chosen response alone
        "reference_logps": 100 * 80,
        "optimum_dpo": 22 * 1660 + 4 * 3 * 80,
        "optimum_sft": 22 * 2080 + 4 * 7 * 50,
    }
    assert stages(replace(small, reference="sft"))["reference"] == 3 * 11 * 20 * 104


def test_hours():
    from estimate import hours

    assert hours(flop=7.2e12, flop_per_second=1e9) == 2.0


def test_runs_are_those_of_the_heads():
    import plans

    pythia = dict.fromkeys(("alright", "maxright", "mix", "sequential", "model_average"), 5)
    llama = dict.fromkeys(("alright", "maxright", "mix", "sequential"), 3)
    assert {name: Counter(cell.strategy for cell in plans.runs(name)) for name in (plans.STUDY, *plans.NAMES)} == {
        "smollm2_safety": llama,
        "pythia1b_dpo_first": pythia,
        "pythia1b_sft_first": pythia,
        "pythia1b_maxright_ablation": {"maxright": 20},
        "llama3_8b_general_dpo_first": llama,
        "llama3_8b_general_sft_first": llama,
        "llama3_8b_safety": llama,
        "opt1_3b_ultrafeedback": dict.fromkeys(("alright", "maxright", "mix", "sequential", "orpo"), 1),
    }
    cells = list(plans.runs("pythia1b_sft_first"))
    assert plans.Run("alright", 0.01, 10, "dpo", (6,)) in cells
    assert plans.Run("sequential", 0.5, 10, "sft", (5, 1)) in cells
    assert {(cell.k, cell.lam) for cell in plans.runs("pythia1b_maxright_ablation")} == {
        (k, lam) for k in (1, 10, 100, 1000) for lam in (0.01, 0.25, 0.5, 0.75, 0.99)
    }
    assert [cell.epochs for cell in plans.runs("opt1_3b_ultrafeedback")] == [(1,), (1,), (1,), (1, 1), (2,)]


def test_sizes_by_hand():
    import plans
    from estimate import Size

    pythia, llama, opt = (
        plans.size(plans.config(name).model)
        for name in ("pythia1b_dpo_first", "llama3_8b_safety", "opt1_3b_ultrafeedback")
    )
    smollm2 = plans.size(plans.config(plans.STUDY).model)
    layer = 2 * 576**2 + 2 * 576 * 192 + 3 * 576 * 1536
    adapter = 30 * 16 * ((576 + 576) + (576 + 192))  # of q_proj and v_proj
    assert smollm2 == Size(30 * layer + adapter, adapter, 49152 * 576)
    assert smollm2.body - adapter + smollm2.head == pytest.approx(134.5e6, rel=1e-3)  # as published; tied
    adapter = 16 * 32 * (2048 + 3 * 2048)  # layers · r · (in + out) of query_key_value
    assert pythia == Size(16 * 12 * 2048**2 + adapter, adapter, 50304 * 2048)
    layer = 2 * 4096**2 + 2 * 4096 * 1024 + 3 * 4096 * 14336
    adapter = 32 * 16 * ((4096 + 4096) + (4096 + 1024))  # of q_proj and v_proj
    assert llama == Size(32 * layer + adapter, adapter, 128256 * 4096, checkpointing=True)
    assert llama.body + 2 * llama.head == pytest.approx(8.03e9, rel=2e-3)  # as published; embedding and head apart
    assert opt == Size(24 * 12 * 2048**2, 24 * 12 * 2048**2, 50272 * 2048, head_trained=True, checkpointing=True)
    assert opt.body + opt.head == pytest.approx(1.32e9, rel=1e-2)


def test_the_table_counts_shared_stages_once():
    import estimate
    import plans
    from costing import costs

    step = {"tokens": 10, "predicted": 5, "seconds": [5.0], "cpu_seconds": [3.0, 2.0, 9.0], "flop": 6e9}
    slow = step | {"cpu_seconds": [40.0], "flop": 60e9}
    about = {
        "cpu": "a CPU",
        "threads": 1,
        "load": 0.0,
        "versions": dict.fromkeys(("torch", "transformers", "peft"), "1"),
    }
    told = {
        "steps": {plans.STUDY: {"dpo": step, "sft": step}, "pythia1b_dpo_first": {"dpo": slow, "sft": slow}},
        "lengths": dict.fromkeys((plans.STUDY, *plans.NAMES), LENGTHS),
        "about": about,
        "peak_gb": 1,
    }
    rows = costs(told).set_index(["experiment", "method"])
    speed = 12e9 / 6.0  # of the study's model, medians
    checked = rows.loc[("pythia-1b", "step/dpo")]
    assert (checked["seconds_per_step"], checked["foretold_seconds"]) == (40.0, 30.0)
    assert isnan(rows.loc[("SmolLM2-135M", "step/dpo"), "foretold_seconds"])  # it foretells the others
    whole = rows[rows["hours_here"].notna()]
    assert (whole["hours_here"] * 3600 * speed).to_numpy() == pytest.approx(whole["exaflop"].to_numpy() * 1e18)
    assert (whole["hours_gpu"] * estimate.GPU).to_numpy() == pytest.approx(whole["hours_here"].to_numpy() * speed)
    stages = rows.xs("stages", level="method")["exaflop"]
    assert stages["pythia1b_maxright_ablation"] == 0  # all are those of pythia1b_dpo_first
    every = estimate.stages(plans.experiment("pythia1b_sft_first", LENGTHS))
    own = {name: flop for name, flop in every.items() if name != "optimum_sft"}  # π_ref has no part in that one
    assert stages["pythia1b_sft_first"] * 1e18 == pytest.approx(sum(own.values()))
    assert tuple(rows.loc[("llama3_8b_safety", "step/dpo"), ["tokens", "predicted"]]) == (6 + 4 + 5, 4 + 5)
    study = rows.loc[("smollm2_safety", "mix")]
    assert (study["runs"], study["steps"]) == (3, 4 * 32)
    for title, name in plans.ON.items():
        larger = plans.experiment(plans.STUDY, LENGTHS, name)
        assert larger.size == plans.experiment(name, LENGTHS).size
        assert larger.steps == 4 * 32
        expected = 3 * estimate.run(larger, "mix", 0.5, 10, "dpo", (4,))
        assert rows.loc[(f"smollm2_safety, {title}", "mix"), "exaflop"] * 1e18 == pytest.approx(expected)
        assert rows.loc[(f"smollm2_safety, {title}", "stages"), "exaflop"] * 1e18 == pytest.approx(
            sum(estimate.stages(larger).values())  # it shares none
        )
    mix = rows.loc[("pythia1b_dpo_first", "mix")]
    assert (mix["runs"], mix["steps"]) == (5, 6000)
    assert mix["seconds_per_step"] == pytest.approx(mix["hours_here"] * 3600 / 5 / 6000)


def test_the_architecture_is_that_of_the_folder():
    import plans

    folder = Path("models/smollm2")
    if not folder.is_dir():
        pytest.skip("there is no models/smollm2 (make smollm2)")
    config = json.loads((folder / "config.json").read_text())
    own = plans.ARCHITECTURES["models/smollm2"]
    assert own == {key: config[key] for key in own}


def test_a_pair_and_a_row_are_timed(tiny_model):
    import measure

    policy = trainable(tiny_model(), {"r": 0}, gradient_checkpointing=False, seed=0)
    rows = measure.rows_of(LENGTHS, vocabulary=40)
    pair = measure.time_steps(policy, rows["dpo"], DPO(), repetitions=2)
    assert (pair["tokens"], pair["predicted"]) == (6 + 4 + 6 + 5, 4 + 5)  # a prompt of six is too short to be shared
    row = measure.time_steps(policy, rows["sft"], SFT(), repetitions=2)
    assert (row["tokens"], row["predicted"]) == (3 + 7, 7)
    for timed in (pair, row):
        assert len(timed["seconds"]) == len(timed["cpu_seconds"]) == 2
        assert min(timed["seconds"]) > 0
    assert all(parameter.grad is None for parameter in policy.parameters())


@pytest.mark.parametrize("name", ["pythia1b_dpo_first", "opt1_3b_ultrafeedback"])
def test_lengths_of_real_rows(name, real_data, tmp_path, monkeypatch):
    import measure

    monkeypatch.setenv("XRIGHT_CACHE", str(tmp_path))
    found = measure.lengths(name, real_data)
    assert found["preference"].keys() == {"prompt", "chosen", "rejected", "rows"}
    assert all(value > 10 for stream in found.values() for value in stream.values())
    if name == "opt1_3b_ultrafeedback":  # the SFT data are the chosen responses
        assert found["sft"]["response"] == found["preference"]["chosen"]
