"""A run folder that others made, or a disk has damaged, is evaluated: no code of it is run, damage is told."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from xright.config.build import build
from xright.evaluate import main

SMALL = ("debug=fast", "trainer=cpu", "logger=csv", "strategy=mix", "data.source.probes_per_kind=5")


@pytest.fixture(scope="module")
def evaluated(command_line, tmp_path_factory) -> Path:
    """A finished run on the generated world, evaluated."""
    place = tmp_path_factory.mktemp("run")
    done = command_line.run(place, *SMALL, XRIGHT_CACHE=str(place / "cache"))
    assert done.returncode == 0, done.stderr
    run = place / done.stdout.split("\n")[-2]
    assert main([str(run), "tasks=[behaviour]"]) == 0
    return run


@pytest.fixture
def run(evaluated, tmp_path) -> Path:
    """A copy, to be spoilt."""
    return shutil.copytree(evaluated, tmp_path / "run")


def sentence(capsys, *arguments: str) -> str:
    """What a command that must fail says."""
    capsys.readouterr()
    assert main([*arguments]) == 2
    (line,) = [line for line in capsys.readouterr().err.split("\n") if line.startswith("xright: ")]
    return line


def change(run: Path, **settings: dict) -> None:
    file = run / "config.yaml"
    config = yaml.safe_load(file.read_text())
    for key, values in settings.items():
        config[key] |= values
    file.write_text(yaml.safe_dump(config))
    (run / "evaluation.json").unlink()
    shutil.rmtree(run / "evaluation")


def test_a_configuration_names_no_code(run, tmp_path, capsys):
    mark = tmp_path / "mark"
    attack = {"_target_": "pathlib.Path.touch", "_args_": [{"_target_": "pathlib.Path", "_args_": [str(mark)]}]}
    build(attack)
    assert mark.exists()  # the attack is a real one
    mark.unlink()
    change(run, data={"source": attack})
    assert "was not trained on the generated world" in sentence(capsys, str(run), "tasks=[behaviour]")
    assert not mark.exists()


def test_a_configuration_does_not_decide_that_a_model_s_code_is_run(run, tmp_path, capsys, code_of_a_model):
    mark = tmp_path / "mark"
    config = json.loads((run / "model/config.json").read_text())
    config |= {
        "model_type": "theirs",
        "auto_map": {"AutoConfig": "theirs.Config", "AutoModelForCausalLM": "theirs.Model"},
    }
    (run / "model/config.json").write_text(json.dumps(config))
    (run / "model/theirs.py").write_text(code_of_a_model(mark))
    change(run, model={"trust_remote_code": True})
    assert "trust_remote_code=true" in sentence(capsys, str(run), "tasks=[behaviour]")
    assert not mark.exists()
    main([str(run), "tasks=[behaviour]", "trust_remote_code=true"])
    assert mark.exists()  # the attack is a real one


DAMAGED = {  # file: texts that it cannot be used with
    "config.yaml": (
        "a: [",
        "model: 1\ndata: 2\nstrategy: 3\n",
        "{data: {streams: {sft: {template: 7}}}, model: {}, strategy: {}}",
        "{data: {streams: [sft]}, model: {}, strategy: {}}",
        "{data: {a: 1, a.b: 2}, model: {}, strategy: {}}",
        "{data: &data {again: *data}, model: {}, strategy: {}}",
    ),
    "evaluation.json": ("{", "[]", "7", '{"fingerprint": 1, "tasks": []}', "[" * 100_000),
    "evaluation/behaviour_answers.jsonl": ("7\n", "{}\n{}\n", '{"a": 1}\n[1]\n', "[" * 100_000 + "\n"),
    "model/config.json": ("{", "[]"),
    "model/tokenizer.json": ("{", "[]"),
    "model/model.safetensors": ("", "not tensors"),
}


@pytest.mark.parametrize(
    ("file", "text"), [(file, text) for file, texts in DAMAGED.items() for text in (*texts, "\0" * 64 + "\n")]
)
def test_a_damaged_file_is_told_in_a_sentence(file, text, run, capsys):
    (run / file).write_text(text)
    if file != "evaluation.json":
        (run / "evaluation.json").unlink()
    said = sentence(capsys, str(run), "tasks=[behaviour]")
    assert said.endswith(".")
    assert len(said) < 700
    assert file.split("/")[0] in said or "run" in said
