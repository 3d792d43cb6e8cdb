import math
from itertools import accumulate

import pytest

from xright.errors import UserError
from xright.strategies import Mix
from xright.strategies.weights import check_weights, in_words, lam_of


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"dpo": 1, "sft": 3}, {"dpo": 0.25, "sft": 0.75}),
        ({"dpo": 2, "sft": 1, "safety": 1}, {"dpo": 0.5, "sft": 0.25, "safety": 0.25}),
        ({"dpo": 5}, {"dpo": 1.0}),
        ({"dpo": 0, "sft": 4}, {"dpo": 0.0, "sft": 1.0}),
        ({"dpo": 1, "sft": None, "safety": 1}, {"dpo": 0.5, "safety": 0.5}),  # null takes no part
    ],
)
def test_weights_are_shares(given, expected):
    found = check_weights(given)
    assert list(found.items()) == list(expected.items())  # in the order given
    assert all(type(value) is float for value in found.values())


@pytest.mark.parametrize("lam", [0.1, 0.3, 1 / 3, 0.7, 0.9])
def test_a_sum_that_is_1_but_for_rounding_leaves_every_bit(lam):
    given = {"dpo": lam, "sft": 1 - lam}
    assert check_weights(given) == given
    tenths = dict.fromkeys("abcdefghij", 0.1)
    assert [*accumulate(tenths.values())][-1] != 1  # sum() corrects its rounding from Python 3.12 on
    assert check_weights(tenths) == tenths


@pytest.mark.parametrize("value", [-0.01, -math.inf, math.inf, math.nan, "1", True, [1]])
def test_a_weight_that_is_none(value):
    with pytest.raises(UserError, match=r"weights\.sft=.* must be a number >= 0, or null"):
        check_weights({"dpo": 1, "sft": value})


@pytest.mark.parametrize("weights", [{}, None, {"dpo": 0, "sft": 0.0}, {"dpo": None}, {"dpo": 0, "sft": None}])
def test_something_must_count(weights):
    with pytest.raises(UserError, match=r"weights=.* must hold a number > 0 for at least one objective"):
        check_weights(weights)


@pytest.mark.parametrize(
    ("weights", "lam"),
    [
        ({"dpo": 0.25, "sft": 0.75}, 0.25),
        ({"sft": 0.75, "dpo": 0.25}, 0.75),  # of the first
        ({"dpo": 0.25, "sft": 0.75, "safety": None}, 0.25),
        ({"dpo": 0, "sft": 1}, 0),
        ({"dpo": 1, "sft": 3}, None),  # no shares
        ({"dpo": 0.5, "sft": 0.5, "safety": 0.0}, None),
        ({"dpo": 1.0}, None),
        ({}, None),
        (None, None),
    ],
)
def test_lam_is_the_first_of_two(weights, lam):
    assert lam_of(weights) == lam


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({"dpo": 0.25, "sft": 0.75}, "λ=0.25"),
        ({"dpo": 1 / 3, "sft": 2 / 3}, "λ=0.333333"),
        ({"dpo": 0.5, "sft": 0.3, "safety": 0.2}, "dpo=0.5 sft=0.3 safety=0.2"),
        ({"dpo": 0.5, "sft": 0.5, "safety": 0.0}, "dpo=0.5 sft=0.5 safety=0"),
        ({"dpo": 1.0}, "dpo=1"),
        ({}, ""),
    ],
)
def test_in_words(weights, words):
    assert in_words(weights) == words


def test_a_rule_that_takes_weights_holds_shares_and_shows_them():
    selector = Mix({"dpo": 1, "sft": 3, "safety": None})
    assert selector.importance == {"dpo": 0.25, "sft": 0.75}
    assert selector.objectives == ("dpo", "sft")
    assert repr(selector) == "Mix({'dpo': 0.25, 'sft': 0.75})"
