import json

import pytest

from xright.config.build import build as instantiate
from xright.data.templates import Template
from xright.errors import UserError
from xright.evaluate import configuration
from xright.evaluation.questions import Questions
from xright.evaluation.subject import Subject
from xright.evaluation.task import mean
from xright.evaluation.winrate import RewardModel, WinRate
from xright.models import build, export, load_tokenizer

# The reward of a text is that of its last word.
REWARDS = {"great": 2.0, "good": 1.0, "fine": 1.0, "bad": -1.0}


@pytest.fixture
def path(constructed, tmp_path):
    return constructed.scorer(tmp_path / "reward", REWARDS)


@pytest.fixture
def words(constructed):
    return constructed.tokenizer(sorted(REWARDS))


def compare(path, words, pairs, **settings):
    given, references = zip(*pairs, strict=True)
    prompts = [f"question {i}" for i in range(len(pairs))]
    return RewardModel(path, "{prompt} {answer}", **settings).compare(prompts, given, references, words)


PAIRS = [  # (model, reference)
    ("very good", "bad"),  # won
    ("great", "so so so so good"),  # won, and much shorter
    ("good", "it is good"),  # tied: equal rewards
    ("fine", "good"),  # tied: equal but for rounding
    ("bad", "good"),  # lost
    ("so so so so bad", "great"),  # lost, and much longer
    ("bad", "fine"),  # lost
    ("Assistant: great", "Assistant: good"),  # won
]


def test_rate_ties_and_lengths_by_hand(path, words):
    result, columns = compare(path, words, PAIRS, epsilon=1e-3, near=0.5)
    assert columns["outcome"] == [1, 1, 0.5, 0.5, 0, 0, 0, 1]
    assert result.metrics["win_rate"] == mean(columns["outcome"], higher_is_better=True)
    assert result.metrics["win_rate"].value == 4 / 8
    # Tokens (model, reference): 2 1 | 1 5 | 1 3 | 1 1 | 1 1 | 5 1 | 1 1 | 1 1; within a half: pairs 1, 4, 5, 7, 8.
    assert result.metrics["win_rate/similar_length"].value == (1 + 0.5 + 0 + 0 + 1) / 5
    assert result.metrics["win_rate/similar_length"].n == result.details["pairs_of_similar_length"] == 5
    details = result.details
    assert (details["wins"], details["ties"], details["losses"]) == (3, 2, 3)
    assert details["mean_tokens"] == {"model": 13 / 8, "reference": 14 / 8}  # the role tag is no part of an answer
    assert details["mean_characters"]["model"] == sum(map(len, [p[0].removeprefix("Assistant: ") for p in PAIRS])) / 8
    assert details["reward_model"] == path
    json.dumps(details)


def test_rewards_differ_as_the_weights_do(path, words):
    """V = 6 (</s>, <unk>, four words): by (w - w') * 6 / sqrt(5)."""
    _, columns = compare(path, words, PAIRS)
    step = 6 / 5**0.5
    differences = [a - b for a, b in zip(columns["reward"], columns["reference_reward"], strict=True)]
    assert differences == pytest.approx([step * d for d in (2, 1, 0, 0, -2, -3, -2, 1)], abs=1e-3)


def test_epsilon_makes_small_differences_ties(path, words):
    """Differences of 1 (times 2.68): pairs 2 and 8; all others are 0, 2 or 3."""
    assert compare(path, words, PAIRS, epsilon=2.7)[1]["outcome"] == [1, 0.5, 0.5, 0.5, 0, 0, 0, 0.5]
    assert compare(path, words, PAIRS, epsilon=100.0)[1]["outcome"] == [0.5] * 8


def test_equal_answers_tie_exactly_whatever_the_batch(real_data, tmp_path, words, family):
    """A random reward model in which neighbours of other lengths would move the last digits."""
    torch_model = family("llama", seed=1)
    from transformers import AutoModelForSequenceClassification

    scorer = AutoModelForSequenceClassification.from_config(torch_model.config.__class__(
        **{**torch_model.config.to_dict(), "num_labels": 1, "id2label": {0: "reward"}}
    ))  # fmt: skip
    scorer.save_pretrained(tmp_path / "random")
    words.save_pretrained(tmp_path / "random")
    pairs = [("good " * n, "good " * n) for n in range(1, 12)]
    result, _ = compare(str(tmp_path / "random"), words, pairs, batch_size=3)
    assert result.details["ties"] == 11


def test_no_pair_of_similar_length_no_second_rate(path, words):
    result, _ = compare(path, words, [("good", "so so so bad")])
    assert list(result.metrics) == ["win_rate"]


