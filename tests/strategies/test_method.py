"""What a run's method is called, and what `result.json` says of it: one epoch is 10 steps, a run has 6."""

import pytest

from xright.starts import Average, Base
from xright.strategies import ALRIGHT, MAXRIGHT, Mix, Only, Phase, Schedule, Sequential
from xright.strategies.method import method_of

TWO, THREE = {"dpo": 0.25, "sft": 0.75}, {"dpo": 0.5, "sft": 0.3, "safety": 0.2}
OPTIMA = {"dpo": 0.1, "sft": 1.0, "safety": 0.3}


def method(strategy, start=None):
    start = start or Base()
    return method_of(Schedule.of(strategy), 10, 6, start=start.name, start_weights=start.importance)


def phase(rule, objectives, epochs=6):
    return {"rule": rule, "objectives": objectives, "epochs": epochs, "steps": 10 * epochs}


NAMES = ["dpo", "sft"]


@pytest.mark.parametrize(
    ("strategy", "label", "data"),
    [
        (
            ALRIGHT(TWO, 0), "ALRIGHT λ=0.25",
            {"family": "joint", "name": "ALRIGHT", "weights": TWO, "phases": [phase("ALRIGHT", NAMES)]},
        ),
        (
            Mix(THREE), "Mix dpo=0.5 sft=0.3 safety=0.2",
            {"family": "joint", "name": "Mix", "weights": THREE, "phases": [phase("Mix", [*NAMES, "safety"])]},
        ),
        (
            MAXRIGHT(TWO, OPTIMA), "MAXRIGHT λ=0.25",  # the usual k is no news …
            {"family": "joint", "name": "MAXRIGHT", "weights": TWO, "phases": [phase("MAXRIGHT", NAMES)], "k": 10},
        ),
        (
            MAXRIGHT(TWO, OPTIMA, k=1), "MAXRIGHT λ=0.25 k=1",  # … another is
            {
                "family": "joint", "name": "MAXRIGHT", "variant": "MAXRIGHT k=1", "weights": TWO,
                "phases": [phase("MAXRIGHT", NAMES)], "k": 1,
            },
        ),
        (
            MAXRIGHT(THREE, OPTIMA, k=1), "MAXRIGHT dpo=0.5 sft=0.3 safety=0.2 k=1",
            {
                "family": "joint", "name": "MAXRIGHT", "variant": "MAXRIGHT k=1", "weights": THREE,
                "phases": [phase("MAXRIGHT", [*NAMES, "safety"])], "k": 1,
            },
        ),
        (
            Only("dpo"), "DPO only",
            {"family": "single", "name": "DPO only", "weights": None, "phases": [phase("DPO only", ["dpo"])]},
        ),
        (
            Sequential("dpo", (3, 4), NAMES), "Sequential DPO→SFT (3,4)",
            {
                "family": "sequential", "name": "Sequential", "variant": "Sequential DPO→SFT (3,4)", "weights": None,
                "phases": [phase("DPO only", ["dpo"], 3), phase("SFT only", ["sft"], 4)],
            },
        ),
        (
            Sequential(["safety", "dpo"], (1, 2, 3), [*NAMES, "safety"]), "Sequential SAFETY→DPO→SFT (1,2,3)",
            {
                "family": "sequential", "name": "Sequential", "variant": "Sequential SAFETY→DPO→SFT (1,2,3)",
                "weights": None,
                "phases": [
                    phase("SAFETY only", ["safety"], 1), phase("DPO only", ["dpo"], 2), phase("SFT only", ["sft"], 3),
                ],
            },
        ),
        (
            Schedule([Phase(Only("sft"), 1), Phase(MAXRIGHT(TWO, OPTIMA, k=2))]),
            "Schedule SFT→MAXRIGHT λ=0.25 k=2 (1,all)",
            {
                "family": "sequential", "name": "Schedule", "variant": "Schedule SFT→MAXRIGHT λ=0.25 k=2 (1,all)",
                "weights": None, "phases": [phase("SFT only", ["sft"], 1), phase("MAXRIGHT", NAMES)],
            },
        ),
        (  # one phase with a length of its own is the rule, trained for that long
            Schedule([Phase(Mix(TWO), 2)]), "Mix λ=0.25",
            {"family": "joint", "name": "Mix", "weights": TWO, "phases": [phase("Mix", NAMES, 2)]},
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_from_the_base(strategy, label, data):
    found = method(strategy)
    assert found.label == label
    assert found.as_data() == {"start": "base", "variant": data["name"], **data}


def test_a_merge_has_no_phase_and_the_weights_of_its_start():
    found = method(Schedule([]), Average(TWO))
    assert found.label == "Model average λ=0.25"
    assert found.as_data() == {
        "family": "merge", "name": "Model average", "weights": TWO, "phases": [], "start": "Model average",
        "variant": "Model average",
    }  # fmt: skip
    assert method(Schedule([]), Average(THREE)).label == "Model average dpo=0.5 sft=0.3 safety=0.2"


def test_no_phase_from_the_base_is_the_base():
    found = method(Schedule([]))
    assert (found.family, found.label, found.weights) == ("merge", "base", None)


def test_training_from_an_average_says_so():
    found = method(Mix(THREE), Average(TWO))
    assert found.label == "Mix dpo=0.5 sft=0.3 safety=0.2 from Model average λ=0.25"
    assert found.variant == "Mix from Model average λ=0.25"
    assert (found.family, found.weights, found.start) == ("joint", THREE, "Model average")
