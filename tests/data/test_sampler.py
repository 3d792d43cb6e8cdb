from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xright.data.sampler import StepBatches, TokenBatches, TokenBudget
from xright.errors import UserError


def rows_read(sampler):
    return [row for batch in sampler for row in batch]


@settings(deadline=None)
@given(st.data(), st.integers(1, 30), st.integers(0, 5))
def test_every_row_once_per_epoch_and_every_batch_full(data, n_rows, seed):
    batch_size = data.draw(st.integers(1, n_rows))
    steps = 2 * n_rows  # at least two epochs
    sampler = StepBatches("sft", n_rows, batch_size, steps, seed)
    assert [len(batch) for batch in sampler] == [batch_size] * steps == [batch_size] * len(sampler)
    read = rows_read(sampler)
    for start in range(0, len(read) - n_rows + 1, n_rows):
        assert sorted(read[start : start + n_rows]) == list(range(n_rows))


def test_epochs_and_seeds_have_orders_of_their_own():
    read = rows_read(StepBatches("sft", 20, 5, 8, seed=0))
    assert read[:20] != read[20:]
    assert read[:20] != rows_read(StepBatches("sft", 20, 5, 4, seed=1))
    assert read[:20] != list(range(20))


@pytest.mark.parametrize("world_size", [2, 3, 4])
def test_ranks_share_the_global_batch(world_size):
    alone = StepBatches("sft", 11, 4, 9, seed=3)
    ranks = [StepBatches("sft", 11, 4, 9, seed=3) for _ in range(world_size)]
    for rank, sampler in enumerate(ranks):
        sampler.rank, sampler.world_size = rank, world_size
    for whole, *shares in zip(alone, *ranks, strict=True):
        assert sorted(row for share in shares for row in share) == sorted(whole)  # disjoint and complete


@pytest.mark.parametrize("start", [0, 1, 4, 9])
def test_a_later_start_sees_the_same_batches(start):
    whole, resumed = StepBatches("sft", 7, 3, 9, seed=1), StepBatches("sft", 7, 3, 9, seed=1)
    resumed.start = start
    assert list(resumed) == list(whole)[start:]
    assert len(resumed) == 9  # Lightning counts from step 0


def test_a_batch_larger_than_its_stream():
    with pytest.raises(UserError, match=r"preference\.batch_size=8 is larger than the 7 rows"):
        StepBatches("preference", 7, 8, 1, seed=0)


TOKENS = [3, 5, 2, 8, 4, 4, 7, 1, 6, 5, 2]  # of 11 rows, 47 in all


@settings(deadline=None)
@given(st.lists(st.integers(1, 20), min_size=2, max_size=30), st.data(), st.integers(0, 5))
def test_a_step_takes_as_many_rows_as_the_budget_allows(tokens, data, seed):
    budget = data.draw(st.integers(max(tokens), sum(tokens)))
    sampler = TokenBatches("sft", tokens, TokenBudget(budget), 3 * len(tokens), seed)
    batches = list(sampler)
    read = rows_read(sampler)
    for start in range(0, len(read) - len(tokens) + 1, len(tokens)):
        assert sorted(read[start : start + len(tokens)]) == list(range(len(tokens)))  # every row once per epoch
    for batch, after in pairwise(batches):
        assert sum(tokens[row] for row in batch) <= budget < sum(tokens[row] for row in [*batch, after[0]])


@pytest.mark.parametrize("start", [0, 1, 6, 9])
@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_token_budgets_resume_and_are_shared_by_ranks(start, world_size):
    def sampler(rank=0, world_size=1, start=0):
        batches = TokenBatches("sft", TOKENS, TokenBudget(12), 12, seed=3)
        batches.rank, batches.world_size, batches.start = rank, world_size, start
        return batches

    ranks = [sampler(rank, world_size, start) for rank in range(world_size)]
    for whole, *shares in zip(list(sampler())[start:], *ranks, strict=True):
        assert sorted(row for share in shares for row in share) == sorted(whole)


def test_budgets_that_cannot_work():
    with pytest.raises(UserError, match=r"sft\.batch_tokens=7 is less than the 8 tokens"):
        TokenBatches("sft", TOKENS, TokenBudget(7), 1, seed=0)
    with pytest.raises(UserError, match=r"sft\.batch_tokens=48 is more than the 47 tokens"):
        TokenBatches("sft", TOKENS, TokenBudget(48), 1, seed=0)