def test_a_constructed_model_against_references(constructed, path, tmp_path):
    """It answers red with `great`, green with `good`, blue with `bad`: wins, ties and loses against `good`."""
    model = constructed.echo(tmp_path / "model", {"red": "great", "green": "good", "blue": "bad"})
    rows = [
        {"prompt": f"\n\nHuman: {colour}", "chosen": "Assistant: good"} for colour in ("red", "green", "blue", "red")
    ]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    questions = Questions(str(tmp_path / "prompts.jsonl"), columns={"reference": "chosen"})
    reward = RewardModel(path, "{prompt}Assistant: {answer}")
    task = WinRate(questions, reward, template="raw", max_new_tokens=3)
    task.name = "winrate"
    subject = Subject("constructed", model, tmp_path / "out", Template("plain"), batch_size=2, seed=0)
    task.check(subject)
    result = task.run(subject)
    assert result.metrics["win_rate"].value == (1 + 0.5 + 0 + 1) / 4
    assert subject.template.spec == "plain"  # the subject itself is as it was
    answers = (subject.folder / "evaluation" / "winrate_answers.jsonl").read_text().splitlines()
    assert json.loads(answers[0])["template"] == "raw"
    kept = (subject.folder / "evaluation" / "winrate_rewards.jsonl").read_text().splitlines()
    assert [json.loads(line)["outcome"] for line in kept] == [1.0, 0.5, 0.0, 1.0]
    assert json.loads(kept[0])["reference"] == "Assistant: good"


def test_real_rm_hh_rlhf_prompts_from_the_yaml(real_data, constructed, tmp_path, monkeypatch):
    """472 real transcripts, through a random model; the reward is of the last word, unknown for nearly all."""
    tokenizer = load_tokenizer(str(real_data / "tokenizer_gptneox"))
    init = {
        "model_type": "gpt_neox", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 32, "max_position_embeddings": 2048,
    }  # fmt: skip
    export(build(init, tokenizer, seed=0), tokenizer, tmp_path / "model")
    path = constructed.scorer(tmp_path / "reward", {"it.": 1.0})
    monkeypatch.setenv("XRIGHT_DATA", str(real_data))
    cfg = configuration(["tasks=[winrate]", f"task.winrate.reward_model.path={path}", "task.winrate.prompts.limit=60"])
    task = instantiate(cfg["task"]["winrate"], max_new_tokens=3)
    task.name = "winrate"
    subject = Subject("untrained", str(tmp_path / "model"), tmp_path, Template("plain"), batch_size=16, seed=0)
    task.check(subject)
    result = task.run(subject)
    prompts = task.prompts.prompts(needs=["reference"])
    ends = [prompt.about["reference"].split()[-1] == "it." for prompt in prompts]
    assert len(prompts) == 60
    assert result.details["losses"] == sum(ends)  # these references end with a word of positive reward
    assert result.details["mean_tokens"]["reference"] > 10
    assert prompts[0].text.startswith("\n\nHuman: ")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"epsilon": -1.0}, "epsilon=-1.0 must be a reward >= 0"),
        ({"near": 1.5}, "near=1.5 must be a share in [0, 1)"),
        ({"dtype": "half"}, "dtype='half'"),
        ({"path": "no/such/model-here"}, "no sequence classifier could be loaded from 'no/such/model-here'"),
        ({"path": None}, "path is not given"),
        ({"text": "{prompt}"}, "shows no answer"),
    ],
)
def test_bad_settings(path, settings, says):
    with pytest.raises(UserError) as caught:
        RewardModel(**{"path": path, "text": "{answer}", **settings})
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bad_models_and_references(constructed, path, words, tmp_path):
    two = constructed.scorer(tmp_path / "two", {"good": [1.0, 0.0]}, ["a", "b"])
    with pytest.raises(UserError, match="has the outputs a, b; a reward model has one"):
        RewardModel(two, "{answer}")
    broken = constructed.scorer(tmp_path / "broken", {"good": float("nan")})
    with pytest.raises(UserError, match="gives NaN or infinite rewards"):
        compare(broken, words, [("good", "bad")])
    for row, says in (({"prompt": "a"}, "none for reference"), ({"prompt": "a", "reference": " "}, "is empty")):
        (tmp_path / "rows.jsonl").write_text(json.dumps(row))
        with pytest.raises(UserError, match=says):
            WinRate(Questions(str(tmp_path / "rows.jsonl")), RewardModel(path, "{answer}")).check(None)
