"""The paper's experiments: their settings, number by number; that every command they name composes; and each of them
end to end on a model and rows of the same kind (`debug=tiny`)."""

import json
import math
import re
import shlex
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from safetensors import safe_open

from xright.config.folder import CONF
from xright.pipeline.checks import check_config

# arXiv 2410.15483, section 5 and appendix B.
COMMON = {
    "optim.lr": 5e-5, "optim.optimizer._target_": "torch.optim.AdamW", "optim.optimizer.betas": [0.9, 0.95],
    "optim.optimizer.weight_decay": 0.0, "optim.clip": 1.0, "optim.schedule": "constant",
    "objectives.dpo.beta": 0.1, "objectives.dpo.label_smoothing": 0.0, "seed": 42,
    "data.max_length": 2048, "data.source.heldout": 0, "eval_on": "train_probe", "eval_every": 100, "optima": "auto",
    "trainer.accelerator": "gpu", "trainer.precision": "bf16-mixed", "data.streams.sft.template": "plain",
    "callbacks.stop._target_": "xright.callbacks.stop.StoppingRule", "callbacks.stop.epsilon": 1e-4,
}  # fmt: skip
HH = {
    "data.streams.preference.path": "Dahoas/rm-hh-rlhf", "data.streams.sft.path": "vicgalle/alpaca-gpt4",
    "data.streams.preference.template": "raw",
}  # fmt: skip
PYTHIA = {
    **COMMON, **HH, "model.path": "EleutherAI/pythia-1b", "model.gradient_checkpointing": False, "model.lora.r": 32,
    "model.lora.alpha": 32, "model.lora.dropout": 0.0, "model.lora.target_modules": ["query_key_value"], "epochs": 6,
    "data.streams.preference.limit": 8000, "data.streams.sft.limit": 24000, "data.streams.preference.batch_size": 8,
    "data.streams.sft.batch_size": 24,
}  # fmt: skip
LLAMA = {
    **COMMON, "model.path": "meta-llama/Meta-Llama-3-8B", "model.gradient_checkpointing": True, "model.lora.r": 16,
    "model.lora.alpha": 16, "model.lora.dropout": 0.0, "model.lora.target_modules": ["q_proj", "v_proj"], "epochs": 4,
    "data.streams.preference.batch_size": 4, "data.streams.sft.batch_size": 16,
    "data.streams.sft.path": "vicgalle/alpaca-gpt4",
}  # fmt: skip
GENERAL = {**LLAMA, **HH, "data.streams.preference.limit": 6000, "data.streams.sft.limit": 24000}
SETTINGS = {
    "pythia1b_dpo_first": {**PYTHIA, "reference": "chosen"},
    "pythia1b_sft_first": {**PYTHIA, "reference": "sft"},
    "pythia1b_maxright_ablation": {
        **PYTHIA, "reference": "chosen", "strategy._target_": "xright.strategies.MAXRIGHT",
    },
    "llama3_8b_safety": {
        **LLAMA, "reference": "chosen", "data.streams.preference.path.path": "PKU-Alignment/PKU-SafeRLHF",
        "data.streams.preference.path.step._target_": "xright.data.filters.OppositeSafety",
        "data.streams.preference.limit": 5200, "data.streams.sft.limit": 20800,
        "data.streams.preference.template": "plain",
    },
    "llama3_8b_general_dpo_first": {**GENERAL, "reference": "chosen"},
    "llama3_8b_general_sft_first": {**GENERAL, "reference": "sft"},
    "opt1_3b_ultrafeedback": {
        **COMMON, "model.path": "facebook/opt-1.3b", "model.gradient_checkpointing": True, "model.lora.r": 0,
        "reference": "chosen", "optim.lr": 2e-5, "reference_training.lr": 2e-5, "epochs": 1,
        "data.streams.preference.batch_size": 8, "data.streams.sft.batch_size": 8,
        "data.streams.preference.template": "plain",
        "data.streams.sft.columns.response": "chosen",
        "data.streams.preference.path.path": "HuggingFaceH4/ultrafeedback_binarized",
        "data.streams.preference.path.step._target_": "xright.data.filters.RealPreference",
        "data.streams.preference.limit": 36817, "data.streams.sft.limit": 36817,
    },
}  # fmt: skip
PUBLISHED = {  # (f_DPO*, f_SFT*); f_SFT and f_DPO of ALRIGHT, from the largest λ down
    "pythia1b_dpo_first": (
        (0.0647, 1.498), (1.8898, 1.631, 1.5889, 1.5474, 1.4998), (0.0659, 0.1753, 0.3331, 0.5559, 1.0433),
    ),
    "pythia1b_sft_first": (
        (0.0522, 1.498), (1.9052, 1.6325, 1.5878, 1.5462, 1.5171), (0.054, 0.1403, 0.2612, 0.43, 0.6591),
    ),
    "llama3_8b_general_sft_first": ((0.04935, 1.02426), (1.1484, 1.1173, 1.0917), (0.2382, 0.3534, 0.5009)),
}  # fmt: skip
STEPS_PER_EPOCH = {"pythia1b": 1000, "llama3_8b_safety": 1300, "llama3_8b_general": 1500, "opt1_3b": 4603}
PYTHIA_LAMS, LLAMA_LAMS = {0.01, 0.25, 0.5, 0.75, 0.99}, {0.25, 0.5, 0.75}
PYTHIA_EPOCHS, LLAMA_EPOCHS = {(t, 6 - t) for t in range(1, 6)}, {(t, 4 - t) for t in range(1, 4)}


