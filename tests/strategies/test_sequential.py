import pytest

from xright.errors import UserError
from xright.strategies import Only, Sequential
from xright.theory.problems import NAMES

THREE = ("dpo", "sft", "safety")


def trained(schedule, steps_per_epoch, epochs=99):
    """What each step trains, phase after phase."""
    rules = schedule.steps(steps_per_epoch, epochs)
    return [name for rule, steps in rules for step in range(steps) for name in rule.weights(step)]


@pytest.mark.parametrize(("first", "second"), [("dpo", "sft"), ("sft", "dpo")])
def test_switches_once(first, second):
    selector = Sequential(first, [1, 2], NAMES)
    assert selector.objectives == (first, second)
    assert [steps for _, steps in selector.steps(2, 99)] == [2, 4]  # its own epochs, not the run's
    assert trained(selector, 2) == [first] * 2 + [second] * 4


@pytest.mark.parametrize(
    ("first", "order"),
    [
        ("dpo", ["dpo", "sft", "safety"]),
        ("safety", ["safety", "dpo", "sft"]),  # the others follow in the order of the objectives
        (["sft", "safety"], ["sft", "safety", "dpo"]),
        (["safety", "sft", "dpo"], ["safety", "sft", "dpo"]),
    ],
)
def test_three_in_the_order_asked_for(first, order):
    selector = Sequential(first, [1, 2, 3], THREE)
    assert selector.objectives == tuple(order)
    assert trained(selector, 2) == [order[0]] * 2 + [order[1]] * 4 + [order[2]] * 6


def test_its_phases_are_single_objectives():
    assert all(isinstance(phase.rule, Only) for phase in Sequential("dpo", (3, 3), NAMES).phases)


@pytest.mark.parametrize("epochs", [(3,), (1, 2, 3), (0, 3), (3, -1), (1.5, 2), (True, 1), ("1", 1)])
def test_epochs_must_be_one_whole_number_each(epochs):
    told = r"must be 2 whole numbers >= 1, one each for dpo, sft: '\[T1,T2\]'"
    with pytest.raises(UserError, match=rf"strategy\.epochs=\[.*\] of Sequential {told}\."):
        Sequential("dpo", epochs, NAMES)


def test_three_objectives_ask_for_three_numbers_in_the_order_of_training():
    with pytest.raises(UserError, match=r"must be 3 whole numbers >= 1, one each for sft, dpo, safety: '\[T1,T2,T3\]'"):
        Sequential("sft", (3, 3), THREE)


@pytest.mark.parametrize(("first", "unknown"), [("orpo", "orpo"), (["sft", "orpo"], "orpo"), (None, "None"), (7, "7")])
def test_first_must_be_known(first, unknown):
    told = f"names {unknown}; it must be one of dpo, sft, or several in their order"
    with pytest.raises(UserError, match=rf"strategy\.first=.* of Sequential {told}"):
        Sequential(first, (1, 1), NAMES)
