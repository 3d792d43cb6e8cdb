import json
from types import SimpleNamespace

import torch

from xright.callbacks.samples import Samples
from xright.evaluation.generate import complete
from xright.strategies import Mix
from xright.theory.problems import trade_off

PROMPTS = [
    {"prompt": "<user> what is 3 plus 5 ? <bot> ", "kind": "task"},
    {"prompt": "<user> what is 1 plus 1 ? <bot> ", "kind": "task"},
]


def lines(folder):
    return [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]


def test_first_every_nth_and_last_evaluation(train_tiny, parts, tmp_path):
    watch = Samples(every=2, max_new_tokens=3)
    # evaluated after 1, 2, 4, 6, 7
    policy = train_tiny(Mix(trade_off(0.5)), [watch], steps=7, eval_every=2, showcase=PROMPTS)
    found = lines(tmp_path)
    assert [line["step"] for line in found] == [1, 1, 4, 4, 7, 7]
    assert [line["prompt"] for line in found[:2]] == [prompt["prompt"] for prompt in PROMPTS]
    assert {line["kind"] for line in found} == {"task"}
    last = complete(policy, parts.tokenizer, [prompt["prompt"] for prompt in PROMPTS], 3, 2)
    assert [line["completion"] for line in found[-2:]] == last


def test_watching_changes_nothing(train_tiny, tmp_path):
    watched = train_tiny(Mix(trade_off(0.5)), [Samples(every=1, max_new_tokens=2)], showcase=PROMPTS)
    alone = train_tiny(Mix(trade_off(0.5)), [])
    assert all(torch.equal(a, b) for a, b in zip(watched.parameters(), alone.parameters(), strict=True))


def test_no_prompts_no_file(train_tiny, tmp_path):
    train_tiny(Mix(trade_off(0.5)), [Samples()], steps=1)
    assert list(tmp_path.iterdir()) == []


def test_a_run_without_steps_is_looked_at_once(train_tiny, tmp_path):
    train_tiny(Mix(trade_off(0.5)), [Samples(every=5, max_new_tokens=2)], steps=0, showcase=PROMPTS)
    assert [line["step"] for line in lines(tmp_path)] == [0, 0]


def test_a_resumed_run_keeps_lines_up_to_its_checkpoint(tmp_path):
    nothing_known = SimpleNamespace(config=SimpleNamespace())
    module = SimpleNamespace(folder=tmp_path, showcase=PROMPTS, policy=nothing_known)
    watch = Samples(every=2)
    watch.setup(None, module, "fit")
    watch.on_fit_start(None, None)
    text = "one\u2028two\u2029three\u0085four\x0bfive\x1csix"  # all one line: "\n" alone ends one
    kept = "".join(json.dumps({"step": step, "completion": text}, ensure_ascii=False) + "\n" for step in (1, 100))
    watch.file.append(kept)
    watch.evaluations = 3
    state = watch.state_dict()
    watch.file.append('{"step": 200}\n{"step": 300, "pro')  # killed in the middle of a line
    again = Samples(every=2)
    again.setup(None, module, "fit")
    again.load_state_dict(state)
    again.on_fit_start(None, None)
    assert (tmp_path / "samples.jsonl").read_bytes() == kept.encode()
    assert again.state_dict() == state
