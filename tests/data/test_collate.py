import pytest

from xright.data.collate import collate, length_sorted_chunks
from xright.data.prompts import Row

PAD = 9


def test_one_response_per_row():
    batch = collate([Row(0, [1, 2], ([3],)), Row(1, [4], ([5, 6, 7],))], PAD)
    assert batch.input_ids_ST.tolist() == [[1, 2, 3, PAD], [4, 5, 6, 7]]
    assert batch.attention_mask_ST.tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]
    assert batch.response_mask_ST.int().tolist() == [[0, 0, 1, 0], [0, 1, 1, 1]]
    assert (batch.responses, batch.n_rows, batch.n_tokens, batch.n_input_tokens) == (1, 2, 4, 7)
    assert batch.reference_logps_RB is None


def test_pairs_are_laid_out_chosen_first():
    rows = [Row(0, [1], ([2, 3], [4]), (-0.5, -1.5)), Row(1, [5], ([6], [7]), (-2.5, -3.5))]
    batch = collate(rows, PAD)
    assert batch.input_ids_ST.tolist() == [[1, 2, 3], [5, 6, PAD], [1, 4, PAD], [5, 7, PAD]]
    assert batch.response_mask_ST.int().tolist() == [[0, 1, 1], [0, 1, 0], [0, 1, 0], [0, 1, 0]]
    assert batch.reference_logps_RB.tolist() == [[-0.5, -2.5], [-1.5, -3.5]]
    assert (batch.responses, batch.n_rows, batch.n_tokens) == (2, 2, 5)


def test_the_pad_id_in_a_text_is_no_padding():
    batch = collate([Row(0, [PAD], ([PAD, 1, PAD],)), Row(1, [1], ([1],))], PAD)
    assert batch.attention_mask_ST.sum(dim=1).tolist() == [4, 2]
    assert batch.response_mask_ST.sum(dim=1).tolist() == [3, 1]


def test_without_a_prompt_the_first_token_is_not_predicted():
    batch = collate([Row(0, [], ([1, 2, 3],))], PAD)
    assert batch.response_mask_ST.int().tolist() == [[0, 1, 1]]
    assert batch.n_tokens == 2


@pytest.mark.parametrize("responses", [1, 2])
def test_counts_are_what_the_masks_say(make_rows, responses):
    batch = collate(make_rows(7, responses), PAD)
    assert batch.n_tokens == int(batch.response_mask_ST.sum())
    assert batch.n_input_tokens == int(batch.attention_mask_ST.sum())


def test_chunks_hold_every_row_once_longest_first(make_rows):
    rows = make_rows(10, responses=2)
    chunks = length_sorted_chunks(rows, 4)
    assert [len(chunk) for chunk in chunks] == [4, 4, 2]
    assert sorted(row.id for chunk in chunks for row in chunk) == list(range(10))
    lengths = [len(row.prompt) + max(map(len, row.responses)) for chunk in chunks for row in chunk]
    assert lengths == sorted(lengths, reverse=True)
