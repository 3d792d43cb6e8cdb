import pickle
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from xright.data.rows import Row, Rows, starts
from xright.data.tokenised import read, write

IDS = st.integers(0, 2**63 - 1)
TOKENS = st.lists(st.integers(0, 2**31 - 1), max_size=6)


@st.composite
def lists_of_rows(draw):
    """Up to eight rows of one or two responses, with reference log-probs or without."""
    responses, known = draw(st.integers(1, 2)), draw(st.booleans())
    reference = st.tuples(*[st.floats(-1e6, 0)] * responses) if known else st.none()
    row = st.builds(Row, IDS, TOKENS, st.tuples(*[TOKENS] * responses), reference)
    return draw(st.lists(row, max_size=8))


@pytest.fixture
def stored(tmp_path):
    """stored(rows): the same rows, in a memory-mapped file."""

    def stored(rows, name="rows"):
        (tmp_path / name).mkdir()
        write(tmp_path / name, [rows[:2], [], rows[2:]])
        return read(tmp_path / name, len(rows))

    return stored


@settings(deadline=None)
@given(lists_of_rows(), st.data())
def test_behaves_as_the_list_it_is_made_of(expected, data):
    rows = Rows.of(expected)
    assert len(rows) == len(expected)
    assert list(rows) == expected
    assert list(reversed(rows)) == expected[::-1]
    assert rows == expected
    index = data.draw(st.integers(-10, 10))
    if -len(expected) <= index < len(expected):
        assert rows[index] == rows[np.int64(index)] == expected[index]
        assert expected[index] in rows
        assert rows.index(expected[index]) == expected.index(expected[index])
    else:
        with pytest.raises(IndexError):
            rows[index]
    part = data.draw(st.slices(len(expected)))
    assert list(rows[part]) == expected[part]
    assert rows[part] == Rows.of(expected[part])
    again = data.draw(st.slices(len(expected[part])))
    assert list(rows[part][again]) == expected[part][again]
    picks = data.draw(st.lists(st.integers(0, len(expected) - 1))) if expected else []
    assert list(rows[np.array(picks, dtype=int)]) == [expected[pick] for pick in picks]
    assert (rows == expected[1:]) == (expected == [])


@given(lists_of_rows())
def test_lengths_are_known_without_the_tokens(expected):
    rows = Rows.of(expected)
    lengths = [[len(row.prompt), *map(len, row.responses)] for row in expected]
    assert rows.lengths_NS.tolist() == lengths
    assert rows[::-1].lengths_NS.tolist() == lengths[::-1]


def pairs(*ids):
    return [Row(i, [1, i % 100], ([2, 3], [4])) for i in ids]


def test_stored_rows_are_the_same_and_mapped(stored):
    expected = pairs(5, 3, 2**63 - 1, 8)
    rows = stored(expected)
    assert rows == expected
    assert isinstance(rows.tokens[0], np.memmap)
    assert rows[1:].tokens[0] is rows.tokens[0]


def test_digest_is_of_the_ids_in_their_order():
    assert Rows.of(pairs(1, 2)).digest == Rows.of(pairs(1, 2)).digest
    assert len({Rows.of(pairs(*ids)).digest for ids in [(1, 2), (2, 1), (1,), (1, 2, 2), (2**62,), ()]}) == 6
    assert Rows.of(pairs(1, 2, 3))[1:].digest == Rows.of(pairs(2, 3)).digest
    # sha256 of 8 big-endian bytes per id: stages are named by it, so it may never change
    assert Rows.of(pairs(1, 2**62)).digest == "2303dc3f18a0ec95"


def test_chosen_only():
    rows = Rows.of([Row(7, [1], ([2, 3], [4]), (-1.0, -2.0)), Row(8, [], ([5], [6]), (-3.0, -4.0))])
    assert list(rows.chosen_only()) == [Row(7, [1], ([2, 3],), (-1.0,)), Row(8, [], ([5],), (-3.0,))]
    assert list(Rows.of(pairs(7)).chosen_only()) == [Row(7, [1, 7], ([2, 3],))]


def test_reference_joins_by_id(stored):
    table = np.array([5, 7, 9]), np.array([[-1, -2], [-3, -4], [0, 0]], dtype=np.float32)
    for rows in (Rows.of(pairs(7, 5, 7)), stored(pairs(7, 5, 7))):
        joined = rows.with_reference(*table)
        assert [(row.id, row.reference) for row in joined] == [(7, (-3.0, -4.0)), (5, (-1.0, -2.0)), (7, (-3.0, -4.0))]
        assert joined.tokens[0] is rows.tokens[0]
        assert [row.reference for row in joined[1:]] == [(-1.0, -2.0), (-3.0, -4.0)]
    shuffled = table[0][[2, 0, 1]], table[1][[2, 0, 1]]
    assert Rows.of(pairs(7, 5)).with_reference(*shuffled) == Rows.of(pairs(7, 5)).with_reference(*table)


@pytest.mark.parametrize("absent", [4, 6, 10])  # below, between and above those of the table
def test_a_row_without_reference_is_named(absent):
    with pytest.raises(KeyError, match=f"^{absent}$"):
        Rows.of(pairs(7, absent)).with_reference(np.array([5, 7, 9]), np.zeros((3, 2)))


def test_union_has_each_id_once_in_order_of_appearance(stored):
    one, other = stored(pairs(4, 2, 4), "one"), stored(pairs(9, 2, 1), "other")
    both = one[1:].union(other)
    assert list(both) == pairs(2, 4, 9, 1)
    assert [part is own for part, own in zip(both.tokens, (one.tokens[0], other.tokens[0]), strict=True)] == [True] * 2
    assert list(both.union(Rows.of(pairs(7)))) == pairs(2, 4, 9, 1, 7)
    assert both.digest == Rows.of(pairs(2, 4, 9, 1)).digest


def test_pickles_by_the_name_of_the_file(stored):
    expected = [Row(i, [1] * 1000, ([2] * 1000,)) for i in range(500)]
    rows = stored(expected)[100:]
    content = pickle.dumps(rows)
    assert len(content) < 20_000  # 400 rows · (8 + 2 · (8 + 4)) bytes; the tokens are 4 MB
    assert pickle.loads(content) == expected[100:]
    made = Rows.of(expected[:3])
    assert pickle.loads(pickle.dumps(made)) == made


def test_loader_processes_read_the_same_rows(stored):
    expected = pairs(*range(20))
    loader = DataLoader(stored(expected), batch_size=6, collate_fn=list, num_workers=2)
    assert [row for batch in loader for row in batch] == expected


def test_a_hundred_thousand_rows_are_small(tmp_path):
    """200 tokens a row: as Python lists 100,000 · 200 · 8 bytes = 160 MB of pointers alone, before any number."""
    n = 100_000
    lengths_NS = np.full((n, 2), 100, dtype=np.int32)
    np.arange(200 * n, dtype="<i4").tofile(tmp_path / "tokens.bin")
    np.save(tmp_path / "ids.npy", np.arange(n))
    np.save(tmp_path / "lengths.npy", lengths_NS)
    tracemalloc.start()
    rows = read(tmp_path, n)
    total = sum(row.responses[0][0] for row in rows[::50])
    view, _ = rows[: n // 2].chosen_only(), rows.digest
    size, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert total == sum(range(100, 200 * n, 50 * 200))
    assert len(view) == n // 2
    assert size < 4e6  # 8 bytes for the id, 8 and 4 for start and length of two sequences; slices share them
    assert peak < 8e6
    assert starts(lengths_NS[:3]).tolist() == [[0, 100], [200, 300], [400, 500]]
