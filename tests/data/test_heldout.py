import random

from xright.data.heldout import capped, position, split

ROWS = [{"prompt": f"question {i % 500}", "response": str(i)} for i in range(1000)]  # every prompt twice


def test_no_prompt_on_both_sides_and_no_row_lost():
    train, held_out = split(ROWS, 0.2, seed=0)
    assert not {row["prompt"] for row in train} & {row["prompt"] for row in held_out}
    assert sorted(int(row["response"]) for row in [*train, *held_out]) == list(range(1000))
    assert 140 <= len(held_out) <= 260  # 200 expected, standard deviation 2 sqrt(500 * .2 * .8) = 18


def test_row_order_does_not_matter():
    shuffled = random.Random(1).sample(ROWS, len(ROWS))
    key = lambda row: int(row["response"])  # noqa: E731
    assert sorted(split(shuffled, 0.2, 0)[1], key=key) == sorted(split(ROWS, 0.2, 0)[1], key=key)


def test_seed_moves_the_split_and_more_heldout_only_adds():
    one = {row["prompt"] for row in split(ROWS, 0.2, seed=0)[1]}
    other = {row["prompt"] for row in split(ROWS, 0.2, seed=1)[1]}
    assert one != other
    assert one < {row["prompt"] for row in split(ROWS, 0.3, seed=0)[1]}


def test_heldout_zero_keeps_everything_for_training():
    assert split(ROWS, 0.0, seed=0) == (ROWS, [])


def test_one_question_as_text_and_as_message_falls_on_one_side():
    message = [{"role": "user", "content": "What  is\n2 + 2?"}]
    assert position("What is 2 + 2?", 3) == position(message, 3)


def test_cap_takes_the_lowest_positions_in_row_order():
    rows = ROWS[:50]
    lowest = sorted(position(row["prompt"], 0) for row in rows)[:10]
    kept = capped(rows, 10, seed=0)
    assert [row for row in rows if position(row["prompt"], 0) <= lowest[-1]] == kept
    assert capped(rows, None, seed=0) == rows
    assert capped(rows, 99, seed=0) == rows
