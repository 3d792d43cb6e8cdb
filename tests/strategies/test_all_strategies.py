"""What every strategy in conf/strategy must hold to, found by its yaml."""

import json
import math
from functools import cache
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from xright.build import build
from xright.strategies import Selector

CONF = Path(__file__).parents[2] / "conf"
NAMES = sorted(file.stem for file in (CONF / "strategy").glob("*.yaml"))
STEPS_PER_EPOCH, EPOCHS = 10, 6


def test_these_are_all():
    assert set(NAMES) == {"alright", "maxright", "mix", "sequential", "sft", "dpo", "model_average", "orpo"}


@cache
def composed(name: str) -> DictConfig:
    """The configuration with this strategy."""
    with initialize_config_dir(str(CONF), version_base=None):
        return compose("config", [f"strategy={name}", "lam=0.3", "seed=7", "run.optima={dpo: 0.05, sft: 1.0}"])


@pytest.fixture(params=NAMES)
def config(request):
    return composed(request.param)


def started(config) -> tuple[Selector, int]:
    """A selector that knows its phases, and how many steps they have."""
    selector = build(config.strategy)
    return selector, sum(selector.phases(STEPS_PER_EPOCH, EPOCHS))


def drive(selector: Selector, steps: range) -> list[dict[str, float]]:
    """Weights of these steps in the training loop's order, on losses that rise and fall."""

    def loss(name: str, step: int) -> float:
        return 1.5 + math.sin(step * {"dpo": 0.7, "sft": 1.1, "orpo": 0.9}[name])

    chosen = []
    for step in steps:
        if looked := selector.looks(step):
            selector.observe({name: loss(name, step) for name in looked})
        chosen.append(selector.weights(step))
        selector.observe({name: loss(name, step) for name in chosen[-1]})
    return chosen


def test_weights_are_a_convex_combination_of_declared_objectives(config):
    selector, steps = started(config)
    chosen = drive(selector, range(steps)) or [selector.start()]  # a strategy without steps averages models
    for weights in chosen:
        assert min(weights.values()) >= 0
        assert sum(weights.values()) == pytest.approx(1)
        assert set(weights) <= set(selector.objectives)
    assert set().union(*chosen) == set(selector.objectives)  # each gets its turn
    assert set(selector.objectives) <= set(config.objectives)
    assert all(set(selector.looks(step)) <= set(selector.objectives) for step in range(steps))


def test_ranks_agree(config):
    (first, steps), (second, _) = started(config), started(config)
    assert drive(first, range(steps)) == drive(second, range(steps))


@pytest.mark.parametrize("stop", [1, 17, 30, 31])
def test_a_resumed_run_agrees(config, stop):
    (whole, steps), (killed, _), (resumed, _) = started(config), started(config), started(config)
    before = drive(killed, range(min(stop, steps)))
    resumed.load_state_dict(json.loads(json.dumps(killed.state_dict())))  # plain values, fit for a checkpoint
    assert before + drive(resumed, range(stop, steps)) == drive(whole, range(steps))


def test_labels_tell_strategies_apart():
    labels = {build(composed(name).strategy).label for name in NAMES}
    assert len(labels) == len(NAMES)
    assert all(labels)
