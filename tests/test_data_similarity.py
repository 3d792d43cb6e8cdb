"""experiments/data_similarity: closest inputs by hand, vectors by definition, and the command as people type it."""

import json
import math
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.sparse import csr_matrix
from sklearn.preprocessing import normalize

from tests.beside import EXPERIMENTS, importable
from xright.errors import UserError

FOLDER = EXPERIMENTS / "data_similarity"
TEXTS = ["w5 w6 w7", "w9", "w5 w6 w7 w8 w9 w10 w11", "w5 w6 w7", ""]


@pytest.fixture(scope="module", autouse=True)
def modules():
    """The experiment's modules can be imported, for as long as these tests run."""
    with importable("data_similarity"):
        yield


def bags(*tokens, vocabulary=9):
    """Counts of these tokens, scaled to length 1, by the definition."""
    return csr_matrix(normalize([np.bincount(ids, minlength=vocabulary) for ids in tokens]))


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_the_closest_input_and_the_responses_of_that_pair():
    from closest import Side, pair_up

    sft = Side(bags([1, 2], [3], [4, 4, 5]), bags([6], [7], [8, 7]))
    preference = Side(bags([3, 1], [4], [1, 2]), bags([7], [6], [6, 6]))
    pairs = pair_up(sft, preference)
    # [3, 1]: cosine 1/√2·1/√2 = .5 with [1, 2], 1/√2 with [3]; [4]: 2/√5 with [4, 4, 5]; [1, 2] is there
    assert pairs["preference"].tolist() == [0, 1, 2]
    assert pairs["sft"].tolist() == [1, 2, 0]
    assert pairs["input_similarity"].tolist() == pytest.approx([0.5**0.5, 2 / 5**0.5, 1])
    assert pairs["response_similarity"].tolist() == pytest.approx([1, 0, 1])


def test_of_equals_the_first_and_of_empty_ones_nothing():
    from closest import Side, pair_up

    sft = Side(bags([1], [2, 3], [3, 2]), bags([4], [4], [4]))
    pairs = pair_up(sft, Side(bags([2, 3], [], [5]), bags([], [4], [])))
    assert pairs["sft"].tolist() == [1, 0, 0]
    assert pairs["input_similarity"].tolist() == pytest.approx([1, 0, 0])
    assert pairs["response_similarity"].tolist() == [0, 1, 0]


def test_blocks_change_nothing(monkeypatch):
    import closest

    draw = np.random.default_rng(0)
    inputs, queries, responses, answers = (normalize(draw.normal(size=(n, 6))) for n in (3000, 130, 3000, 130))
    monkeypatch.setattr(closest, "MEMORY", 1)  # MiB: 43 rows of 3000 cosines
    pairs = closest.pair_up(closest.Side(inputs, responses), closest.Side(queries, answers))
    cosines = queries @ inputs.T
    assert pairs["sft"].tolist() == cosines.argmax(1).tolist()
    assert pairs["input_similarity"].to_numpy() == pytest.approx(cosines.max(1))
    assert pairs["response_similarity"].to_numpy() == pytest.approx((responses[cosines.argmax(1)] * answers).sum(1))


def test_random_pairs_depend_on_the_seed_alone():
    from closest import Side, pair_up

    side = Side(np.eye(40), np.eye(40))
    first, again, other = (pair_up(side, side, seed)["random_response_similarity"] for seed in (0, 0, 1))
    assert first.equals(again)
    assert not first.equals(other)
    drawn = np.random.default_rng(0).integers(40, size=40)
    assert first.tolist() == (drawn == np.arange(40)).astype(float).tolist()


PAIRS = pd.DataFrame({
    "input_similarity": [0.2, 0.4, 0.6, 1.0], "response_similarity": [0.9, 0.5, 0.3, 0.1],
    "random_response_similarity": [0.0, 0.0, -0.2, 0.4],
})  # fmt: skip


def test_numbers_of_a_table_by_hand():
    from closest import rank_correlation, same_inputs, summary, table

    found = summary(PAIRS).loc["input_similarity"]
    assert found["mean"] == pytest.approx(0.55)
    assert found["median"] == pytest.approx(0.5)
    assert found["25%"] == pytest.approx(0.35)  # three quarters of the way from .2 to .4
    assert summary(PAIRS).loc["random_response_similarity", "mean"] == pytest.approx(0.05)
    assert same_inputs(PAIRS) == 1
    assert rank_correlation(PAIRS) == pytest.approx(-1)
    assert table(PAIRS).rows[0][:3] == ["closest inputs", "0.550", "0.500"]


