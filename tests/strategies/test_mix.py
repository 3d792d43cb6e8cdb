import pytest

from xright.errors import UserError
from xright.strategies import Mix
from xright.theory.problems import trade_off


@pytest.mark.parametrize(
    ("lam", "expected"),
    [(0.25, {"dpo": 0.25, "sft": 0.75}), (0.5, {"dpo": 0.5, "sft": 0.5}), (0, {"sft": 1.0}), (1, {"dpo": 1.0})],
)
def test_lam_weighs_dpo_and_what_weighs_nothing_is_absent(lam, expected):
    assert all(Mix(trade_off(lam)).weights(step) == expected for step in range(3))


@pytest.mark.parametrize("lam", [-1, 2, "half"])
def test_lam_must_be_in_the_unit_interval(lam):
    with pytest.raises(UserError, match="lam="):
        Mix(trade_off(lam))
