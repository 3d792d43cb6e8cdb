"""experiments/real_model: the contests for the win rates, and what their judge learns and is tested on."""

import json
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import load_file
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from tests.beside import importable
from xright.config.build import build
from xright.data.messages import words
from xright.data.stream import streams_of

CHAT = "{% for m in messages %}<{{ m.role }}> {{ m.content }}\n{% endfor %}"


@pytest.fixture(scope="module", autouse=True)
def modules():
    """The experiment's modules can be imported, for as long as these tests run."""
    with importable("", "paper", "smollm2", "real_model"):
        yield


@pytest.fixture
def tokenizer(real_data):
    """Any with a chat template; the study's own may not be at hand."""
    found = AutoTokenizer.from_pretrained(real_data / "tokenizer_gptneox")
    found.chat_template = CHAT
    return found


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("study", ["smollm2_ultrafeedback", "smollm2_dpo_first"])
def test_no_pair_of_a_policy_is_the_judges(study, seed, compose, real_data, monkeypatch):
    import contests

    monkeypatch.setenv("XRIGHT_DATA", str(real_data))
    cfg = compose(f"experiment={study}", f"data.source.seed={seed}")
    rows = build(cfg.data.source, streams=streams_of(build(cfg.data.streams))).rows("preference", "train")
    policys = {(words(row["prompt"]), row["chosen"]) for row in rows}
    assert len(policys) == 64
    for own in contests.PAIRS.values():
        learnt, tested = (
            {(words(row["prompt"]), row["chosen"]) for row in contests.rows(own.path, part, False)}
            for part in (own.learnt, own.tested)
        )
        assert min(len(learnt), len(tested)) >= 100
        assert not learnt & tested
        assert not policys & (learnt | tested)


@pytest.mark.parametrize("hub", [False, True])
def test_parts_of_a_set_follow_one_another(hub):
    import contests

    for own in contests.sets(hub).values():
        bounds = [part.rstrip("]").split("[") for part in (own.learnt, own.tested)]
        assert len({name for name, _ in bounds}) == 1
        (start, end), (after, _) = (part.split(":") for _, part in bounds)
        assert int(start or 0) < int(end) <= int(after)


def test_a_contest_is_of_short_prompts_that_nothing_was_trained_on(real_data, tokenizer, monkeypatch):
    import contests
    import reward_judge

    monkeypatch.setenv("XRIGHT_DATA", str(real_data))
    for data, contest in contests.contests(False).items():
        without = contests.seen(contest, False)
        rows = reward_judge.prompts(contests.rows(contest.path, contest.part, False), tokenizer, without)
        assert len(rows) == contests.PROMPTS
        assert max(reward_judge.count(tokenizer, row["prompt"]) for row in rows) <= contests.PROMPT
        assert not {words(row["prompt"]) for row in rows} & without
        if data == "hh_alpaca":  # the paper's examples come first
            assert ["tackle box" in rows[0]["prompt"], "penmanship" in rows[1]["prompt"]] == [True, True]


def test_long_pairs_are_left_out(tokenizer, monkeypatch):
    import reward_judge

    monkeypatch.setattr(reward_judge, "LENGTH", 20)
    fits, long = ({"prompt": "Why?", "chosen": "So.", "rejected": "No" * n} for n in (1, 30))
    assert reward_judge.short([fits, long], tokenizer) == [fits]


def toys(folder, tokenizer, colours=("red", "blue", "green", "white")):
    """Pairs in which "yes" is chosen, in pairs.jsonl, and an untrained model."""
    rows = [{"prompt": f"{a} {n}", "chosen": f"yes {b}", "rejected": f"no {b}"}
            for n, (a, b) in enumerate(pairwise(colours * 25))]  # fmt: skip
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tokenizer.pad_token = tokenizer.eos_token
    config = LlamaConfig(vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=3, num_attention_heads=4,
                         intermediate_size=64, pad_token_id=tokenizer.pad_token_id)  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    return rows


def test_it_learns_pairs_and_is_told_apart_from_chance(tmp_path, tokenizer, monkeypatch):
    import contests
    import published
    import reward_judge as judge

    monkeypatch.setenv("XRIGHT_DATA", str(tmp_path))
    monkeypatch.setattr(judge, "TESTED", tmp_path / "judge.csv")
    monkeypatch.setattr(judge, "LAYERS", (1, 2))
    monkeypatch.setattr(published, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(contests, "PAIRS", {"toys": contests.Pairs("pairs.jsonl", "train[:64]", "train[64:]")})
    monkeypatch.setattr(contests, "CONTESTS", {"toys": contests.Contest("pairs.jsonl", "train[64:]")})
    monkeypatch.setattr(judge, "seen", lambda contest, hub: set())  # of files that are not here
    monkeypatch.chdir(tmp_path)
    rows = toys(tmp_path, tokenizer)
    judge.ready(tmp_path / "model", hub=False)
    (found,) = pd.read_csv(tmp_path / "judge.csv").to_dict("records")
    assert (found["pairs"], found["learnt"], found["n"]) == ("toys", 64, 35)
    assert found["layers"] in (1, 2)
    assert found["accuracy"] > 0.9
    contest = [json.loads(line) for line in (tmp_path / "runs/judge/toys.jsonl").read_text().splitlines()]
    assert [row["reference"] for row in contest] == [row["chosen"] for row in rows[64:]]
    (tmp_path / "judge.csv").unlink()
    judge.ready(tmp_path / "model", hub=False)  # it is there
    assert not (tmp_path / "judge.csv").exists()


def test_a_reward_is_the_head_over_the_state_of_the_layer_that_was_chosen(tmp_path, tokenizer, monkeypatch):
    import reward_judge as judge

    from xright.evaluation.winrate import RewardModel

    pairs = toys(tmp_path, tokenizer)[:20]
    monkeypatch.setattr(judge, "LAYERS", (1, 3))
    layers = judge.learn(tmp_path / "model", tokenizer, pairs, tmp_path / "judge")
    model = LlamaForCausalLM.from_pretrained(tmp_path / "model").model.eval()
    differences = judge.seen_by(model, tokenizer, pairs)[layers]
    head = load_file(tmp_path / "judge" / "model.safetensors")["score.weight"].double().numpy()
    rewards = RewardModel(str(tmp_path / "judge"), "chat")
    (chosen, _), (rejected, _) = (
        rewards.rewards([(row["prompt"], row[side]) for row in pairs]) for side in judge.SIDES
    )
    assert np.subtract(chosen, rejected) == pytest.approx((differences @ head.T)[:, 0], rel=1e-3, abs=1e-5)
