import gzip
import json
import os
import subprocess
import sys
from fractions import Fraction

import lm_eval
import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from tokenizers import ByteLevelBPETokenizer
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedTokenizerFast

from xright import models
from xright.data.templates import Template
from xright.errors import UserError
from xright.evaluation.any_task import AnyTask
from xright.evaluation.harness import Harness
from xright.evaluation.harness_tasks import definitions
from xright.evaluation.subject import Subject

MMLU = {"test": "mmlu_test_20_per_subject.jsonl.gz", "dev": "mmlu_dev.jsonl"}
HELLASWAG = {"validation": "hellaswag_val_1000.jsonl.gz"}


def rows_of(file):
    with (gzip.open if file.suffix == ".gz" else open)(file, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def data(real_data):
    return real_data / "eval"


@pytest.fixture(scope="module")
def tokenizer(data):
    """Byte-level BPE of 1,000 tokens, learnt from MMLU's development rows; like GPT-NeoX's it has no pad token."""
    core = ByteLevelBPETokenizer()
    texts = [
        f"{row['question']}\nA. {' '.join(row['choices'])}\nAnswer: A B C D" for row in rows_of(data / MMLU["dev"])
    ]
    core.train_from_iterator(texts, vocab_size=1000, special_tokens=["<|endoftext|>"], show_progress=False)
    special = dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>")
    return PreTrainedTokenizerFast(tokenizer_object=core._tokenizer, **special)


def neox(tokenizer, spread=0.3):
    torch.manual_seed(0)
    config = GPTNeoXConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=2048, bos_token_id=0, eos_token_id=0, initializer_range=spread,
    )  # fmt: skip
    return GPTNeoXForCausalLM(config)


def constant(tokenizer, token=None):
    """The model that gives every position the same logits: one for this token, zero for all others; or zero for all."""
    model = neox(tokenizer)
    norm, head = model.gpt_neox.final_layer_norm, model.get_output_embeddings().weight.data
    norm.weight.data.zero_()  # whatever comes in, the state is the bias
    norm.bias.data.fill_(0.25)
    head.zero_()
    if token is not None:
        (place,) = tokenizer(token, add_special_tokens=False)["input_ids"]
        head[place] = 0.25  # times .25, 16 wide: a logit of one
    return model


def subject_at(folder, tokenizer, model=None, **settings):
    if model is not None:
        models.export(model, tokenizer, folder)
    place = {"name": "m", "path": str(folder), "folder": folder.parent, "template": Template("plain"), "seed": 0}
    return Subject(**place, **{"batch_size": 8} | settings)


