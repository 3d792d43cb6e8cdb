"""The trie of a packed line: what it holds, and who attends to whom, on a CPU and as FlexAttention's mask."""

from itertools import chain

import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch._dynamo.testing import CompileCounter
from torch.nn.attention.flex_attention import create_mask, flex_attention

from xright.forward import trie
from xright.forward.attention import by_block, by_branch
from xright.forward.block_mask import BLOCK, block_mask
from xright.forward.rounding import relative, rounding
from xright.forward.trie import LEAST, Branch, pieces, share, spans

CPU = torch.device("cpu")
# Sequences of a few chunks out of a few: equal ones, some that begin others, some that share nothing.
CHUNKS = [[7], [1] * LEAST, [2] * LEAST + [1], [1, 2, 3], [3] * (LEAST - 1), list(range(20))]
SEQUENCES = st.lists(
    st.lists(st.sampled_from(CHUNKS), min_size=1, max_size=5).map(lambda chunks: [*chain.from_iterable(chunks)]),
    min_size=1,
    max_size=9,
)
LEASTS = st.sampled_from([1, LEAST, 10**9])
WINDOWS = st.one_of(st.none(), st.integers(1, 40))


@pytest.fixture(scope="module")
def least():
    """with_least(tokens, sequences): `share`, where a cut must save that many tokens."""

    def with_least(tokens, sequences):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(trie, "LEAST", tokens)
            return share(sequences)

    return with_least


def visible(places, tokens, window=None):
    """(T, T), by definition: in each sequence a token sees itself and the last `window` − 1 before it."""
    mask = torch.zeros(tokens, tokens, dtype=torch.bool)
    for own in places:
        for at, query in enumerate(own):
            mask[query, own[max(0, at + 1 - (window or tokens)) : at + 1]] = True
    return mask


# --- what a line holds -----------------------------------------------------------------------------------------------


def test_rows_of_one_template_by_hand(least):
    one, two, three, four = [9, 9, 9, 1, 1], [9, 9, 9, 2], [9, 9, 9, 1, 5], [4]
    line, branches, places = least(1, [one, two, three, four, two, [9, 9]])
    assert line == [9, 9, 9, 2, 1, 5, 1, 4]  # two, three from 9 9 9 on, one from 9 9 9 1 on, four
    assert branches == (Branch(0, 4), Branch(3, 2), Branch(4, 1), Branch(0, 1))
    assert places == [[0, 1, 2, 4, 6], [0, 1, 2, 3], [0, 1, 2, 4, 5], [7], [0, 1, 2, 3], [0, 1]]
    assert spans(branches) == [[(0, 4)], [(0, 3), (4, 6)], [(0, 3), (4, 5), (6, 7)], [(7, 8)]]
    lengths, of = pieces(branches)
    assert lengths == [3, 1, 1, 1, 1, 1]
    assert of == [[0, 1], [0, 2, 3], [0, 2, 4], [5]]


def test_a_cut_saves_at_least_so_many_tokens():
    """Beyond the cut before it; what is nothing but the beginning of another sequence needs none."""
    begin, more = list(range(10, 10 + LEAST)), list(range(50, 50 + LEAST))
    few = begin[:-1]
    assert share([[*begin, 1], [*begin, 2]])[1] == ((0, LEAST + 1), (LEAST, 1))
    assert share([[*few, 1], [*few, 2]])[1] == ((0, LEAST), (0, LEAST))
    assert share([[*begin, *more, 1], [*begin, *more, 2], [*begin, 1]])[1][1:] == ((2 * LEAST, 1), (LEAST, 1))
    # the second shares all but one token of `more` with the first, which is not worth a cut beyond that of the third
    some = [[*begin, *more[:-1], 3], [*begin, *more[:-1], 2], [*begin, 9]]
    assert share([[*begin, 90], *some])[1] == ((0, LEAST + 1), (LEAST, LEAST), (LEAST, LEAST), (LEAST, 1))
    assert share([begin, begin[:1]])[1:] == (((0, LEAST),), [list(range(LEAST)), [0]])
    assert share([begin, begin])[1] == ((0, LEAST),)


