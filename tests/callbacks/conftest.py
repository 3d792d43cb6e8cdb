import copy
from types import SimpleNamespace

import pytest
from lightning.pytorch.loggers.logger import Logger

from xright import models
from xright.data.corpus import Corpus
from xright.data.stream import Stream
from xright.data.world import World
from xright.objectives import DPO, SFT
from xright.optim import Optim
from xright.reference import reference_logps
from xright.training import Plan, train

ARCHITECTURE = {
    "model_type": "gpt_neox", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
    "intermediate_size": 32, "max_position_embeddings": 64,
}  # fmt: skip


class Recorder(Logger):
    """Keeps what is logged: [(step, {key: value})]."""

    def __init__(self):
        super().__init__()
        self.logged = []

    name, version = "recorder", 0

    def log_metrics(self, metrics, step=None):
        self.logged.append((step, metrics))

    def log_hyperparams(self, params, *args, **kwargs):
        pass

    def values(self, key):
        """[(step, value)] of one key."""
        return [(step, metrics[key]) for step, metrics in self.logged if key in metrics]


@pytest.fixture
def recorder():
    return Recorder()


@pytest.fixture(scope="session")
def parts():
    """A tiny untrained policy, which is its own reference, and the rows of a small world."""
    world = World(
        text_rows=8, sft_rows=40, preference_rows=20, eval_sft_rows=6, eval_preference_rows=4, probes_per_kind=1
    )
    tokenizer = world.tokenizer()
    kinds = {"sft": "completions", "preference": "pairs"}
    streams = {name: Stream(name, kind, template="<user> {instruction} <bot> ") for name, kind in kinds.items()}
    corpus = Corpus(world, streams, tokenizer, 64, "heldout")
    policy = models.build(ARCHITECTURE, tokenizer, seed=0)
    pairs, held_out = corpus.train("preference"), corpus.evaluation("preference")
    ids, logps = reference_logps(policy, pairs.union(held_out), 0, "padded")
    table = ids.numpy(), logps.numpy()
    return SimpleNamespace(
        tokenizer=tokenizer, policy=policy,
        streams={"sft": corpus.train("sft"), "preference": pairs.with_reference(*table)},
        evaluation={"sft": corpus.evaluation("sft"), "dpo": held_out.with_reference(*table)},
    )  # fmt: skip


@pytest.fixture
def train_tiny(parts, compose_small):
    """train_tiny(selector, callbacks, …): a real training of a few steps; returns the policy."""

    def run(selector, callbacks, steps=4, eval_every=2, loggers=(), lr=1e-3, streams=None, showcase=()):
        cfg = compose_small(f"eval_every={eval_every}")
        phases, sizes = (steps,) if steps else (), {"sft": 8, "preference": 4}
        plan = Plan(streams or parts.streams, sizes, phases, parts.evaluation, showcase)
        policy = copy.deepcopy(parts.policy)
        objectives = {"dpo": DPO(0.1), "sft": SFT()}
        train(plan, policy, parts.tokenizer, objectives, selector, Optim(lr), 0, cfg, "test", callbacks, loggers)
        return policy

    return run
