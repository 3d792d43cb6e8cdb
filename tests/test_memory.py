"""What the base writes itself, as an objective: by the real command on the generated world, and by hand."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from xright.data.rows import Row, Rows
from xright.data.stream import streams_of
from xright.errors import UserError
from xright.evaluation.generate import Sampled, continuations, written
from xright.forward.collate import collate
from xright.forward.logprobs import response_logps
from xright.objectives import SFT, Memory
from xright.pipeline.memory import base_value, beside_base

SIZES = ["rows=48", "eval_rows=32", "max_new_tokens=24", "batch_size=4"]
RUN = [
    "experiment=memory", "debug=fast", "trainer=cpu", "logger=csv", "threads=1", "checkpoint_every=2", "epochs=1",
    "data.streams.memory.opening='<user>'", *(f"data.streams.memory.{size}" for size in SIZES),
]  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("memory")


@pytest.fixture(scope="module")
def run(place, command_line):
    """run(name, *overrides, ends=0): the run's folder, or what was said where it ends otherwise."""

    def run(name, *overrides, ends=0, cache="cache"):
        done = command_line.run(place, *RUN, f"name={name}", *overrides, XRIGHT_CACHE=str(place / cache), timeout=300)
        assert done.returncode == ends, done.stderr
        (place / f"{name}.txt").write_text(done.stderr)
        return place / done.stdout.splitlines()[-1] if not ends else done.stderr

    return run


@pytest.fixture(scope="module")
def sweep(run, place):
    """Three rules with -m, at a base that no one has built before."""
    run("sweep", "strategy=mix,maxright,constrained", "-m")
    return place


@pytest.fixture(scope="module")
def entries(sweep):
    """{split: the folder of its rows in the cache}."""
    folders = [file.parent for file in (sweep / "cache" / "memory").glob("*/result.json")]
    return {yaml.safe_load((folder / "config.yaml").read_text())["split"]: folder for folder in folders}


def results(place, name):
    return [json.loads(file.read_text()) for file in sorted((place / "runs" / name).glob("*/result.json"))]


def test_a_sweep_writes_the_rows_once_and_trains_no_optimum(sweep, entries):
    assert len(results(sweep, "sweep")) == 3
    assert entries.keys() == {"train", "eval"}
    assert (sweep / "sweep.txt").read_text().count("memory: building") == 2
    assert {folder.name for folder in (sweep / "cache").glob("optimum_*")} == {"optimum_dpo", "optimum_sft"}


def test_the_optimum_is_the_base_s_own_value(sweep, run):
    base = json.loads((run("base", "strategy=merge", "start=base") / "result.json").read_text())["objectives"]["memory"]
    assert (base["unit"], base["label"]) == ("nats per token", "Memory")
    assert base["gap"] == pytest.approx(0, abs=1e-5)
    for result in results(sweep, "sweep"):
        assert result["objectives"]["memory"]["optimum"] == base["optimum"]
        assert result["gap_memory"] == pytest.approx(result["f_memory"] - base["optimum"])


def test_at_the_base_no_step_shows_a_gap(sweep):
    """Of four rows the likelihood alone would be off by tenths of a nat; what the base had on them is subtracted."""
    for folder in (file.parent for file in (sweep / "runs" / "sweep").glob("*/result.json")):
        optimum = json.loads((folder / "result.json").read_text())["objectives"]["memory"]["optimum"]
        steps = pd.read_csv(folder / "steps.csv")
        seen = steps["seen_gap_memory"].dropna() if "maxright" in folder.name else steps["loss_memory"] - optimum
        assert seen.iloc[0] == pytest.approx(0, abs=1e-5)
        assert seen.abs().max() < 0.1  # later, after a few steps of this size


def test_what_the_rows_hold(entries):
    told = {split: json.loads((folder / "result.json").read_text()) for split, folder in entries.items()}
    for split, n in (("train", 48), ("eval", 32)):
        lines = [json.loads(line) for line in (entries[split] / "texts.jsonl").read_text().splitlines()]
        lengths = np.load(entries[split] / "lengths.npy")
        assert told[split]["rows"] == len(lines) == len(lengths) == n
        assert {line["prompt"] for line in lines} == {"<user>"}
        words = [line["response"].split() for line in lines]
        assert [len(one) for one in words] == lengths[:, 1].tolist()  # of this tokenizer a word is a token
        assert told[split]["tokens"] == lengths[:, 1].sum()
        assert told[split]["empty"] == sum(one == ["<eos>"] for one in words)
        assert told[split]["cut"] == sum(one[-1] != "<eos>" for one in words)
        assert all(len(one) == 24 for one in words if one[-1] != "<eos>")
        assert not any("<eos>" in one[:-1] for one in words)


