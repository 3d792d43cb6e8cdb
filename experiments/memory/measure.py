"""What a finished run has kept of two kinds of task that the base knows, and that none of its streams asked.

Two measures on each: the model's nats per token of answers as the base's own text has them (rows that no one has
seen), and the share of held-out questions that it answers rightly, in whatever style. Kept in the run's folder, as
`held_back.json`, so that it is measured once.
"""

import json
from pathlib import Path
from random import Random
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from xright.data.world import World
from xright.data.world_language import ask, bare
from xright.evaluation.generate import complete

HELD_BACK = {"capital": "what is the capital of", "reverse": "say"}  # kinds, and how their questions begin
TEXTS, QUESTIONS, LONGEST = 2000, 60, 24  # rows of all kinds; questions of each kind; tokens of an answer


def measure(run: Path, base: Path) -> dict[str, float]:
    """{nats, right, moved}: means over the kinds, and how far the weights have moved from the base's, ‖θ − θ_0‖."""
    file = run / "held_back.json"
    if not file.is_file():
        result = json.loads((run / "result.json").read_text())
        world, model = World(int(result["seed"]), eval_replay_rows=TEXTS), load(run)
        tokenizer = world.tokenizer()
        found = {
            "nats": mean(nats(model, tokenizer, texts(world, first)) for first in HELD_BACK.values()),
            "right": mean(right(model, tokenizer, world, kind) for kind in HELD_BACK),
            "moved": moved(model, load(base)),
        }
        file.write_text(json.dumps(found))
    return json.loads(file.read_text())


def load(run: Path) -> Any:
    """The final model of a run."""
    return AutoModelForCausalLM.from_pretrained(run / "model").eval()


def mean(values: Any) -> float:
    """The mean of some numbers."""
    known = list(values)
    return sum(known) / len(known)


def texts(world: World, first: str) -> list[tuple[str, str]]:
    """New rows of the base's text whose question begins so: what is asked, and what is answered."""
    rows = [row["response"].partition(" <bot> ") for row in world.rows("replay", "eval")]
    return [(f"<user> {asked} <bot>", answer) for asked, _, answer in rows if asked.startswith(first)]


@torch.no_grad()
def nats(model: Any, tokenizer: Any, rows: list[tuple[str, str]]) -> float:
    """NLL per token of the answers, their end included."""
    total, tokens = 0.0, 0
    for asked, answer in rows:
        prompt, response = tokenizer(asked)["input_ids"], [*tokenizer(answer)["input_ids"], tokenizer.eos_token_id]
        logps = model(torch.tensor([prompt + response])).logits[0].log_softmax(-1)
        total -= float(logps[len(prompt) - 1 : -1].gather(1, torch.tensor(response)[:, None]).sum())
        tokens += len(response)
    return total / tokens


def right(model: Any, tokenizer: Any, world: World, kind: str) -> float:
    """Share of held-out questions of a kind that are answered rightly, greedily."""
    rng = Random(kind)
    questions = [ask(kind, item, rng) for item in world.pools[kind]["eval"][:QUESTIONS]]
    prompts = [f"<user> {question.prompt} <bot> " for question in questions]
    answers = complete(model, tokenizer, prompts, LONGEST, batch_size=64)
    return mean(bare(said) == question.content for said, question in zip(answers, questions, strict=True))


def moved(model: Any, base: Any) -> float:
    """The Euclidean distance of two models' weights."""
    pairs = zip(model.parameters(), base.parameters(), strict=True)
    return sum(float((one - other).detach().pow(2).sum()) for one, other in pairs) ** 0.5
