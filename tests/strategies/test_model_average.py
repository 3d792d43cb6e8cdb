import pytest

from xright.errors import UserError
from xright.strategies import ModelAverage


def test_starts_between_the_optima_and_takes_no_step():
    selector = ModelAverage(lam=0.25)
    assert selector.start() == {"dpo": 0.25, "sft": 0.75}
    assert selector.phases(steps_per_epoch=100, epochs=6) == ()
    assert selector.objectives == ("dpo", "sft")


@pytest.mark.parametrize("lam", [-0.5, 1.5])
def test_lam_must_be_in_the_unit_interval(lam):
    with pytest.raises(UserError, match="lam="):
        ModelAverage(lam)
