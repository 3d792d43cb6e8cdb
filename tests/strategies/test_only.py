import pytest

from xright.strategies import Only, Schedule


@pytest.mark.parametrize("name", ["sft", "dpo", "orpo", "safety"])
def test_one_objective_every_step(name):
    selector = Only(name)
    assert [selector.weights(step) for step in range(3)] == [{name: 1.0}] * 3
    assert selector.objectives == (name,)
    assert selector.name == f"{name.upper()} only"
    assert selector.importance is None  # there is nothing to weigh
    assert Schedule.of(selector).steps(steps_per_epoch=5, epochs=6) == [(selector, 30)]