def test_a_point_per_pair_histograms_and_medians():
    from pairs_figure import similarity_figure

    top, _, middle, right = similarity_figure(("tokens", PAIRS)).axes
    (points,) = middle.collections
    assert points.get_offsets().tolist() == PAIRS[["input_similarity", "response_similarity"]].to_numpy().tolist()
    assert sum(bar.get_height() for bar in top.patches) == 4
    assert [text.get_text() for text in top.texts] == ["0.500"]
    assert "0.400" in [text.get_text() for text in right.texts]
    assert middle.get_xlim() == middle.get_ylim() == pytest.approx((-0.2, 1.02))  # the lowest of all is shown
    assert middle.get_xlabel() == "closest inputs: cosine (tokens)"


def test_counts_of_tokens_scaled_to_length_one(word_tokenizer):
    from vectors import counts

    (three, four, five), root = word_tokenizer("w3 w4 w5", add_special_tokens=False)["input_ids"], math.sqrt(5)
    found = counts(["w3 w3 w4", "w4 w3 w3", "", "w5"], word_tokenizer).toarray()
    assert found.shape == (4, len(word_tokenizer))
    assert found[0, [three, four, five]].tolist() == pytest.approx([2 / root, 1 / root, 0])
    assert found[1].tolist() == found[0].tolist()  # order is lost
    assert found[2].any() == 0
    assert found[3].nonzero()[0].tolist() == [five]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory, family, word_tokenizer):
    place = tmp_path_factory.mktemp("encoder")
    family("llama").save_pretrained(place)
    word_tokenizer.save_pretrained(place)
    return str(place)


def test_the_mean_of_the_last_hidden_states_of_each_text_alone(encoder, word_tokenizer):
    from vectors import Embedder

    embedder = Embedder(encoder, batch_size=5)
    vectors = embedder(TEXTS)
    for text, vector in zip(TEXTS[:4], vectors, strict=False):
        ids = torch.tensor([word_tokenizer(text)["input_ids"]])
        with torch.no_grad():
            mean = embedder.model(input_ids=ids).last_hidden_state[0].mean(0)
        assert vector.tolist() == pytest.approx((mean / mean.norm()).tolist(), abs=1e-5)
    assert vectors[4].tolist() == [0] * 32
    assert not np.allclose(vectors[0], vectors[2], atol=1e-2)


def test_neither_batches_nor_order_matter(encoder):
    from vectors import Embedder

    whole, single = Embedder(encoder, batch_size=5)(TEXTS), Embedder(encoder, batch_size=1)(TEXTS)
    turned = Embedder(encoder, batch_size=2)(TEXTS[::-1])
    assert np.allclose(whole, single, atol=1e-5)
    assert np.allclose(whole, turned[::-1], atol=1e-5)


def test_long_texts_are_cut_and_counted(encoder, capsys):
    from vectors import Embedder

    vectors = Embedder(encoder, max_length=3)(TEXTS)
    assert "1 of 5 texts are cut to 3 tokens" in capsys.readouterr().err
    assert np.allclose(vectors[2], vectors[0], atol=1e-5)  # w5 w6 w7 is left of both


def test_what_is_no_model_is_told_in_a_sentence(tmp_path, word_tokenizer):
    from vectors import Embedder

    with pytest.raises(UserError, match="no tokenizer could be loaded"):
        Embedder(str(tmp_path))
    word_tokenizer.save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"model='.*' cannot be loaded"):
        Embedder(str(tmp_path))


def test_all_rows_of_both_sides_as_words(tmp_path, monkeypatch):
    from texts import read_texts

    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    sft = write(tmp_path / "sft.jsonl", {"instruction": "Add.", "input": "1 + 1", "output": " 2\n"})
    pair = {"prompt": "\n\nHuman: Hi\n\nAssistant: Hello", "chosen": "Assistant: a", "rejected": "Assistant: b"}
    text = write(tmp_path / "text.jsonl", pair)
    found = read_texts(sft, {"path": [text], "limit": 1}, "chosen", "(?m)^(Human|Assistant): ?")
    assert found == {"sft": (["Add. 1 + 1"], ["2"]), "preference": (["Hi Hello"], ["a"])}
    plain = read_texts([sft], text, "rejected", None)["preference"]
    assert plain == (["Human: Hi Assistant: Hello"], ["Assistant: b"])