@given(SEQUENCES, LEASTS)
@example([[1] * 40, [1] * 30, [1] * 20, [1] * 20], LEAST)
@example([[1, 2] * 20, [1, 2] * 10 + [3], [2, 1] * 5], LEAST)
def test_a_line_spells_every_sequence_at_its_depth(least, sequences, tokens):
    line, branches, places = least(tokens, sequences)
    positions = [position for shared, own in branches for position in range(shared, shared + own)]
    for sequence, own in zip(sequences, places, strict=True):
        assert [line[place] for place in own] == sequence
        assert [positions[place] for place in own] == list(range(len(sequence)))
    prefixes = {tuple(sequence[:end]) for sequence in sequences for end in range(1, len(sequence) + 1)}
    if tokens == 1:
        assert len(line) == len(prefixes)  # each is computed once
    assert len(prefixes) <= len(line) == len(positions) <= sum(map(len, sequences))
    assert {place for own in places for place in own} == set(range(len(line)))
    paths = [[place for begin, end in path for place in range(begin, end)] for path in spans(branches)]
    assert all(any(own == path[: len(own)] for path in paths) for own in places)
    lengths, of = pieces(branches)
    starts = [sum(lengths[:number]) for number in range(len(lengths))]
    assert paths == [[start + i for p in own for start in [starts[p]] for i in range(lengths[p])] for own in of]


# --- who attends to whom ---------------------------------------------------------------------------------------------


def heads(tokens, key_value_heads=4):
    """query (1, 4, T, 6), key and value (1, K, T, 6), in fp64, with gradients."""
    torch.manual_seed(0)
    sizes = (4, key_value_heads, key_value_heads)
    return [torch.randn(1, size, tokens, 6, dtype=torch.float64, requires_grad=True) for size in sizes]


def test_the_rule_by_hand(least):
    # prompt 0 1, rejected 2, chosen 3 4; alone 5
    line, branches, places = least(1, [[7, 7, 1, 2], [7, 7, 3], [4]])
    assert line == [7, 7, 3, 1, 2, 4]
    seen = [[0], [0, 1], [0, 1, 2], [0, 1, 3], [0, 1, 3, 4], [5]]
    last_two = [[0], [0, 1], [1, 2], [1, 3], [3, 4], [5]]  # 3 follows 1 in its sequence
    for window, expected in ((None, seen), (2, last_two)):
        mask = create_mask(block_mask(branches, window, CPU).mask_mod, 1, 1, 6, 6, "cpu")[0, 0]
        assert [row.nonzero()[:, 0].tolist() for row in mask] == expected
        assert torch.equal(mask, visible(places, 6, window))


@given(SEQUENCES, LEASTS, WINDOWS, st.sampled_from([1, 2, 4]), st.sampled_from([None, 0.3]))
@settings(max_examples=50, deadline=None)
def test_branch_by_branch_is_masked_attention(least, sequences, tokens, window, key_value_heads, scale):
    line, branches, places = least(tokens, sequences)
    inputs = heads(len(line), key_value_heads)
    mask, grouped = visible(places, len(line), window), {"scale": scale, "enable_gqa": key_value_heads < 4}
    expected = F.scaled_dot_product_attention(*inputs, attn_mask=mask, **grouped).transpose(1, 2)
    found = by_branch(*inputs, branches, scale, window)
    assert found.is_contiguous()
    torch.testing.assert_close(found, expected)
    upstream = torch.randn_like(expected)
    for ours, theirs in zip(*(torch.autograd.grad(out, inputs, upstream) for out in (found, expected)), strict=True):
        torch.testing.assert_close(ours, theirs)


