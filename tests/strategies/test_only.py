import pytest

from xright.strategies import Only


@pytest.mark.parametrize("name", ["sft", "dpo", "orpo"])
def test_one_objective_every_step(name):
    selector = Only(name)
    assert [selector.weights(step) for step in range(3)] == [{name: 1.0}] * 3
    assert selector.objectives == (name,)
    assert selector.label == f"{name.upper()} only"
    assert selector.phases(steps_per_epoch=5, epochs=6) == (30,)
