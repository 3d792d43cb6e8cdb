"""What every strategy in conf/strategy must hold to, found by its yaml."""

import json
import math
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from xright.config.build import build
from xright.config.settings import complete
from xright.strategies import DWA, STCH, Schedule
from xright.strategies.compared import Compared
from xright.strategies.method import Method, method_of
from xright.strategies.schedule import current

CONF = Path(__file__).parents[2] / "conf"
NAMES = sorted(file.stem for file in (CONF / "strategy").glob("*.yaml"))
ASKED_FOR = {  # what a yaml leaves open
    "only": ["strategy.objective=sft"],
    "blocks": ["strategy.steps={dpo: 3, sft: 4}"],
    "scheduled_mix": ["strategy.end={dpo: 0.9, sft: 0.1}"],
}
ASKED_FOR_OF_THREE = {
    "sequential": ["strategy.epochs=[3,2,1]"],
    "blocks": ["strategy.steps={ipo: 1, dpo: 3, sft: 4}"],
    "scheduled_mix": ["strategy.end={ipo: 0.2, dpo: 0.7, sft: 0.1}"],
}
STEPS_PER_EPOCH, EPOCHS = 10, 6


def test_these_are_all():
    known = {"alright", "maxright", "mix", "sequential", "sft", "dpo", "only", "model_average", "orpo"}
    known |= {"blocks", "constrained", "dwa", "exp3", "famo", "group_dro", "merge", "scheduled_mix", "stch"}
    known |= {"cagrad", "mgda", "moco", "modo", "nash_mtl", "pcd", "pcgrad", "raco", "upgrad"}
    assert set(NAMES) == known


def test_each_has_its_row_in_the_docs():
    page = (CONF.parent / "docs" / "howto" / "rules.md").read_text()
    table = page[page.index("| `strategy=`") : page.index("## Merges")].splitlines()[2:]
    rows = [line.split("|")[1] for line in table if line.startswith("| `")]
    assert {word.strip(" `") for row in rows for word in row.split(",")} == set(NAMES)


@cache
def composed(name: str, *overrides: str) -> DictConfig:
    """The configuration with this strategy."""
    keys = {override.split("=")[0] for override in overrides}
    own = [override for override in ASKED_FOR.get(name, ()) if override.split("=")[0] not in keys]
    given = [f"strategy={name}", "seed=7", *own, *overrides]
    with initialize_config_dir(str(CONF), version_base=None):
        cfg = compose("config", given)
    complete(cfg, given)
    return cfg


TWO = ("lam=0.3", "optima={dpo: 0.05, sft: 1.0}")
THREE = (
    "+objective@objectives.ipo=ipo", "weights={ipo: 0.5, sft: 0.3, dpo: 0.2}", "optima={dpo: 0.05, sft: 1.0, ipo: 0.1}",
)  # fmt: skip


@pytest.fixture(params=[(name, "two") for name in NAMES] + [(name, "three") for name in NAMES], ids="-".join)
def config(request):
    name, number = request.param
    given = TWO if number == "two" else THREE
    if number == "three":
        given += tuple(ASKED_FOR_OF_THREE.get(name, ()))
    return composed(name, *given)


def started(config) -> tuple[Schedule, list]:
    """The schedule, and each phase's rule with its length in steps."""
    schedule = Schedule.of(build(config.strategy))
    return schedule, schedule.steps(STEPS_PER_EPOCH, EPOCHS)


def drive(rules: list, steps: range) -> list[dict[str, float]]:
    """Weights of these steps in the training loop's order, on losses that rise and fall."""

    def loss(name: str, step: int) -> float:
        return 1.5 + math.sin(step * {"dpo": 0.7, "sft": 1.1, "orpo": 0.9, "ipo": 1.3}[name])

    chosen = []
    for step in steps:
        rule, start, _ = current(rules, step)
        if looked := rule.looks(step - start):
            rule.observe({name: loss(name, step) for name in looked})
        if compared := rule.compares(step - start):
            chosen.append(rule.combine(step - start, gramian(compared, step)))
        else:
            chosen.append(rule.weights(step - start))
        rule.observe({name: loss(name, step) for name in compared or chosen[-1]})
        if reviewed := rule.reviews(step - start):
            rule.review({name: 0.9 * loss(name, step + 1) for name in reviewed})
    return chosen


def gramian(names: tuple[str, ...], step: int) -> np.ndarray:
    """Of gradients of different lengths that turn against each other and back."""
    angles = np.array([0.4 * step * (1 + place) for place in range(len(names))])
    gradients = np.stack([np.cos(angles), np.sin(angles), 0.1 * angles]) * np.arange(1, len(names) + 1)
    return gradients.T @ gradients


def method(config) -> Method:
    start = build(config.start)
    schedule = Schedule.of(build(config.strategy))
    return method_of(schedule, STEPS_PER_EPOCH, EPOCHS, start=start.name, start_weights=start.importance)


def test_weights_are_a_convex_combination_of_declared_objectives(config):
    schedule, rules = started(config)
    steps = sum(length for _, length in rules)
    chosen = drive(rules, range(steps))
    for weights in chosen:
        assert min(weights.values()) >= 0
        assert sum(weights.values()) > 0
        if not any(isinstance(rule, Compared | STCH | DWA) for rule, _ in rules):  # whose weights have another sum
            assert sum(weights.values()) == pytest.approx(1)
        assert set(weights) <= set(schedule.objectives)
    assert set().union(*chosen) == set(schedule.objectives)  # each gets its turn
    assert set(schedule.objectives) <= set(config.objectives)
    for rule, length in rules:
        assert all(set(rule.looks(step)) <= set(rule.objectives) for step in range(length))


def test_a_rule_that_takes_weights_is_given_those_of_the_run(config):
    asked = {rule.name: rule.importance for rule, _ in started(config)[1] if rule.importance}
    for weights in (*asked.values(), *filter(None, [build(config.start).importance])):
        assert weights == config.weights
    assert bool(asked) == ("weights" in config.strategy)


def test_ranks_agree(config):
    (_, first), (_, second) = started(config), started(config)
    steps = range(sum(length for _, length in first))
    assert drive(first, steps) == drive(second, steps)


@pytest.mark.parametrize("stop", [1, 17, 30, 31])
def test_a_resumed_run_agrees(config, stop):
    (_, whole), (_, killed), (_, resumed) = started(config), started(config), started(config)
    steps = sum(length for _, length in whole)
    before = drive(killed, range(min(stop, steps)))
    for (rule, _), (other, _) in zip(resumed, killed, strict=True):
        rule.load_state_dict(json.loads(json.dumps(other.state_dict())))  # plain values, fit for a checkpoint
    assert before + drive(resumed, range(min(stop, steps), steps)) == drive(whole, range(steps))


@pytest.mark.parametrize("given", [TWO, THREE], ids=["two", "three"])
def test_labels_tell_strategies_apart(given):
    def fits(name: str) -> tuple[str, ...]:
        return (*given, *(ASKED_FOR_OF_THREE.get(name, ()) if given == THREE else ()))

    methods = {name: method(composed(name, *fits(name))) for name in NAMES if name != "only"}
    assert len({each.label for each in methods.values()}) == len(methods)
    assert all(each.label and each.name for each in methods.values())
    assert method(composed("only", *fits("only"))).label == methods["sft"].label  # two ways to ask for one thing


def test_a_method_is_plain_data(config):
    told = method(config).as_data()
    assert json.loads(json.dumps(told)) == told
    assert told["family"] in ("joint", "sequential", "single", "merge")