def test_held_out_rows_are_others(entries):
    train, held = ((entries[split] / "texts.jsonl").read_text().splitlines() for split in ("train", "eval"))
    assert not set(train) & set(held)


@pytest.mark.parametrize(
    ("override", "built"),
    [
        ("data.streams.memory.seed=1", 2),
        ("data.streams.memory.max_new_tokens=9", 2),
        ("data.streams.memory.rows=49", 1),
        ("data.streams.memory.batch_size=3", 0),
        ("model.pretrain.steps=4", 2),
        ("optim.lr=1e-3", 0),
    ],
)
def test_what_decides_the_rows(override, built, run, sweep):
    run("keys", override, "strategy=merge", "start=base", "optima=null")
    assert (sweep / "keys.txt").read_text().count("memory: building") == built


def test_a_killed_run_resumes_to_the_bit(sweep, place, command_line, run, assert_same_run):
    whole = run("whole", "strategy=mix")
    job = command_line.start(place, *RUN, "strategy=mix", "name=killed", XRIGHT_CACHE=str(place / "cache"))
    job.until(lambda: list(place.glob("runs/killed/*/checkpoints/last.ckpt")))
    job.kill()
    assert not list(place.glob("runs/killed/*/result.json"))
    assert_same_run(run("killed", "strategy=mix"), whole)


def test_two_processes_sample_once_and_train_as_one(run, sweep):
    """In a cache of their own: rank 0 writes the rows, and both read the same."""
    one = run("one", "strategy=mix")
    two = run("two", "strategy=mix", "trainer=ddp", "trainer.accelerator=cpu", cache="cache_of_two")
    ours, theirs = (pd.read_csv(folder / "steps.csv") for folder in (one, two))
    for name in ("loss_dpo", "loss_sft", "loss_memory"):
        pd.testing.assert_series_equal(ours[name], theirs[name], rtol=1e-4)
    assert (sweep / "two.txt").read_text().count("memory/train: 48 rows written by the base") == 1


def test_with_prompts_the_rows_begin_with_them(run, sweep):
    run("asked", "data.streams.memory.opening=null", "data.streams.memory.prompts=sft", "strategy=mix")
    file = Path((sweep / "asked.txt").read_text().split("to read: ")[1].split("\n")[0])
    prompts = [json.loads(line)["prompt"] for line in file.read_text().splitlines()]
    assert len(prompts) == 48
    assert all(prompt.startswith("<user> ") and prompt.endswith(" <bot>") for prompt in prompts)
    assert len(set(prompts)) > 20


def test_every_start_takes_the_base_for_its_model(run, sweep):
    weights = "weights={dpo: 1, sft: 1, memory: 2}"
    for start in ("average", "task_arithmetic", "ties"):
        folder = run("merged", "strategy=merge", f"start={start}", weights)
        assert math.isfinite(json.loads((folder / "result.json").read_text())["f_memory"])


REFUSED = {
    ("data.streams.memory.opening=null",): "has nothing to begin with: the tokenizer has no beginning-of-text",
    ("data.streams.memory.prompts=sft",): "data.streams.memory has prompts and an opening",
    ("data.streams.memory.opening=null", "data.streams.memory.prompts=other"):
        "data.streams.memory.prompts='other' must be a stream whose rows are read (sft, preference), or null.",
    ("data.streams.memory.batch_size=49",): "batch_size=49 is larger than the 48 rows of that stream",
    ("data.streams.memory.rows=0",): "data.streams.memory.rows=0 must be a whole number of rows >= 1.",
    ("+data.streams.memory.path=a.jsonl",): "data.streams.memory.path='a.jsonl' does nothing for its rows, which the",
    ("+data.streams.sft.rows=5",): "data.streams.sft.rows=5 does nothing for its rows, which are read",
    ("objectives.memory.stream=sft",): "objectives.memory learns what the base wrote, but the rows of its stream 'sft'",
    ("objectives.dpo.stream=memory",): "but the rows of its stream 'memory' are sampled; give",
}  # fmt: skip


@pytest.mark.parametrize("overrides", REFUSED, ids=" ".join)
def test_what_cannot_work_is_refused_before_any_training(overrides, run, place):
    said = run("refused", *overrides, ends=2, cache="empty")
    assert REFUSED[overrides] in said.splitlines()[-1]
    assert not (place / "empty" / "base").exists()