@pytest.fixture(scope="module")
def random_model(tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("random") / "model"
    models.export(neox(tokenizer, spread=1.0), tokenizer, folder)  # so that it heeds more than the last word
    return folder


def mmlu(data, limit=None, **settings):
    given = {"task": "mmlu", "definition": "mmlu/default", "num_fewshot": 1, "data_dir": str(data), "rows": MMLU}
    return Harness(**given | {"limit": limit} | settings)


def hellaswag(data, limit=None, **settings):
    given = {"task": "hellaswag", "definition": "hellaswag", "num_fewshot": 0, "metric": "acc_norm", "rows": HELLASWAG}
    return Harness(**given | {"data_dir": str(data), "limit": limit} | settings)


def test_a_model_that_prefers_a_letter_is_right_where_that_is_the_answer(data, tokenizer, tmp_path):
    """MMLU: its accuracy is the share of questions whose answer is C, in each subject, each group and all in all."""
    limit, questions = 3, {}
    for row in rows_of(data / MMLU["test"]):
        questions.setdefault(row["subject"], []).append(row["answer"])
    right = {name: [answer == 2 for answer in answers[:limit]] for name, answers in questions.items()}
    result = mmlu(data, limit).run(subject_at(tmp_path / "model", tokenizer, constant(tokenizer, " C")))
    metric = result.metrics["acc"]
    k = sum(map(sum, right.values()))
    assert metric.n == 57 * limit
    assert metric.value == pytest.approx(k / metric.n, abs=1e-12)
    assert 0.1 < metric.low < metric.value < metric.high < 0.5
    parts = result.details["parts"]
    assert len(parts) == 57
    for name, answers in right.items():
        assert parts[f"mmlu_{name}"]["n"] == limit
        assert parts[f"mmlu_{name}"]["acc"] == pytest.approx(sum(answers) / limit)
    assert result.details["groups"].keys() == {
        "mmlu", "mmlu_stem", "mmlu_humanities", "mmlu_social_sciences", "mmlu_other"
    }  # fmt: skip
    assert result.details["cut_requests"] == 0


def test_a_model_that_knows_nothing_prefers_what_is_short(data, tokenizer, tmp_path):
    """HellaSwag: with p = 1 / V for each token, an ending of n tokens and c characters has log-prob −n ln V. So acc
    takes the fewest tokens (of equals the first), acc_norm the fewest per character."""
    limit, short, dense = 30, [], []
    for row in rows_of(data / HELLASWAG["validation"])[:limit]:
        query, endings = f"{row['activity_label']}: {row['ctx']}", row["endings"]
        before = len(tokenizer(query)["input_ids"])
        tokens = [len(tokenizer(f"{query} {ending}")["input_ids"]) - before for ending in endings]
        ratios = [Fraction(n, len(ending)) for n, ending in zip(tokens, endings, strict=True)]
        assert ratios.count(min(ratios)) == 1  # else rounding would decide
        short.append(tokens.index(min(tokens)) == int(row["label"]))
        dense.append(ratios.index(min(ratios)) == int(row["label"]))
    assert sum(short) != sum(dense)
    result = hellaswag(data, limit).run(subject_at(tmp_path / "model", tokenizer, constant(tokenizer)))
    assert result.metrics["acc_norm"].value == pytest.approx(np.mean(dense))
    assert result.metrics["acc_norm"].n == limit
    assert result.details["other_metrics"]["acc"]["value"] == pytest.approx(np.mean(short))
    assert result.details["num_fewshot"] == 0


def test_the_prompt_is_the_published_one(data, tmp_path):
    loaded = definitions("mmlu", "mmlu/default", {k: data / v for k, v in MMLU.items()}, 1, tmp_path).load(["mmlu"])
    task = loaded["tasks"]["mmlu_abstract_algebra"]
    test, dev = (
        next(row for row in rows_of(data / MMLU[split]) if row["subject"] == "abstract_algebra")
        for split in ("test", "dev")
    )

    def block(row):
        return "{}\nA. {}\nB. {}\nC. {}\nD. {}\nAnswer:".format(row["question"].strip(), *row["choices"])

    first = "The following are multiple choice questions (with answers) about abstract algebra.\n\n"
    expected = f"{first}{block(dev)} {'ABCD'[dev['answer']]}\n\n{block(test)}"
    assert task.fewshot_context(task.eval_docs[0], 1) == expected


@pytest.mark.parametrize(
    ("name", "folder", "rows"), [("mmlu", "mmlu/default", MMLU), ("hellaswag", "hellaswag", HELLASWAG)]
)
def test_only_the_source_of_the_rows_differs_from_the_official_definition(name, folder, rows, data, tmp_path):
    shots, files = int(name == "mmlu"), {split: data / file for split, file in rows.items()}
    official = definitions(name, folder, {}, shots, tmp_path / "none").task_index
    ours = definitions(name, folder, files, shots, tmp_path).task_index
    assert official.keys() == ours.keys()
    changed = {"dataset_path", "dataset_name", "dataset_kwargs", "num_fewshot", "training_split"}
    leaves = [leaf for leaf, entry in ours.items() if str(tmp_path) in str(entry.yaml_path)]
    assert len(leaves) == (57 if name == "mmlu" else 1)
    for leaf, entry in official.items():
        theirs, own = entry.cfg or {}, ours[leaf].cfg or {}
        differing = {key for key in theirs.keys() | own.keys() if theirs.get(key) != own.get(key)}
        # Functions are named by the place they come from: the harness's own.
        assert differing <= (changed if leaf in leaves else set())
        assert entry.tags == ours[leaf].tags


def values(result):
    """{task or group: acc} of ours."""
    found = {name: part["acc"] for name, part in result.details["parts"].items()}
    return found | {name: group["acc"] for name, group in result.details["groups"].items()}


def by_the_harness(task, tmp_path, limit, **model):
    """{task or group: acc} as the harness itself loads the model, gives the examples and sums up."""
    manager = definitions(task.task, task.definition, task.rows, task.num_fewshot, tmp_path)
    settings = {"model": "hf", "model_args": model, "tasks": [task.task], "num_fewshot": task.num_fewshot}
    settings |= {"batch_size": 8, "device": "cpu", "bootstrap_iters": 0, "log_samples": False}
    found = lm_eval.simple_evaluate(**settings, limit=limit, task_manager=manager)["results"]
    return {name: result["acc,none"] for name, result in found.items()}


def test_scores_are_those_of_the_harness(data, random_model, tokenizer, tmp_path):
    task = mmlu(data, 4, task="mmlu_social_sciences")
    ours = values(task.run(subject_at(random_model, tokenizer)))
    assert ours == by_the_harness(task, tmp_path, 4, pretrained=str(random_model))
    assert len(ours) == 13  # twelve subjects and the group
    assert ours != values(mmlu(data, 4, task=task.task, num_fewshot=0).run(subject_at(random_model, tokenizer)))


def test_an_adapter_is_scored_on_its_base(data, random_model, tokenizer, tmp_path):
    base = models.load(random_model)
    torch.manual_seed(1)
    adapter = LoraConfig(target_modules=["query_key_value", "dense"], init_lora_weights=False, task_type="CAUSAL_LM")
    adapted = get_peft_model(base, adapter)
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            parameter.data.normal_()  # large: it changes many answers
    models.export(adapted, tokenizer, tmp_path / "adapter")
    subject, task = subject_at(tmp_path / "adapter", tokenizer), mmlu(data, 4, task="mmlu_social_sciences")
    ours = values(task.run(subject))
    assert any("lora_A" in name for name, _ in subject.policy.named_parameters())
    model = {"pretrained": str(random_model), "peft": str(tmp_path / "adapter")}
    assert ours == by_the_harness(task, tmp_path, 4, **model)
    assert ours != values(task.run(subject_at(random_model, tokenizer)))


@pytest.mark.slow
def test_scores_are_those_of_the_harness_own_command_line(data, random_model, tokenizer, tmp_path):
    tasks = mmlu(data, 20), hellaswag(data, 200)
    for task in tasks:
        definitions(task.task, task.definition, task.rows, task.num_fewshot, tmp_path)
    subject = subject_at(random_model, tokenizer)
    for task in tasks:
        command = [sys.executable, "-m", "lm_eval", "run", "--model", "hf", "--device", "cpu", "--batch_size", "8"]
        command += ["--model_args", f"pretrained={random_model}", "--tasks", task.task, "--limit", str(task.limit)]
        command += ["--include_path", str(tmp_path), "--output_path", str(tmp_path / task.task)]
        env = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        (file,) = (tmp_path / task.task).rglob("results_*.json")
        theirs, ours = json.loads(file.read_text()), task.run(subject)
        assert values(ours) == {name: result["acc,none"] for name, result in theirs["results"].items()}
        assert ours.metrics[task.metric].value == theirs["results"][task.task][f"{task.metric},none"]
        for name, part in ours.details["parts"].items():
            assert part["n"] == theirs["n-samples"][name]["effective"] == task.limit
            assert theirs["n-shot"][name] == task.num_fewshot


def test_the_subject_is_left_as_it_was(data, random_model, tokenizer):
    subject = subject_at(random_model, tokenizer)
    assert subject.tokenizer.pad_token is None
    hellaswag(data, 2).run(subject)
    assert subject.tokenizer.pad_token is None


def test_requests_that_had_to_be_cut_are_counted(data, random_model, tokenizer):
    """One question: four endings after the same words; with room for 60 tokens some of the words are cut."""
    row = rows_of(data / HELLASWAG["validation"])[0]
    texts = [f"{row['activity_label']}: {row['ctx']} {ending}" for ending in row["endings"]]
    lengths = sorted(len(tokenizer(text)["input_ids"]) for text in texts)
    assert lengths[0] < lengths[1]
    room = lengths[1] - 2  # the last token is not fed, so that the first text and the next one up to two longer fit
    result = hellaswag(data, 1).run(subject_at(random_model, tokenizer, max_length=room))
    assert result.details["cut_requests"] == sum(length > room + 1 for length in lengths) > 0
    with pytest.raises(UserError, match=r"an answer of hellaswag has [0-9]+ tokens and max_length is 5"):
        hellaswag(data, 1).run(subject_at(random_model, tokenizer, max_length=5))


def test_rows_that_are_not_all_there(data, random_model, tokenizer, tmp_path):
    subject = subject_at(random_model, tokenizer)
    some = [row for row in rows_of(data / MMLU["dev"]) if row["subject"] != "anatomy"]
    (tmp_path / "dev.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some))
    with pytest.raises(UserError, match=r"rows.dev of mmlu_anatomy hold no row whose subject is 'anatomy'"):
        mmlu(data, rows=MMLU | {"dev": str(tmp_path / "dev.jsonl")}).check(subject)
    with pytest.raises(UserError, match=r"rows=\['test'\] of mmlu_\w+ lack the split 'dev'"):
        mmlu(data, rows={"test": MMLU["test"]}).check(subject)
    with pytest.raises(UserError, match=r"nowhere/.*jsonl.*does not exist"):
        mmlu("nowhere").check(subject)
    with pytest.raises(UserError, match="task='mmlo' is not among those that lm_eval/tasks/mmlu/default defines"):
        mmlu(data, task="mmlo").check(subject)
    with pytest.raises(UserError, match="metric='f1' of hellaswag is unknown; it has acc, acc_norm"):
        hellaswag(data, metric="f1").run(subject)
    (tmp_path / "other.jsonl").write_text('{"text": "no question"}\n')
    with pytest.raises(UserError, match="the rows of hellaswag could not be used"):
        hellaswag(data, rows={"validation": str(tmp_path / "other.jsonl")}).run(subject)
    for key, value in (("limit", 0), ("num_fewshot", -1), ("num_fewshot", 1.5)):
        with pytest.raises(UserError, match=f"{key}={value} of mmlu must be a whole number"):
            mmlu(data, **{key: value})
    assert "policy" not in vars(subject)  # all of it before the model is loaded


def test_a_tokenizer_that_cannot_read(data):
    from xright.data.world import World

    world = Subject("world", "", data, Template("plain"), 8, 0)
    world.tokenizer = World().tokenizer()
    with pytest.raises(UserError, match="cannot encode"):
        mmlu(data).check(world)


def test_without_the_harness(data, random_model, tokenizer, monkeypatch):
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(UserError, match=r"mmlu needs lm-evaluation-harness; pip install 'xright\[evaluation\]'"):
        mmlu(data).check(subject_at(random_model, tokenizer))


# --- tasks by their names alone ---

# With p = 1 / V for each token the answer of the fewest tokens is the likeliest.
WAYS = ["x", "a long way round"]
ARC = [
    {
        "question": f"Which is {n}?",
        "answerKey": key,
        "choices": {"label": ["A", "B"], "text": ["x", "a long way round"]},
    }
    for n, key in enumerate("AAAB")
]
GSM = [{"question": f"What is {n} + 1?", "answer": f"One more.\n#### {n + 1}"} for n in range(3)]


@pytest.fixture
def rows_by_hand(tmp_path):
    for name, rows in (("arc", ARC), ("gsm", GSM)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def test_multiple_choice_and_generation(rows_by_hand, data, tokenizer):
    rows = {
        "arc_easy": {"test": "arc.jsonl", "train": "arc.jsonl"},
        "gsm8k": {"test": "gsm.jsonl", "train": "gsm.jsonl"},
    }
    task = AnyTask(["arc_easy", "gsm8k"], num_fewshot=1, data_dir=str(rows_by_hand), rows=rows)
    subject = subject_at(rows_by_hand / "model", tokenizer, constant(tokenizer), max_length=300)
    task.check(subject)
    result = task.run(subject)
    right = result.metrics["arc_easy.acc"]
    assert (right.value, right.n, right.higher_is_better) == (0.75, 4, True)
    assert right.low < 0.75 < right.high
    assert result.metrics["gsm8k.exact_match"].value == 0
    assert result.metrics["gsm8k.exact_match"].n == 3
    assert result.details["arc_easy"]["other_metrics"].keys() == {"acc_norm"}
    assert set(task.files()) == {"arc_easy.test", "arc_easy.train", "gsm8k.test", "gsm8k.train"}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"tasks": "arc_easy"}, "must be a list"),
        ({"tasks": ["arc_easy"], "rows": {"gsm8k": {"test": "gsm.jsonl"}}}, "names 'gsm8k'"),
        ({"tasks": ["arc_eazy"]}, "no task 'arc_eazy'; did you mean one of these: .*arc_easy"),
        ({"tasks": ["arc_easy"], "limit": 0}, "limit=0 of arc_easy"),
        ({"tasks": ["gsm8k"], "rows": {"gsm8k": {"test": "gsm.jsonl"}}}, "lack the split 'train'"),
    ],
)
def test_bad_tasks(rows_by_hand, random_model, tokenizer, given, says):
    with pytest.raises(UserError, match=says):
        AnyTask(**given | {"data_dir": str(rows_by_hand)}).check(subject_at(random_model, tokenizer))
