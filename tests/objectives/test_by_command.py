"""Every objective of conf/objective by the command line, in the place of DPO or SFT, and beside them."""

import json
import re
from itertools import chain
from pathlib import Path

import pytest
import yaml

from xright.config.build import build

CONF = Path(__file__).resolve().parents[2] / "conf" / "objective"
OTHERS = sorted(file.stem for file in CONF.glob("*.yaml") if file.stem not in ("dpo", "dpo_embedded", "sft", "orpo"))
PLAIN = ["debug=fast", "trainer=cpu", "threads=1", "strategy=mix", "logger=csv", "callbacks.samples=null"]
REPLACES = {"dft": "sft", "memory": "sft"}  # all others take DPO's place
LABELLED = "{kind: labelled, template: '${data.streams.sft.template}', batch_size: 16}"
ALSO = {
    "kto": [f"+data.streams.labelled={LABELLED}"],
    "memory": [
        "data.streams.memory.opening='<user>'",
        "data.streams.memory.rows=32",
        "data.streams.memory.eval_rows=16",
    ],
}  # what an objective needs besides


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("objectives")


@pytest.fixture(scope="module")
def run(place, command_line):
    """run(*overrides): (result.json, stages that are in the cache of that name)."""

    def run(*overrides, cache="shared"):
        done = command_line.run(place, *PLAIN, f"name={cache}", *overrides, XRIGHT_CACHE=str(place / cache))
        assert done.returncode == 0, done.stderr
        stages = {folder.name for folder in (place / cache).iterdir()}
        return json.loads((place / done.stdout.splitlines()[-1] / "result.json").read_text()), stages

    return run


def known(name):
    """The objective as its yaml makes it."""
    node = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    return build({key: value for key, value in node.items() if key != "defaults"})  # which Hydra reads


@pytest.mark.parametrize("name", OTHERS)
def test_in_the_place_of_another(name, run):
    replaced = REPLACES.get(name, "dpo")
    result, _ = run(f"objective@objectives.{replaced}={name}", *ALSO.get(name, []))
    assert list(result["objectives"]) == ["dpo", "sft"]
    found, objective = result["objectives"][replaced], known(name)
    assert (found["unit"], found["label"], found["steps"]) == (objective.unit, objective.label, 12)
    assert found["f"] >= objective.lower_bound
    assert found["gap"] == pytest.approx(found["f"] - found["optimum"], abs=1e-12)


def test_all_together_under_names_of_their_own(run):
    result, _ = run(*(f"+objective@objectives.{name}={name}" for name in OTHERS), *chain(*ALSO.values()))
    assert list(result["objectives"]) == ["dpo", "sft", *OTHERS]
    for name in OTHERS:
        objective = known(name)
        assert (result["objectives"][name]["unit"], result["objectives"][name]["label"]) == (
            objective.unit, objective.label,
        )  # fmt: skip
        assert result[f"f_{name}"] == result["objectives"][name]["f"] >= objective.lower_bound
    assert result["objectives"]["dpo"]["label"] == "DPO"


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_beside_the_others_under_its_own_name(name, run):
    result, _ = run(f"+objective@objectives.{name}={name}", *ALSO.get(name, []))
    assert list(result["objectives"]) == ["dpo", "sft", name]
    assert result["objectives"][name]["steps"] == 12
    assert (result["objectives"][name]["optimum"] is None) == known(name).surrogate


def test_no_reference_is_trained_or_asked_where_none_is_needed(run):
    free = {"dpo": "simpo", "sft": "dft"}
    _, stages = run(
        *(f"objective@objectives.{replaced}={name}" for replaced, name in free.items()),
        "+objective@objectives.cpo=cpo", cache="free",
    )  # fmt: skip
    assert {"base", "optimum_dpo", "optimum_sft", "optimum_cpo"} <= stages
    assert not stages & {"reference", "reference_logps"}


def test_where_one_is_needed_it_is_asked(run):
    _, stages = run("objective@objectives.dpo=hinge", cache="hinge")
    assert {"reference", "reference_logps"} <= stages


def test_each_is_in_the_index():
    page = (CONF.parents[1] / "docs" / "howto" / "objective.md").read_text()
    indexed = re.findall(r"^\| `(\w+)` \|.*\| (yes|no) \|", page, re.MULTILINE)
    assert sorted(name for name, _ in indexed) == sorted([*OTHERS, "dpo", "orpo", "sft"])
    for name, reference in indexed:
        assert (reference == "yes") == known(name).needs_reference, name
