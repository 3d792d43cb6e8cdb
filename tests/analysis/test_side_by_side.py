import json

import pytest

from xright.analysis.read.benchmarks import read_benchmarks
from xright.analysis.style import LONGEST
from xright.analysis.text.side_by_side import PROMPTS, read_column, side_by_side
from xright.errors import UserError

MMLU = {"mmlu": {"acc": (0.5, 0.4, 0.6, 100)}}


def test_equal_answers_stand_together_with_what_the_judge_said(evaluate, tmp_path):
    evaluate(tmp_path / "a", MMLU, {"xstest": [("kill a process?", "no"), ("only a answered", "x")]})
    evaluate(tmp_path / "b", MMLU, {"xstest": [("kill a process?", "kill -9")]})
    evaluate(tmp_path / "c", MMLU, {"xstest": [("kill a process?", "no")]})
    verdict = {"id": "0", "prompt": "kill a process?", "answer": "no", "verdict": "full_refusal"}
    (tmp_path / "a" / "evaluation" / "xstest_verdicts.jsonl").write_text(json.dumps(verdict) + "\n")
    benchmarks = read_benchmarks([tmp_path])
    (found,), damaged = side_by_side(benchmarks)
    assert damaged == []
    colours = benchmarks.subjects["colour"]
    assert (found.task, found.prompt) == ("xstest", "kill a process?")
    assert found.answers == [
        ("no", [("a", colours["a"], "full refusal"), ("c", colours["c"], "")]),
        ("kill -9", [("b", colours["b"], "")]),
    ]


@pytest.mark.parametrize(("n", "shown"), [(1, [0]), (3, [0, 1, 2]), (4, [0, 2]), (9, [0, 3, 6]), (100, [0, 34, 68])])
def test_some_prompts_spread_over_all(evaluate, tmp_path, n, shown):
    evaluate(tmp_path / "a", MMLU, {"catqa": [(f"prompt {i}", "answer") for i in range(n)]})
    found, _ = side_by_side(read_benchmarks([tmp_path]))
    assert [one.prompt for one in found] == [f"prompt {i}" for i in shown]
    assert len(found) <= PROMPTS


def test_a_long_answer_is_cut_and_says_so(evaluate, tmp_path):
    evaluate(tmp_path / "a", MMLU, {"catqa": [("prompt", "x" * 2 * LONGEST)]})
    (shown,), _ = side_by_side(read_benchmarks([tmp_path]))
    ((answer, _),) = shown.answers
    assert answer == "x" * LONGEST + " […]"


def test_a_half_written_last_line_is_left_out_and_damage_told(evaluate, tmp_path):
    file = evaluate(tmp_path / "a", MMLU, {"catqa": [("p", "a"), ("q", "b")]}) / "evaluation" / "catqa_answers.jsonl"
    whole = file.read_text()
    file.write_text(whole[:-5])
    assert read_column(file, "answer") == {"p": "a"}
    file.write_text("{\n" + whole)
    shown, (sentence,) = side_by_side(read_benchmarks([tmp_path]))
    assert shown == []
    assert "catqa_answers.jsonl is damaged in line 1 " in sentence
    with pytest.raises(UserError, match=r"catqa_answers\.jsonl is damaged in line 1 "):
        read_column(file, "answer")
