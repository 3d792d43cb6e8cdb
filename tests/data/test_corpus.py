import pytest

from xright.data.corpus import Corpus, chosen_only, digest, with_reference
from xright.data.prompts import Row
from xright.data.world import World
from xright.errors import UserError

TEMPLATES = dict.fromkeys(("sft", "preference"), "<user> {instruction} <bot> ")


@pytest.fixture(scope="module")
def world():
    return World(
        text_rows=50, sft_rows=40, preference_rows=20, eval_sft_rows=6, eval_preference_rows=5, probes_per_kind=4
    )


@pytest.fixture(scope="module")
def corpus(world):
    return lambda eval_on="heldout", max_length=64: Corpus(world, world.tokenizer(), TEMPLATES, max_length, eval_on)


def test_streams(corpus, world):
    found = corpus()
    assert [len(found.train(stream)) for stream in ("text", "sft", "preference")] == [50, 40, 20]
    assert [len(row.responses) for row in found.train("preference")] == [2] * 20
    row, source = found.train("sft")[3], world.rows("sft", "train")[3]
    decode = world.tokenizer().decode
    assert decode(row.prompt) == f"<user> {source['prompt']} <bot>"
    assert decode(row.responses[0]) == f"{source['response']} <eos>"
    assert found.train("sft") is found.train("sft")  # tokenised once


def test_heldout_rows_are_others(corpus):
    found = corpus()
    assert [len(found.evaluation(stream)) for stream in ("sft", "preference")] == [6, 5]
    for stream in ("sft", "preference"):
        trained = {tuple(row.prompt) for row in found.train(stream)}
        assert not trained & {tuple(row.prompt) for row in found.evaluation(stream)}


def test_train_probe_is_the_first_three_percent_rounded_up(corpus):
    found = corpus("train_probe")
    assert found.evaluation("sft") == found.train("sft")[:2]  # 0.03 · 40 = 1.2
    assert found.evaluation("preference") == found.train("preference")[:1]  # 0.03 · 20 = 0.6


def test_unknown_eval_on(corpus):
    with pytest.raises(UserError, match="eval_on='test' must be heldout or train_probe"):
        corpus("test")


def test_showcase_is_the_sources_own(corpus, world):
    shown = corpus().showcase()
    assert [(prompt["prompt"], prompt["kind"]) for prompt in shown] == [
        (f"<user> {probe.prompt} <bot> ", probe.kind) for probe in world.showcase()
    ]


class Plain:
    """A source without a showcase of its own, as files are."""

    def rows(self, stream, split):
        answers = {"response": "7 ."} if stream == "sft" else {"chosen": "7 .", "rejected": "8 ."}
        return [{"prompt": "what is " + "3 " * n, **answers} for n in (1, 40, 2, 3, 4)]


def test_showcase_of_files_is_the_first_prompts_that_leave_room(world):
    shown = Corpus(Plain(), world.tokenizer(), TEMPLATES, 32, "heldout").showcase()
    assert [prompt["kind"] for prompt in shown] == ["sft"] * 3 + ["preference"] * 3  # the 40 threes leave none
    assert shown[0]["prompt"] == "<user> what is 3  <bot> "


def rows(*ids):
    return [Row(i, [1], ([2, 3], [4])) for i in ids]


def test_digest_covers_ids_in_their_order(corpus):
    assert digest(rows(1, 2)) == digest(rows(1, 2))
    assert len({digest(rows(*ids)) for ids in [(1, 2), (2, 1), (1,), (1, 2, 2), (2**62,), ()]}) == 6
    shorter = corpus(max_length=8).train("sft")
    assert digest(shorter) != digest(corpus().train("sft"))  # truncated: other tokens, other ids


def test_reference_joins_by_id():
    joined = with_reference(rows(7, 5), {5: (-1.0, -2.0), 7: (-3.0, -4.0), 9: (0.0, 0.0)})
    assert [(row.id, row.reference) for row in joined] == [(7, (-3.0, -4.0)), (5, (-1.0, -2.0))]
    with pytest.raises(KeyError, match="5"):
        with_reference(rows(7, 5), {7: (-3.0, -4.0)})


def test_chosen_only():
    (row,) = chosen_only(rows(7))
    assert row == Row(7, [1], ([2, 3],))