def commands(name):
    """Overrides of every command in an experiment's head; "…" stands for the first one's beginning."""
    lines = (CONF / "experiment" / f"{name}.yaml").read_text().splitlines()
    assert lines[1].startswith(f"# python -m xright.run experiment={name} "), "the launch command comes first"
    found = [line for line in lines if re.match(r"# (python -m xright.run|  … )", line)]
    found = [re.split(r" {3,}\(", line)[0] for line in found]  # a remark in brackets
    found = [line.replace("#   …", f"# python -m xright.run experiment={name}") for line in found]
    return [shlex.split(line)[4:] for line in found]


def cells(command):
    """The jobs that a command starts, each as overrides."""
    parsed = OverridesParser.create().parse_overrides([part for part in command if part != "-m"])
    return [list(cell) for cell in BasicSweeper.split_arguments(parsed, max_batch_size=None)[0]]


def grid(name):
    """{strategy: what its cells sweep over: λ, or the epochs of Sequential}, of all commands."""
    found = {}
    for command in commands(name):
        for cell in cells(command):
            given = dict(override.split("=", 1) for override in cell)
            swept = yaml.safe_load(given.get("lam") or given.get("strategy.epochs") or "null")
            key = given.get("strategy", "maxright"), given.get("strategy.k")
            found.setdefault(key, set()).add(tuple(swept) if isinstance(swept, list) else swept)
    return found


def test_these_are_all():
    files = {file.stem for file in (CONF / "experiment").glob("*.yaml")}
    assert files == {
        *SETTINGS,
        "real_rows",
        "smollm2",
        "smollm2_three",
        "smollm2_safety",
        "smollm2_dpo_first",
        "smollm2_sft_first",
        "smollm2_ultrafeedback",
        "three_objectives",
        "unpaired",
        "memory",
    }  # the last are not the paper's
    assert {file.stem for file in (CONF / "published").glob("*.yaml")} == {*PUBLISHED}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings(name, compose):
    cfg = compose(f"experiment={name}")
    assert cfg.name == name
    plain = OmegaConf.to_container(cfg, resolve=True)
    for key, value in SETTINGS[name].items():
        assert OmegaConf.select(OmegaConf.create(plain), key) == value, key
    per_epoch = {name: math.ceil(stream.limit / stream.batch_size) for name, stream in cfg.data.streams.items()}
    expected = next(steps for start, steps in STEPS_PER_EPOCH.items() if name.startswith(start))
    assert per_epoch == {"sft": expected, "preference": expected}  # neither stream begins anew within an epoch


def test_maxright_looks_every_ten_steps(compose):
    assert compose("experiment=pythia1b_dpo_first", "strategy=maxright").strategy.k == 10


def test_grids():
    for name in ("pythia1b_dpo_first", "pythia1b_sft_first"):
        found = grid(name)
        assert found.pop(("sequential", None)) == PYTHIA_EPOCHS
        assert found == {(s, None): PYTHIA_LAMS for s in ("alright", "maxright", "mix", "model_average")}
    found = grid("pythia1b_maxright_ablation")
    assert found == {("maxright", k): PYTHIA_LAMS for k in ("1", "10", "100", "1000")}
    for name in ("llama3_8b_safety", "llama3_8b_general_dpo_first", "llama3_8b_general_sft_first"):
        found = grid(name)
        assert found.pop(("sequential", None)) == LLAMA_EPOCHS
        assert found == {(s, None): LLAMA_LAMS for s in ("alright", "maxright", "mix")}
    found = grid("opt1_3b_ultrafeedback")
    assert found.pop(("sequential", None)) == {(1, 1)}
    assert found.pop(("orpo", None)) == {None}
    assert found == {(s, None): {0.5} for s in ("alright", "maxright", "mix")}