def test_f_star_by_hand():
    """Two rows of 3 and 1 tokens with 2 and 4 nats: 6 nats over 4 tokens. What is added to each is −2 + 3 · 1.5 and
    −4 + 1.5, in all nothing; of a training row with 5 nats over 3 tokens −5 + 4.5."""
    rows = Rows((np.zeros(4, dtype=np.int32),), np.array([1, 2]), np.zeros((2, 2)), np.array([[1, 3], [1, 1]]))
    held = rows.with_reference(np.array([1, 2]), np.array([[-2.0], [-4.0]]))
    assert base_value(held) == 1.5
    train, held = beside_base(rows[:1].with_reference(np.array([1]), np.array([[-5.0]])), held)
    assert held.reference_NR.tolist() == [[2.5], [-2.5]]
    assert train.reference_NR.tolist() == [[-0.5]]


def test_a_batch_is_held_against_the_base_on_the_same_rows(tiny_model):
    """f − H is the mean log-ratio; the gradient is that of SFT's loss; without the base's log-probs it is an error."""
    base, policy = tiny_model(0), tiny_model(1)
    rows = [Row(i, [1, 2], ([3 + i, 4, 5 + i],)) for i in range(3)]
    batch = collate(rows, 0, "padded")
    theirs_S = -torch.stack([-response_logps(base, collate([row], 0, "padded"))[0][0] for row in rows]).detach()
    carried = [replace(row, reference=(float(value) + 0.7 * 3,)) for row, value in zip(rows, theirs_S, strict=True)]
    told = collate(carried, 0, "padded")
    assert float(Memory()(base, told)[0].detach()) / 9 == pytest.approx(0.7, abs=1e-6)
    loss, alone = Memory()(policy, told)[0], SFT("memory")(policy, batch)[0]
    assert float(loss - alone) == pytest.approx(float(theirs_S.sum()) + 0.7 * 9, abs=1e-4)
    ours, usual = (torch.autograd.grad(one, list(policy.parameters())) for one in (loss, alone))
    assert all(torch.equal(left, right) for left, right in zip(ours, usual, strict=True))
    with pytest.raises(RuntimeError, match="does not carry the base's log-probs"):
        Memory()(policy, batch)


def test_what_is_written_ends_with_what_ended_it(tiny_model, word_tokenizer):
    """And `continuations` is the same without it."""
    model, prompts = tiny_model().eval(), [[i % 40] for i in range(60)]
    draws = [Sampled(1.0, range(60)) for _ in range(2)]
    whole = written(model, word_tokenizer, prompts, 20, sampled=draws[0])
    cut = continuations(model, word_tokenizer, prompts, 20, sampled=draws[1])
    assert {len(one) == 20 and one[-1] != 0 for one in whole} == {True, False}  # some end, some are cut off
    assert [one[:-1] if one[-1] == 0 else one for one in whole] == cut


def test_the_samples_mean_nll_is_the_entropy(tiny_model, word_tokenizer):
    """One token after one prompt, 4,000 times: the NLL of what is drawn is the entropy, within four standard errors."""
    model = tiny_model().eval()
    with torch.no_grad():
        logps = model(torch.tensor([[5]])).logits[0, -1].log_softmax(-1)
    said = written(model, word_tokenizer, [[5]] * 4000, 1, sampled=Sampled(1.0, range(4000)))
    values = torch.stack([-logps[one[0]] for one in said])
    entropy = float(-(logps.exp() * logps).sum())
    assert float(values.mean()) == pytest.approx(entropy, abs=4 * float(values.std()) / math.sqrt(4000))


def test_kinds_and_names():
    (stream,) = streams_of({"past": {"kind": "sampled", "rows": 3}}).values()
    assert stream.sampled
    assert stream.responses == ("response",)
    assert repr(Memory("past")) == "Memory(stream='past')"
    with pytest.raises(UserError, match=r"data.streams.past.seed=-1 must be"):
        streams_of({"past": {"kind": "sampled", "seed": -1}})


def test_its_certificate_compares_with_the_base_draw_by_draw(sweep):
    (result,) = (one for one in results(sweep, "sweep") if one["strategy"] == "constrained")
    found = result["certificate"]["memory"]
    assert (found["rows"], found["prompts"], found["paired"]) == (32, 32, True)  # though all rows begin with one word
    assert found["gap"] == pytest.approx(result["gap_memory"], abs=1e-5)
    assert found["lower"] < found["gap"] < found["upper"]
