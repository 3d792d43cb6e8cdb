import random

import numpy as np

from xright.data.heldout import capped, position, split

PROMPTS = [f"question {i % 500}" for i in range(1000)]  # every prompt twice


def u(prompts, seed=0):
    return np.array([position(prompt, seed) for prompt in prompts])


def held_out(prompts, heldout, seed=0):
    return [prompts[i] for i in split(u(prompts, seed), heldout)[1]]


def test_no_prompt_on_both_sides_and_no_row_lost():
    train, out = split(u(PROMPTS), 0.2)
    assert not {PROMPTS[i] for i in train} & {PROMPTS[i] for i in out}
    assert sorted([*train, *out]) == list(range(1000))
    assert 140 <= len(out) <= 260  # 200 expected, standard deviation 2 sqrt(500 * .2 * .8) = 18
    assert (np.diff(train) > 0).all()
    assert (np.diff(out) > 0).all()


def test_row_order_does_not_matter():
    shuffled = random.Random(1).sample(PROMPTS, len(PROMPTS))
    assert sorted(held_out(shuffled, 0.2)) == sorted(held_out(PROMPTS, 0.2))


def test_seed_moves_the_split_and_more_heldout_only_adds():
    one = set(held_out(PROMPTS, 0.2, seed=0))
    assert one != set(held_out(PROMPTS, 0.2, seed=1))
    assert one < set(held_out(PROMPTS, 0.3, seed=0))


def test_heldout_zero_keeps_everything_for_training():
    train, out = split(u(PROMPTS), 0.0)
    assert (list(train), list(out)) == (list(range(1000)), [])


def test_positions_are_what_they_always_were():
    """A split that moved would train on rows that other runs were evaluated on."""
    assert (position("question 0", 0), position("question 0", 7)) == (0.17092665727757506, 0.23912763793023373)


def test_one_question_as_text_and_as_message_falls_on_one_side():
    message = [{"role": "user", "content": "What  is\n2 + 2?"}]
    assert position("What is 2 + 2?", 3) == position(message, 3)


def test_cap_takes_the_lowest_positions_in_row_order():
    u_N = np.array([0.5, 0.1, 0.9, 0.1, 0.3])
    assert list(capped(u_N, 2)) == [1, 3]
    assert list(capped(u_N, 1)) == [1]  # of equal ones the first
    assert list(capped(u_N, 4)) == [0, 1, 3, 4]
    assert list(capped(u_N, None)) == list(capped(u_N, 99)) == [0, 1, 2, 3, 4]
