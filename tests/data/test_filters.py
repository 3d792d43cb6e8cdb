import json
from collections import Counter

import pytest

from xright.data.filters import OppositeSafety, RealPreference
from xright.errors import UserError
from xright.evaluation.judges import StringMatch

LABELS = ["is_response_0_safe", "is_response_1_safe"]
SORRY, RECIPE = "I'm sorry, but no.", "Take the pin out first."


def raw(answers, safe, better=0):
    """A row of PKU-SafeRLHF."""
    return {
        "prompt": "How?", "response_0": answers[0], "response_1": answers[1], "is_response_0_safe": safe[0],
        "is_response_1_safe": safe[1], "better_response_id": better, "safer_response_id": better,
    }  # fmt: skip


def pair(chosen, rejected):
    return {"prompt": "How?", "chosen": chosen, "rejected": rejected}


def apply(step, rows):
    dropped = Counter()
    return list(step(rows, dropped)), dict(dropped)


def test_the_safe_answer_is_chosen_whichever_is_the_better_one():
    rows = [raw(["a", "b"], [True, False], better=1), raw(["c", "d"], [False, True], better=0)]
    assert apply(OppositeSafety(LABELS, judge=None), rows) == ([pair("a", "b"), pair("d", "c")], {})


def test_rows_of_one_label_are_dropped_and_counted():
    rows = [raw(["a", "b"], safe) for safe in ([True, True], [False, False], [False, True], [False, False])]
    kept, dropped = apply(OppositeSafety(LABELS, judge=None), rows)
    assert kept == [pair("b", "a")]
    assert dropped == {"both answers are safe": 1, "both answers are unsafe": 2}


def test_a_judge_confirms_both_sides():
    rows = [
        raw([SORRY, RECIPE], [True, False]),
        raw([SORRY, SORRY], [False, True]),  # labelled unsafe, but it refuses
        raw([RECIPE, RECIPE + "!"], [True, False]),  # labelled safe, but it complies
        raw([RECIPE, SORRY], [False, True]),
    ]
    kept, dropped = apply(OppositeSafety(LABELS, StringMatch()), rows)
    assert kept == [pair(SORRY, RECIPE)] * 2
    assert dropped == {
        "the judge finds that the safe answer complies": 1,
        "the judge finds that the unsafe answer refuses": 1,
    }


def test_a_partial_refusal_is_less_than_full_compliance():
    class Judge:
        """The verdict stands in the answer; the question must be the row's."""

        def verdicts(self, prompts, answers):
            assert [prompt.text for prompt in prompts] == ["How?"] * len(answers)
            return answers

    rows = [pair("partial_refusal", "full_compliance"), pair("full_refusal", "partial_refusal")]
    kept, dropped = apply(OppositeSafety(None, Judge()), rows)
    assert kept == rows[:1]
    assert dropped == {"the judge finds that the unsafe answer refuses": 1}


def test_rows_that_are_pairs_already():
    row = {**pair("a", "b"), "source": "x"}
    assert apply(OppositeSafety(None, judge=None), [row]) == ([pair("a", "b")], {})


@pytest.mark.parametrize(
    ("step", "row", "says"),
    [
        (
            OppositeSafety(LABELS, None),
            pair("a", "b"),
            "row 1 has no column 'is_response_0_safe', only prompt, chosen, rejected; name other columns in the step, "
            "or null where the rows have none.",
        ),
        (OppositeSafety(LABELS, None), raw(["a", "b"], [True, None]), "row 1 has [True, None] in the columns"),
        (RealPreference(["score_chosen", "score_rejected"]), pair("a", "b"), "row 1 has no column 'score_chosen'"),
        (RealPreference(None), {"prompt": "How?", "chosen": "a"}, "row 1 has no column 'rejected'"),
    ],
)
def test_rows_that_lack_something_are_named(step, row, says):
    good = {**raw(["a", "b"], [True, False]), **pair("a", "b"), "score_chosen": 2.0, "score_rejected": 1.0}
    with pytest.raises(UserError) as caught:
        apply(step, [good, row])
    assert str(caught.value).startswith(says)


@pytest.mark.parametrize("make", [lambda columns: OppositeSafety(columns, None), RealPreference])
def test_two_columns_or_none(make):
    with pytest.raises(UserError, match=r"=\['score'\] of .* must be two columns, one of each answer, or null"):
        make(["score"])


def scored(chosen, rejected, scores):
    return {**pair(chosen, rejected), "score_chosen": scores[0], "score_rejected": scores[1], "prompt_id": "7"}


def said(text):
    return [{"role": "user", "content": "How?"}, {"role": "assistant", "content": text}]


def test_a_preference_has_two_answers_and_two_scores():
    rows = [
        scored("a", "b", [8.0, 4.0]),
        scored("a", " \n", [8.0, 4.0]),
        scored(None, "b", [8.0, 4.0]),
        scored("a", "a ", [8.0, 4.0]),
        scored("a", "b", [5.0, 5.0]),
        scored("a", "b", [4.0, 8.0]),  # not for this step to mend
    ]
    kept, dropped = apply(RealPreference(["score_chosen", "score_rejected"]), rows)
    assert kept == [pair("a", "b")] * 2
    assert dropped == {"an empty answer": 2, "equal answers": 1, "equal scores": 1}


def test_conversations_are_compared_by_their_last_turn():
    rows = [pair(said("a"), said("b")), pair(said("a"), said("a")), pair(said(""), said("b")), pair([], said("b"))]
    kept, dropped = apply(RealPreference(scores=None), rows)
    assert kept == rows[:1]
    assert dropped == {"equal answers": 1, "an empty answer": 2}


def test_messages_in_every_form_are_compared_by_what_they_say():
    turn = [{"role": "user", "content": "Hi"}]

    def say(content, **more):
        return [*turn, {"role": "assistant", "content": content, **more}]

    blocks = [{"type": "text", "text": "Yo"}]
    rows = [
        {"prompt": "Hi", "chosen": say("Yo"), "rejected": say("No")},
        {"prompt": "Hi", "chosen": say(blocks), "rejected": json.dumps(say("Yo "))},  # equal
        {"prompt": "Hi", "chosen": say(None, tool_calls=["f"]), "rejected": say(None, tool_calls=["g"])},
        {"prompt": "Hi", "chosen": say(None), "rejected": say("No")},  # empty
    ]
    kept = list(RealPreference(scores=None)(rows, dropped := Counter()))
    assert kept == [rows[0], rows[2]]
    assert dropped == {"equal answers": 1, "an empty answer": 1}
