from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xright.data.prompts import Row
from xright.forward.collate import LAYOUTS, collate
from xright.forward.order import chunks
from xright.forward.trie import LEAST

PAD = 9
SFT = [Row(0, [1, 2], ([3],)), Row(1, [4], ([5, 6, 7],))]
PAIRS = [Row(0, [1], ([2, 3], [4]), (-0.5, -1.5)), Row(1, [5], ([6], [7]), (-2.5, -3.5))]


def predictions(batch):
    """(sequence, line, position of the hidden state, token it predicts), one by one."""
    columns = (batch.sequence_N, batch.line_N, batch.position_N, batch.token_N)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def test_padded_rows_of_one_response():
    batch = collate(SFT, PAD)
    assert batch.input_ids_LT.tolist() == [[1, 2, 3, PAD], [4, 5, 6, 7]]
    assert batch.attention_mask_LT.tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]
    assert batch.position_ids_LT is None
    assert batch.branches is None
    assert predictions(batch) == [(0, 0, 1, 3), (1, 1, 0, 5), (1, 1, 1, 6), (1, 1, 2, 7)]
    assert (batch.lengths, batch.responses, batch.n_rows, batch.n_input_tokens) == ((1, 3), 1, 2, 7)
    assert batch.reference_logps_RB is None


def test_padded_pairs_are_laid_out_chosen_first():
    batch = collate(PAIRS, PAD)
    assert batch.input_ids_LT.tolist() == [[1, 2, 3], [5, 6, PAD], [1, 4, PAD], [5, 7, PAD]]
    assert predictions(batch) == [(0, 0, 0, 2), (0, 0, 1, 3), (1, 1, 0, 6), (2, 2, 0, 4), (3, 3, 0, 7)]
    assert batch.reference_logps_RB.tolist() == [[-0.5, -2.5], [-1.5, -3.5]]
    assert (batch.lengths, batch.responses, batch.n_rows, batch.n_input_tokens) == ((2, 1, 1, 1), 2, 2, 9)


def test_packed_rows_of_one_response():
    batch = collate(SFT, PAD, "packed")
    assert batch.input_ids_LT.tolist() == [[4, 5, 6, 7, 1, 2, 3]]  # sorted, the larger first
    assert batch.position_ids_LT.tolist() == [[0, 1, 2, 3, 0, 1, 2]]
    assert batch.attention_mask_LT is None
    assert batch.branches == ((0, 4), (0, 3))
    assert predictions(batch) == [(0, 0, 5, 3), (1, 0, 0, 5), (1, 0, 1, 6), (1, 0, 2, 7)]
    assert (batch.lengths, batch.responses, batch.n_rows, batch.n_input_tokens) == ((1, 3), 1, 2, 7)
    assert batch.reference_logps_RB is None


def test_packed_pairs_share_their_prompt():
    one, other = [1] * LEAST, [5] * LEAST
    rows = [replace(row, prompt=prompt) for row, prompt in zip(PAIRS, (one, other), strict=True)]
    batch, up_to = collate(rows, PAD, "packed"), list(range(LEAST))
    assert batch.input_ids_LT.tolist() == [[*other, 7, 6, *one, 4, 2, 3]]
    # each response goes on from the prompt
    assert batch.position_ids_LT.tolist() == [[*up_to, LEAST, LEAST, *up_to, LEAST, LEAST, LEAST + 1]]
    assert batch.branches == ((0, LEAST + 1), (LEAST, 1), (0, LEAST + 1), (LEAST, 2))
    # both responses of a row are predicted from the prompt's one last token
    last, first = 2 * LEAST + 1, LEAST - 1
    expected = [(0, 0, last, 2), (0, 0, last + 2, 3), (1, 0, first, 6), (2, 0, last, 4), (3, 0, first, 7)]
    assert predictions(batch) == expected
    assert batch.reference_logps_RB.tolist() == [[-0.5, -2.5], [-1.5, -3.5]]
    # tokens of the sequences, so that the count does not depend on the layout
    counts = ((2, 1, 1, 1), 2, 2, 4 * LEAST + 5)
    assert (batch.lengths, batch.responses, batch.n_rows, batch.n_input_tokens) == counts
    assert batch.input_ids_LT.numel() == 2 * LEAST + 5


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_pad_id_in_a_text_is_no_padding(layout):
    batch = collate([Row(0, [PAD], ([PAD, 1, PAD],)), Row(1, [1], ([1],))], PAD, layout)
    assert batch.lengths == (3, 1)
    assert batch.token_N.tolist() == [PAD, 1, PAD, 1]
    if layout == "padded":
        assert batch.attention_mask_LT.sum(dim=1).tolist() == [4, 2]
    else:
        assert batch.input_ids_LT.tolist() == [[PAD, PAD, 1, PAD, 1, 1]]  # the larger first


