import pytest

from xright.errors import UserError
from xright.strategies import Sequential
from xright.theory.problems import NAMES


@pytest.mark.parametrize(("first", "second"), [("dpo", "sft"), ("sft", "dpo")])
def test_switches_once(first, second):
    selector = Sequential(first, [1, 2], NAMES)
    assert selector.objectives == (first, second)
    assert selector.phases(steps_per_epoch=2, epochs=99) == (2, 4)  # its own epochs, not the run's
    picks = [selector.weights(step) for step in range(6)]
    assert picks == [{first: 1.0}] * 2 + [{second: 1.0}] * 4


def test_never_stops_early():
    assert Sequential("dpo", (3, 3), NAMES).may_stop_early is False


def test_weights_before_phases_is_a_programming_error():
    with pytest.raises(RuntimeError, match="phases"):
        Sequential("dpo", (3, 3), NAMES).weights(0)


@pytest.mark.parametrize("epochs", [(3,), (1, 2, 3), (0, 3), (3, -1), (1.5, 2)])
def test_epochs_must_be_two_whole_numbers(epochs):
    with pytest.raises(UserError, match=r"strategy\.epochs="):
        Sequential("dpo", epochs, NAMES)


def test_first_must_be_known():
    with pytest.raises(UserError, match=r"strategy\.first='orpo'"):
        Sequential("orpo", (1, 1), NAMES)