@given(SEQUENCES, LEASTS, WINDOWS)
@settings(max_examples=50, deadline=None)
def test_flex_attentions_mask_is_the_same_rule(least, sequences, tokens, window):
    line, branches, places = least(tokens, sequences)
    mask = block_mask(branches, window, CPU)
    seen = visible(places, len(line), window)
    assert mask.seq_lengths == (len(line), len(line))
    assert torch.equal(create_mask(mask.mask_mod, 1, 1, len(line), len(line), "cpu")[0, 0], seen)


LONG = [
    [*[1] * 300, *[2] * 90], [*[1] * 300, *[2] * 20, *[3] * 300], [*[1] * 30, *[4] * 150], [5] * 7,
    *([*[6] * 140, number] for number in range(150)),
]  # fmt: skip


def listed(blocks, indices):
    """(N, N): the blocks of keys that are listed for each block of queries."""
    blocks, indices = blocks[0, 0].tolist(), indices[0, 0].tolist()
    found = torch.zeros(len(blocks), len(blocks), dtype=torch.bool)
    for row, (count, which) in enumerate(zip(blocks, indices, strict=True)):
        found[row, which[:count]] = True
    return found


@pytest.mark.parametrize("window", [None, 50, 170, 400])
@pytest.mark.parametrize("sequences", [LONG, LONG[:3], [[1] * 1024], [[1] * 100], [[1] * 1000, [2] * 900]])
def test_blocks_of_the_mask(sequences, window):
    """Listed are all with a visible pair, and as full only such as are; without a window no others."""
    line, branches, places = share(sequences)
    mask = block_mask(branches, window, CPU)
    size = -(-len(line) // BLOCK)
    seen = F.pad(visible(places, len(line), window), (0, size * BLOCK - len(line)) * 2)
    blocks = seen.view(size, BLOCK, size, BLOCK)
    some, full = blocks.any(3).any(1), blocks.all(3).all(1)
    listed_some = listed(mask.kv_num_blocks, mask.kv_indices)
    listed_full = listed(mask.full_kv_num_blocks, mask.full_kv_indices)
    assert not (listed_some & listed_full).any()
    assert torch.equal(listed_full, full)
    found = listed_some | listed_full
    assert not (some & ~found).any()
    assert found.sum() <= some.sum() * (1 if window is None else 1.6)
    transposed = listed(mask.q_num_blocks, mask.q_indices), listed(mask.full_q_num_blocks, mask.full_q_indices)
    assert torch.equal(transposed[0], listed_some.T)  # for the backward
    assert torch.equal(transposed[1], listed_full.T)
    assert block_mask(branches, window, CPU) is mask  # built once for all layers


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("window", [None, 6])
def test_flex_attentions_forward(window):
    """All that a CPU can do of it: it has no backward there."""
    line, branches, _ = share([[*[1] * 12, 2, 3], [*[1] * 12, 4], [*[5] * 150, 1], [*[5] * 150, 2]])
    query, key, value = (tensor.detach() for tensor in heads(len(line), key_value_heads=2))
    expected = by_branch(query, key, value, branches, window=window)
    torch.testing.assert_close(by_block(query, key, value, branches, window=window), expected)
    query, key, value = query.float(), key.float(), value.bfloat16()  # as they come from a model under autocast
    with torch.autocast("cpu", torch.bfloat16):
        found = by_block(query, key, value, branches, window=window)
    assert found.dtype == torch.bfloat16
    assert relative(found, expected) <= rounding(torch.bfloat16, layers=1, width=6)


def test_a_new_line_each_step_compiles_nothing_anew():
    """One graph for lines of any length and branching; on a GPU each more would cost some ten seconds."""
    counted = CompileCounter()
    kernel = torch.compile(flex_attention, backend=counted, dynamic=True)
    for tokens in (
        700,
        450,
        129,
        300,
    ):  # 9 blocks first: what is equal then is taken to stay so
        _, branches, _ = share([[*[1] * tokens, 2, 3], [*[1] * tokens, 4], [5] * (tokens // 2)])
        query, key, value = (tensor.detach() for tensor in heads(sum(own for _, own in branches), key_value_heads=2))
        by_block(query, key, value, branches, kernel=kernel)
    assert counted.frame_count == 1