def test_what_several_sequences_predict_alike_is_asked_once():
    prompt = [1] * LEAST
    batch = collate([Row(0, prompt, ([2, 3], [2, 4])), Row(1, prompt, ([2, 3], [5]))], PAD, "packed")
    asked = list(zip(batch.position_N.tolist(), batch.token_N.tolist(), strict=True))
    assert [asked[index] for index in batch.distinct_M.tolist()] == sorted(set(asked))
    assert [sorted(set(asked))[index] for index in batch.which_N.tolist()] == asked
    assert (len(asked), len(batch.distinct_M)) == (7, 4)  # 2 after the prompt, 3 and 4 after it, 5 after the prompt
    assert collate([Row(0, prompt, ([2, 3], [5]))], PAD, "packed").distinct_M is None


def test_without_a_prompt_the_first_token_is_not_predicted():
    rows = [Row(0, [], ([1, 2, 3], [4, 5])), Row(1, [], ([6], [7, 8]))]
    padded, packed = (collate(rows, PAD, layout) for layout in ("padded", "packed"))
    assert predictions(padded) == [(0, 0, 0, 2), (0, 0, 1, 3), (2, 2, 0, 5), (3, 3, 0, 8)]
    assert packed.input_ids_LT.tolist() == [[7, 8, 6, 4, 5, 1, 2, 3]]
    assert packed.position_ids_LT.tolist() == [[0, 1, 0, 0, 1, 0, 1, 2]]
    assert packed.branches == ((0, 2), (0, 1), (0, 2), (0, 3))
    assert predictions(packed) == [(0, 0, 5, 2), (0, 0, 6, 3), (2, 0, 3, 5), (3, 0, 0, 8)]
    assert padded.lengths == packed.lengths == (2, 0, 1, 1)


def any_rows(responses):
    """Up to five rows of up to six tokens a piece; prompts may be empty, responses not."""
    response = st.lists(st.integers(0, PAD), min_size=1, max_size=6)
    row = st.tuples(st.lists(st.integers(0, PAD), max_size=6), st.tuples(*[response] * responses))
    return st.lists(row, min_size=1, max_size=5).map(lambda rows: [Row(i, *row) for i, row in enumerate(rows)])


@given(st.integers(1, 3).flatmap(any_rows))
@settings(max_examples=150, deadline=None)
def test_both_layouts_name_the_same_tokens(rows):
    """Each prediction: its sequence, its token, and a hidden state on the token before, at that token's position."""
    sequences = [(row.prompt, row.responses[i]) for i in range(len(rows[0].responses)) for row in rows]
    expected = [
        (number, position - 1, (prompt + response)[position - 1], (prompt + response)[position])
        for number, (prompt, response) in enumerate(sequences)
        for position in range(max(len(prompt), 1), len(prompt + response))
    ]
    for layout in LAYOUTS:
        batch = collate(rows, PAD, layout)
        positions = torch.arange(batch.input_ids_LT.shape[1]).expand_as(batch.input_ids_LT)
        positions = positions if layout == "padded" else batch.position_ids_LT
        found = [
            (number, int(positions[line, at]), int(batch.input_ids_LT[line, at]), token)
            for number, line, at, token in predictions(batch)
        ]
        assert found == expected
        counts = [number for number, *_ in expected]
        assert batch.lengths == tuple(counts.count(number) for number in range(len(sequences)))
        assert batch.n_input_tokens == sum(len(prompt + response) for prompt, response in sequences)
        assert (batch.n_rows, batch.responses) == (len(rows), len(rows[0].responses))
        if layout == "padded":
            assert batch.attention_mask_LT.sum() == batch.n_input_tokens


@pytest.mark.parametrize("layout", LAYOUTS)
def test_another_device_gets_every_tensor(layout):
    batch = collate(PAIRS, PAD, layout)
    moved = vars(batch.to(torch.device("meta")))
    for name, value in vars(batch).items():
        if isinstance(value, torch.Tensor):
            assert (moved[name].device.type, moved[name].shape) == ("meta", value.shape), name
        else:
            assert moved[name] == value, name


def test_chunks_hold_every_row_once_longest_first(make_rows):
    rows = make_rows(10, responses=2)
    found = chunks(rows, 4, "padded")
    assert [len(chunk) for chunk in found] == [4, 4, 2]
    assert sorted(row.id for chunk in found for row in chunk) == list(range(10))
    lengths = [len(row.prompt) + max(map(len, row.responses)) for chunk in found for row in chunk]
    assert lengths == sorted(lengths, reverse=True)


def test_packed_chunks_keep_prompts_together_and_the_largest_goes_first():
    """300 is larger than 7, and in bytes as well; a prompt that begins another stands before it."""
    prompts = [[7, 1], [300], [7], [7, 1], [300, 2], [7, 1, 1], []]
    rows = [Row(number, prompt, ([1] * (9 if number == 4 else 2),)) for number, prompt in enumerate(prompts)]
    (whole,) = chunks(rows, 7, "packed")
    assert [row.prompt for row in whole] == sorted(prompts)
    assert [[row.id for row in chunk] for chunk in chunks(rows, 2, "packed")] == [[4], [5, 1], [0, 3], [6, 2]]
