"""Rows that are drawn more often than others: by a weight of their own, or by the share of their file."""

import json
from collections import Counter

import numpy as np
import pytest

from xright.data.rows import Row, Rows, chances
from xright.data.sampler import StepBatches, TokenBatches, TokenBudget
from xright.data.sources import Files
from xright.data.stream import streams_of
from xright.data.templates import Template
from xright.data.tokenised import tokenised
from xright.errors import UserError


def sampler(chances_N, batch_size=4, steps=100, seed=0):
    found = StepBatches("sft", len(chances_N), batch_size, steps, seed)
    found.chances_N = np.array(chances_N)
    return found


def test_chances_by_hand():
    drawn = np.array([[2, 0], [1, 0], [1, 1]])
    assert chances(drawn).tolist() == [1.5, 0.75, 0.75]  # of mean 1
    assert chances(drawn, (1, 1)) == pytest.approx([1, 0.5, 1.5])  # half for either file, 2 : 1 within the first


def test_an_epoch_has_each_row_as_often_as_its_chance_says():
    weights = np.array([1.0, 2.5, 0.2, 3.3, 1.0, 4.0])
    expected = weights / weights.mean()
    total = Counter()
    for epoch in range(200):
        found = Counter(sampler(weights).order(epoch).tolist())
        assert all(np.floor(expected[row]) <= found[row] <= np.ceil(expected[row]) for row in range(6))
        total += found
    assert [total[row] / 200 for row in range(6)] == pytest.approx(expected, abs=0.12)


def test_alike_is_every_row_once():
    assert sorted(sampler([2.0] * 7).order(3)) == list(range(7))


def test_steps_are_functions_of_seed_and_step():
    whole = sampler([1, 2, 3, 4, 5])
    late, other = sampler([1, 2, 3, 4, 5]), sampler([1, 2, 3, 4, 5], seed=1)
    late.start = 60
    assert list(late) == list(whole)[60:]
    assert list(other) != list(whole)
    ranks = [sampler([1, 2, 3, 4, 5]) for _ in range(2)]
    for rank, own in enumerate(ranks):
        own.rank, own.world_size = rank, 2
    for batch, *shares in zip(whole, *ranks, strict=True):
        assert sorted(shares[0] + shares[1]) == sorted(batch)


def test_token_budgets_hold():
    tokens = [9, 1, 1, 1, 1, 1]
    found = TokenBatches("sft", tokens, TokenBudget(10), steps=40, seed=0)
    found.chances_N = np.array([0.1, 1, 1, 1, 1, 1])  # most epochs have fewer tokens than a step may
    batches = list(found)
    assert all(0 < sum(tokens[row] for row in batch) <= 10 for batch in batches)
    assert max(map(len, batches)) == 10


@pytest.fixture
def rows(tmp_path, monkeypatch, word_tokenizer):
    """rows(**settings): the training rows of a stream of two files: 6 rows, of which 2 become too long, and 2."""
    monkeypatch.setenv("XRIGHT_CACHE", str(tmp_path / "cache"))
    first = [{"prompt": f"w{i + 1}", "response": "w9 " * (40 if i > 3 else 2), "score": 1 + i} for i in range(6)]
    second = [{"prompt": f"w{i + 20}", "response": "w9 w8", "score": 0.5} for i in range(2)]
    for name, lines in (("a", first), ("b", second)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    def read(split="train", max_length=30, **settings):
        paths = [str(tmp_path / f"{name}.jsonl") for name in "ab"]
        streams = streams_of({"sft": {"kind": "completions", "path": paths, "template": "raw", **settings}})
        source = Files(streams, heldout=0.0 if split == "train" else 0.5)
        templates = {"sft": Template("{instruction} ")}
        return tokenised(source, streams["sft"], split, templates, word_tokenizer, max_length=max_length).rows

    return read


def test_a_blend_holds_for_the_rows_that_are_kept(rows):
    plain, found = rows(max_length=20), rows(blend=[3, 1], max_length=20)
    assert plain.chances_N is None
    assert len(found) == len(plain) == 8  # a long response is cut, and kept
    assert found.chances_N[:6].sum() / found.chances_N.sum() == pytest.approx(0.75)
    assert found.chances_N[6] == found.chances_N[7]


def test_weights_of_rows_and_with_a_blend(rows):
    by_weight = rows(columns={"weight": "score"})
    assert by_weight.chances_N / by_weight.chances_N[0] == pytest.approx([1, 2, 3, 4, 5, 6, 0.5, 0.5])
    both = rows(columns={"weight": "score"}, blend=[1, 1])
    assert both.chances_N[:6].sum() == pytest.approx(both.chances_N[6:].sum())
    assert both.chances_N[5] / both.chances_N[0] == pytest.approx(6)


def test_rows_know_by_their_digest_how_they_are_drawn(rows):
    found = {
        rows().digest,
        rows(blend=[3, 1]).digest,
        rows(blend=[1, 3]).digest,
        rows(columns={"weight": "score"}).digest,
    }
    assert len(found) == 4


def test_evaluation_counts_every_row_alike(rows):
    assert rows("eval", blend=[3, 1]).chances_N is None


def test_chances_go_with_their_rows():
    rows = Rows.of([Row(n, [n], ([n],), drawn=(float(n), 0)) for n in (1, 2, 3)])
    assert rows.chances_N.tolist() == [0.5, 1.0, 1.5]
    assert rows[1:].chances_N.tolist() == rows.chosen_only()[np.array([1, 2])].chances_N.tolist() == [1.0, 1.5]
    assert rows.union(rows).chances_N is None


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"blend": [1]}, r"blend=\[1\] must be a number above 0 for each of several files, and path names 2"),
        ({"blend": [1, 0]}, "above 0"),
        ({"blend": "3,1"}, "above 0"),
        ({"columns": {"weight": "response"}}, r"row 0 of .* has the weight 'w9 w9 '; give a number above 0"),
    ],
)
def test_bad_input(rows, settings, says):
    with pytest.raises(UserError, match=says):
        rows(**settings)
