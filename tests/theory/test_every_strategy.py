"""Every yaml in conf/strategy, driven on a convex problem with known optimum: none makes matters worse, and joint
methods end nearer to the ideal point than Sequential."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from xright.config.build import build
from xright.strategies import Schedule
from xright.theory.descent import descend
from xright.theory.objectives import DPO, SFT, Objective, sigmoid, softplus
from xright.theory.problems import Problem

NAMES = sorted(file.stem for file in (Path(__file__).parents[2] / "conf" / "strategy").glob("*.yaml"))
LEFT_OPEN = {
    "only": ["strategy.objective=dpo"],
    "blocks": ["strategy.steps={dpo: 10, sft: 10}"],
    "scheduled_mix": ["strategy.end={dpo: 0.5, sft: 0.5}"],
}
PREFERRED = np.array([1.0, 0.0])  # φ_w − φ_l
DEMONSTRATED = np.array([-0.15, 1.0])  # φ of the target; the other output's is 0. Angle to PREFERRED: 98.5 degrees


class ORPO(Objective):
    """Two outputs, log-odds 2h: −log σ(h) − log σ(2h), h = θᵀ(φ_w − φ_l). Any further objective is added like this."""

    def loss(self, theta):
        h = theta @ PREFERRED
        return softplus(-h) + softplus(-2 * h)

    def gradient(self, theta):
        h = theta @ PREFERRED
        return -(sigmoid(-h) + 2 * sigmoid(-2 * h))[..., None] * PREFERRED

    def hessian(self, theta):
        raise NotImplementedError  # descent does not ask for it


class Method(NamedTuple):
    """average: the weights of the models that it starts from, where it does."""

    schedule: Schedule
    average: Mapping[str, float] | None


@pytest.fixture(scope="module")
def problem() -> Problem:
    """A mild conflict, started where both losses are large; "orpo" has a loss but no place in the ideal distance."""
    dpo = DPO(differences=[PREFERRED], reference=[0.0, 0.0])
    sft = SFT(features=[[DEMONSTRATED, np.zeros(2)]])
    objectives = {"dpo": dpo, "sft": sft, "orpo": ORPO()}
    return Problem(objectives, {"dpo": 0.0, "sft": 0.0}, np.array([-4.0, -4.0]))


@pytest.fixture
def selector(compose):
    def selector(name: str, *overrides: str) -> Method:
        cfg = compose(f"strategy={name}", "seed=3", "optima={dpo: 0.0, sft: 0.0}", *LEFT_OPEN.get(name, ()), *overrides)
        return Method(Schedule.of(build(cfg.strategy)), build(cfg.start).importance)

    return selector


def distance(problem: Problem, method: Method) -> float:
    """Ideal distance after 1,000 steps in all (Sequential: 500 of each)."""
    end = descend(problem, method.schedule, 500, 0.1, epochs=2, average=method.average).theta
    return problem.ideal_distance(end)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "merge"])  # which goes nowhere by itself
def test_no_strategy_ends_farther_from_the_ideal_point_than_it_started(name, problem, selector):
    overrides = ["strategy.epochs=[1,1]"] if name == "sequential" else []
    assert distance(problem, selector(name, *overrides)) < problem.ideal_distance(problem.start)


@pytest.mark.parametrize("lam", [0.25, 0.5, 0.75])
def test_joint_methods_end_nearer_than_sequential_in_either_order(lam, problem, selector):
    both_orders = [selector("sequential", "strategy.epochs=[1,1]", f"strategy.first={name}") for name in ("dpo", "sft")]
    nearest = min(distance(problem, sequential) for sequential in both_orders)
    joint = {name: selector(name, f"lam={lam}") for name in NAMES}
    joint = {name: rule for name, rule in joint.items() if is_joint(rule)}
    assert len(joint) == 20
    far = {name: distance(problem, rule) / nearest for name, rule in joint.items()}
    # MGDA follows the smallest gradient, here that of what is learnt already, and MoCo and MoDo learn to, from unequal
    # weights; PCD puts one objective first; STCH's step on objective i is only w_i as long.
    learnt = set() if lam == 0.5 else {"moco", "modo"}
    assert {name for name, ratio in far.items() if ratio >= 0.95} == {"mgda", "pcd", "stch"} | learnt


def is_joint(method: Method) -> bool:
    """Trains both objectives in one phase."""
    return len(method.schedule.phases) == 1 and {"dpo", "sft"} <= set(method.schedule.objectives)