@pytest.mark.parametrize("name", SETTINGS)
def test_every_command_composes(name, compose):
    for command in commands(name):
        assert len(cells(command)) == 1 or command[-1] == "-m"
        cfg = compose(*cells(command)[-1], "trainer=cpu")  # no GPU here
        assert cfg.callbacks.stop.front in (None, "runs/pythia1b_dpo_first", f"runs/{name}")
        cfg.callbacks.stop.front = None  # those runs are not there yet
        check_config(cfg)
        if "first" in cfg.strategy:
            assert cfg.strategy.first == ("dpo" if cfg.reference == "chosen" and "opt" not in name else "sft")
            assert sum(cfg.strategy.epochs) == (2 if "opt" in name else cfg.epochs)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_papers_numbers_can_be_asked_for(name, compose):
    optima, f_sft, f_dpo = PUBLISHED[name]
    cfg = compose(f"experiment={name}", "trainer=cpu", f"+published={name}")
    check_config(cfg)
    assert (cfg.optima.dpo, cfg.optima.sft) == optima
    assert cfg.callbacks.stop.front == [{"sft": sft, "dpo": dpo} for sft, dpo in zip(f_sft, f_dpo, strict=True)]


@pytest.mark.parametrize("judge", ["causal", "classifier", "phrases", "string_match"])
def test_the_judge_of_the_safety_data(judge, compose):
    cfg = compose("experiment=llama3_8b_safety", f"data.judge={judge}")
    asked = cfg.data.streams.preference.path.step.judge
    assert asked._target_ == yaml.safe_load((CONF / "judge" / f"{judge}.yaml").read_text())["_target_"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A working folder whose stage cache is its own."""
    return tmp_path_factory.mktemp("place")


ARCHITECTURES = {"pythia1b": "gpt_neox", "llama3_8b": "llama", "opt1_3b": "opt"}
FILTERED = {  # what the filter says of the local rows
    "llama3_8b_safety": "the judge finds that the safe answer complies",
    "opt1_3b_ultrafeedback": "782 of 782 rows kept",
}


@pytest.mark.parametrize("name", SETTINGS)
def test_end_to_end(name, place, command_line, real_data):
    environment = {"XRIGHT_DATA": str(real_data), "XRIGHT_CACHE": str(place / "cache")}
    done = command_line.run(place, f"experiment={name}", "+debug=tiny", "logger=csv", **environment)
    assert done.returncode == 0, done.stderr
    folder = place / done.stdout.splitlines()[-1]
    cfg = OmegaConf.load(folder / "config.yaml")
    for key in ("model.gradient_checkpointing", "reference", "eval_on", "data.streams.preference.template", "optima"):
        assert OmegaConf.select(cfg, key) == SETTINGS[name][key], key
    result = json.loads((folder / "result.json").read_text())
    assert all(math.isfinite(result[key]) for key in ("f_dpo", "f_sft", "f_dpo_opt", "f_sft_opt", "ideal_distance"))
    check_stopped(pd.read_csv(folder / "trajectory.csv"), result)
    check_model(folder / "model", name)
    assert FILTERED.get(name, "rows kept") in done.stderr


def check_stopped(trajectory, result):
    """The run ended at the first evaluation that met an optimum, or after its two epochs."""
    met = [
        (row.step, f"{name}_optimum")
        for row in trajectory.itertuples()
        for name in ("dpo", "sft")
        if getattr(row, f"f_{name}") <= result[f"f_{name}_opt"] + 1e-4
    ]
    last = trajectory.iloc[-1]
    assert result["stopped_by"] == (met[0][1] if met else "budget")
    assert last["step"] == met[0][0] if met else last["epoch"] == 2


def check_model(folder, name):
    """What was trained: the paper's modules of the paper's architecture."""
    architecture = next(found for start, found in ARCHITECTURES.items() if name.startswith(start))
    if not SETTINGS[name]["model.lora.r"]:
        assert json.loads((folder / "config.json").read_text())["model_type"] == architecture
        return
    adapter = json.loads((folder / "adapter_config.json").read_text())
    base = Path(adapter["base_model_name_or_path"])
    assert json.loads((base / "config.json").read_text())["model_type"] == architecture
    targets = SETTINGS[name]["model.lora.target_modules"]
    with safe_open(folder / "adapter_model.safetensors", "pt") as file:
        shapes = {key: file.get_slice(key).get_shape() for key in file.keys()}  # noqa: SIM118
        kinds = {file.get_tensor(key).dtype for key in shapes}
    assert {key.split(".")[-3] for key in shapes} == set(targets)
    assert len(shapes) == 2 * 2 * len(targets)  # A and B of two layers
    ranks = {shape[0] if ".lora_A." in key else shape[1] for key, shape in shapes.items()}
    assert ranks == {SETTINGS[name]["model.lora.r"]}
    assert kinds == {torch.float32}  # whatever the frozen weights are in
