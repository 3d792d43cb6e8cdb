import json

import pytest

from xright.analysis.read.benchmarks import read_benchmarks
from xright.errors import UserError

SCORES = {"mmlu": {"acc": (0.5, 0.4, 0.6, 100)}}


def test_runs_come_first_in_the_order_of_every_table_then_other_models(make, evaluate, tmp_path):
    for strategy, lam in (("maxright", 0.5), ("mix", 0.75), ("mix", 0.25)):
        evaluate(make(strategy, 0.4, 0.1, lam=lam), SCORES)
    evaluate(tmp_path / "runs" / "other" / "pythia", SCORES)
    evaluate(tmp_path / "runs" / "demo.old-1" / "aside", SCORES)  # not looked into
    found = read_benchmarks([tmp_path / "runs"])
    assert list(found.subjects.index) == ["Mix λ=0.25", "Mix λ=0.75", "MAXRIGHT λ=0.5", "pythia"]
    assert found.baseline == "Mix λ=0.25"
    assert found.subjects.at["pythia", "folder"] == "runs/other/pythia"
    looks = found.subjects[["colour", "dash"]].apply(tuple, axis=1)
    assert looks.nunique() == 4
    assert found.subjects["colour"].nunique() == 3  # the two Mix runs share theirs


def test_subjects_of_one_name_are_told_apart_by_seed_or_folder(make, evaluate, tmp_path):
    for seed in (0, 1):
        evaluate(make("mix", 0.4, 0.1, lam=0.5, seed=seed), SCORES)
    for parent in "ab":
        evaluate(tmp_path / "runs" / parent / "model", SCORES)
    names = list(read_benchmarks([tmp_path / "runs"]).subjects.index)
    assert names == ["Mix λ=0.5, seed 0", "Mix λ=0.5, seed 1", "model (runs/a/model)", "model (runs/b/model)"]


def test_what_a_subject_lacks_is_missing_and_details_know_their_task(evaluate, tmp_path):
    categories = {"fraud": {"refused": 3, "n": 4}}
    evaluate(tmp_path / "a", SCORES | {"sorry": {"compliance": (0.2, 0.1, 0.3, 40, False)}})
    evaluate(
        tmp_path / "b", {"sorry": {"compliance": (0.4, 0.3, 0.5, 40, False), "details": {"categories": categories}}}
    )
    found = read_benchmarks([tmp_path / "a", tmp_path / "b"], baseline="b", metrics=["sorry.compliance"])
    assert found.baseline == "b"
    assert found.chosen == ("sorry.compliance",)
    assert list(found.wide()) == ["mmlu.acc", "sorry.compliance"]
    assert found.wide()["mmlu.acc"].isna().tolist() == [False, True]
    assert found.wide("n").loc["a"].tolist() == [100, 40]
    assert list(found.details("categories")) == [("sorry", {"b": categories})]


def test_nothing_evaluated_is_none_unless_something_is_asked_for(make, tmp_path):
    make("mix", 0.4, 0.1, lam=0.5)
    assert read_benchmarks([tmp_path]) is None
    with pytest.raises(UserError, match=r"no evaluation\.json.*xright\.evaluate"):
        read_benchmarks([tmp_path], baseline="Mix λ=0.5")


def test_unknown_baselines_and_metrics_are_told_with_what_there_is(evaluate, tmp_path):
    evaluate(tmp_path / "a", SCORES)
    with pytest.raises(UserError, match=r"no evaluated subject 'b' .* choose of 'a'\."):
        read_benchmarks([tmp_path], baseline="b")
    with pytest.raises(UserError, match=r"no metric 'mmlu' .* choose of mmlu\.acc\."):
        read_benchmarks([tmp_path], metrics=["mmlu"])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda file: "{", "cannot be read"),
        (lambda file: "[]", "is not the evaluation of a subject"),
        (lambda file: json.dumps({**file, "subject": 3}), "names no subject"),
        (lambda file: json.dumps({**file, "tasks": {"mmlu": {}}}), "is not the evaluation of a subject"),
        (lambda file: json.dumps(file).replace("0.4", "NaN"), r"no usable score mmlu\.acc"),
        (lambda file: json.dumps(file).replace("0.4", '"0.4"'), r"no usable score mmlu\.acc"),
        (lambda file: json.dumps(file).replace("true", "null"), r"no usable score mmlu\.acc"),
        (lambda file: json.dumps(file).replace('"n"', '"m"'), r"no usable score mmlu\.acc"),
    ],
)
def test_a_damaged_file_is_told_in_one_sentence_that_names_it(evaluate, tmp_path, change, sentence):
    path = evaluate(tmp_path / "a", SCORES) / "evaluation.json"
    path.write_text(change(json.loads(path.read_text())))
    with pytest.raises(UserError, match=sentence) as told:
        read_benchmarks([tmp_path])
    assert str(path) in str(told.value)
    assert "\n" not in str(told.value)