def test_a_conversation_is_what_is_said_in_it(tmp_path, monkeypatch):
    from texts import read_texts

    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    sft = write(tmp_path / "sft.jsonl", {"prompt": "a", "response": "b"})
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    answers = {name: [{"role": "assistant", "content": name}] for name in ("chosen", "rejected")}
    talk = write(tmp_path / "talk.jsonl", {"prompt": turns, **answers})
    assert read_texts(sft, talk, "chosen", None)["preference"] == (["Hi Hello"], ["chosen"])


@pytest.fixture
def place(tmp_path, monkeypatch, word_tokenizer, family):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("PYTHONPATH", str(FOLDER.parents[1]))
    write(tmp_path / "sft.jsonl", {"prompt": "w2 w3", "response": "w9"}, {"prompt": "w4", "response": "w8 w9"})
    write(tmp_path / "pairs.jsonl", {"prompt": "w4", "chosen": "w8", "rejected": "w7"})
    word_tokenizer.save_pretrained(tmp_path / "model")
    family("llama").save_pretrained(tmp_path / "model")
    return tmp_path


def test_tokens_and_a_models_embeddings(place):
    asked = ["--sft", "sft.jsonl", "--preference", "{path: pairs.jsonl, limit: 1}", "--model", "model", "--out", "out"]
    done = subprocess.run([sys.executable, FOLDER / "similarity.py", *asked], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "out/similarity.json"
    assert "| closest inputs | 1.000 | 1.000 |" in done.stdout
    told = json.loads((place / "out" / "similarity.json").read_text())
    assert told["rows"] == {"sft": 2, "preference": 1}
    assert told["measures"]["tokens"]["same_inputs"] == 1
    assert told["measures"]["tokens"]["response_similarity"]["mean"] == pytest.approx(0.5**0.5)  # w8 and w8 w9
    assert told["measures"]["model"]["input_similarity"]["mean"] == pytest.approx(1)
    assert {path.name for path in (place / "out").iterdir()} == {
        "similarity.json", *(f"pairs-{name}.csv" for name in ("tokens", "model")),
        *(f"similarity-{name}.{kind}" for name in ("tokens", "model") for kind in ("png", "pdf")),
    }  # fmt: skip
    assert pd.read_csv(place / "out" / "pairs-model.csv")["sft"].tolist() == [1]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"--sft": None}, "arguments are required: --sft"),
        ({"--preference": "gone.jsonl"}, "gone.jsonl"),
        ({"--preference": "{path: [}"}, "cannot be read as options"),
        ({"--tokenizer": None}, "Name a tokenizer's folder"),
        ({"--seed": "-1"}, "-1 must be a whole number >= 0"),
        ({"--batch-size": "0"}, "0 must be a whole number >= 1"),
        ({"--answer": "best"}, "invalid choice: 'best'"),
        ({"--strip": "("}, "strip='(' is no regular expression"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(place, capsys, change, sentence):
    from similarity import main

    asked = {"--sft": "sft.jsonl", "--preference": "pairs.jsonl", "--tokenizer": "model"} | change
    with pytest.raises(SystemExit) as ended:
        main([word for option, value in asked.items() if value is not None for word in (option, value)])
    assert ended.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert sentence in err.splitlines()[-1]  # above it, usage and at most the bars of `datasets`
    assert not (place / "similarity").exists()


def test_real_rows(real_data, tmp_path, monkeypatch):
    from similarity import main

    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    same = f"{{path: '{real_data}/sft/alpaca_gpt4_demo.jsonl', limit: 200}}"
    other = f"{{path: '{real_data}/pref/hh_helpful_test.jsonl.gz', limit: 100}}"
    tokenizer, out = str(real_data / "tokenizer_gptneox"), str(tmp_path / "out")
    main(["--sft", same, "--preference", other, "--tokenizer", tokenizer, "--out", out])
    found = json.loads((tmp_path / "out" / "similarity.json").read_text())["measures"]["tokens"]
    assert 0.2 < found["input_similarity"]["median"] < 0.8  # English, and not the same questions
    assert found["same_inputs"] == 0
