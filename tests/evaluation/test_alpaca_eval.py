import gzip
import json
from pathlib import Path

import pytest

from xright.config.build import build as instantiate
from xright.data.templates import Template
from xright.errors import UserError
from xright.evaluate import configuration
from xright.evaluation.alpaca_eval import AlpacaEval
from xright.evaluation.questions import Questions
from xright.evaluation.subject import Subject
from xright.evaluation.winrate import RewardModel

ROWS = [
    {"dataset": "helpful_base", "instruction": "Say it in red"},
    {"dataset": "koala", "instruction": "Sag's auf „grün“ – bitte\n\tin green"},
    {"dataset": "koala", "instruction": "Say it in blue"},
]


@pytest.fixture
def subject(constructed, tmp_path):
    model = constructed.echo(tmp_path / "model", {"red": "great", "green": "größer", "blue": "bad"})
    return Subject("mine", model, tmp_path / "out", Template("raw"), batch_size=2, seed=0)


@pytest.fixture
def prompts(tmp_path):
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return lambda **settings: Questions(str(tmp_path / "prompts.jsonl"), columns={"prompt": "instruction"}, **settings)


def run(task, subject, name="alpaca_eval"):
    task.name = name
    task.check(subject)
    return task.run(subject)


def test_the_file_is_as_alpaca_eval_wants_it(subject, prompts):
    result = run(AlpacaEval(prompts(), max_new_tokens=3), subject)
    file = subject.folder / "evaluation" / "alpaca_eval_outputs.json"
    outputs = json.loads(file.read_bytes())
    assert outputs == [
        {**row, "output": output, "generator": "mine"}
        for row, output in zip(ROWS, ["great", "größer", "bad"], strict=True)
    ]
    assert result.metrics == {}
    assert result.details["file"] == str(file)
    assert result.details["command"] == f"alpaca_eval --model_outputs {file}"
    assert result.details["datasets"] == {"helpful_base": 1, "koala": 2}


def test_contaminated_prompts_are_left_out(subject, prompts):
    task = AlpacaEval(prompts(without={"dataset": ["helpful_base"]}), generator="other", max_new_tokens=3)
    result = run(task, subject)
    outputs = json.loads(Path(result.details["file"]).read_bytes())
    assert [row["instruction"] for row in outputs] == [row["instruction"] for row in ROWS[1:]]
    assert {row["generator"] for row in outputs} == {"other"}
    with pytest.raises(UserError, match=r"no row of .* has \['helpfulbase'\] in column 'dataset'"):
        AlpacaEval(prompts(without={"dataset": ["helpfulbase"]})).check(subject)


def test_win_rate_over_a_baseline_by_the_reward_model(constructed, subject, prompts, tmp_path):
    """great against good: won; größer against größer: tied; bad against good: lost."""
    reward = RewardModel(constructed.scorer(tmp_path / "reward", {"great": 2.0, "good": 1.0, "bad": -1.0}), "{answer}")
    outputs = ["good", "größer", "good"]
    baseline = [{**row, "output": text, "generator": "b"} for row, text in zip(ROWS, outputs, strict=True)]
    (tmp_path / "baseline.json").write_text(json.dumps(baseline[::-1]))  # in any order
    task = AlpacaEval(prompts(), max_new_tokens=3, baseline=str(tmp_path / "baseline.json"), reward_model=reward)
    assert task.files() == {
        "prompts": str(tmp_path / "prompts.jsonl"), "baseline": str(tmp_path / "baseline.json"),
    }  # fmt: skip
    result = run(task, subject)
    assert result.metrics["win_rate"].value == 0.5
    assert (result.details["wins"], result.details["ties"], result.details["losses"]) == (1, 1, 1)
    assert "command" in result.details
    (tmp_path / "baseline.json").write_text(json.dumps([{**ROWS[0], "output": "good"}]))
    with pytest.raises(UserError, match="has no output for 2 of 3 prompts"):
        task.check(subject)


def test_baseline_and_reward_model_from_the_yaml(constructed, tmp_path, real_data, monkeypatch):
    monkeypatch.setenv("XRIGHT_DATA", str(real_data))
    path = constructed.scorer(tmp_path / "reward", {"great": 2.0})
    cfg = configuration(
        [
            "tasks=[alpaca_eval]", "+judge@task.alpaca_eval.reward_model=reward_model",
            f"task.alpaca_eval.reward_model.path={path}",
            "task.alpaca_eval.baseline=eval/alpaca_eval_outputs_text_davinci_003.jsonl.gz",
            "task.alpaca_eval.prompts.without={dataset: [helpful_base]}",
        ]
    )  # fmt: skip
    task = instantiate(cfg["task"]["alpaca_eval"])
    task.check(None)
    assert len(task._prompts()) == 805 - 129
    assert task.reward_model.classifier.path == path


def test_a_baseline_without_reward_model_and_the_reverse(prompts):
    with pytest.raises(UserError, match="has a baseline but no reward_model"):
        AlpacaEval(prompts(), baseline="b.json")
    with pytest.raises(UserError, match="has a reward_model but no baseline"):
        AlpacaEval(prompts(), reward_model=object())


def real_outputs(folder, name):
    with gzip.open(folder / "eval" / f"alpaca_eval_outputs_{name}.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


@pytest.mark.parametrize("name", ["gpt4_1106_preview", "pythia-12b-mix-sft"])
def test_same_keys_types_order_and_prompts_as_the_real_files(real_data, constructed, tmp_path, monkeypatch, name):
    """The task from its yaml on the 805 real prompts, beside a real file of AlpacaEval's."""
    monkeypatch.setenv("XRIGHT_DATA", str(real_data))
    cfg = configuration(["tasks=[alpaca_eval]"])
    task = instantiate(cfg["task"]["alpaca_eval"], max_new_tokens=2)
    model = constructed.echo(tmp_path / "model", {"Assistant:": "Yes"})
    subject = Subject("mine", model, tmp_path / "out", Template("plain"), batch_size=64, seed=0)
    result = run(task, subject)
    ours = json.loads(Path(result.details["file"]).read_bytes())
    theirs = real_outputs(real_data, name)
    assert len(ours) == len(theirs) == 805
    assert {row["output"] for row in ours} == {"Yes"}
    for our, their in zip(ours, theirs, strict=True):
        assert list(our) == list(their)
        assert all(type(our[key]) is type(their[key]) for key in their)
        assert (our["dataset"], our["instruction"]) == (their["dataset"], their["instruction"])
    assert result.details["datasets"] == {
        "helpful_base": 129, "koala": 156, "oasst": 188, "selfinstruct": 252, "vicuna": 80,
    }  # fmt: skip


def test_alpaca_evals_own_reader_takes_the_file(subject, prompts):
    """Where alpaca_eval is installed: what its command does first with --model_outputs."""
    utils = pytest.importorskip("alpaca_eval.utils")
    result = run(AlpacaEval(prompts(), max_new_tokens=3), subject)
    table = utils.load_or_convert_to_dataframe(result.details["file"])
    assert list(table["output"]) == ["great", "größer", "bad"]
    assert utils.get_generator_name(None, table) == "mine"


def test_real_files_are_baselines(real_data, prompts):
    baseline = "eval/alpaca_eval_outputs_text_davinci_003.jsonl.gz"
    questions = Questions("eval/alpaca_eval_prompts.jsonl", data_dir=str(real_data), columns={"prompt": "instruction"})
    task = AlpacaEval(questions, baseline=baseline, reward_model=object())
    task.check(None)
    first = real_outputs(real_data, "text_davinci_003")[0]
    assert task._references(task._prompts())[0] == first["output"]
