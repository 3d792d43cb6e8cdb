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


def test_three_each_by_its_weight_in_the_order_given():
    selector = Mix({"safety": 1, "dpo": 3, "sft": 4, "ipo": 0})  # of 8
    assert selector.objectives == ("safety", "dpo", "sft", "ipo")
    for step in range(3):
        assert list(selector.weights(step).items()) == [("safety", 0.125), ("dpo", 0.375), ("sft", 0.5)]


@pytest.mark.parametrize("weight", [-1, "half"])
def test_weights_must_be_numbers_from_0(weight):
    with pytest.raises(UserError, match=r"weights\.sft=.* must be a number >= 0, or null"):
        Mix({"dpo": 1, "sft": weight})
