import copy
from dataclasses import replace
from types import SimpleNamespace

import pytest
from lightning.pytorch.loggers.logger import Logger

from xright import models
from xright.config.settings import LoopSettings
from xright.data.corpus import Corpus
from xright.data.stream import Stream
from xright.data.world import World
from xright.objectives import DPO, SFT
from xright.optim import Optim
from xright.pipeline.reference import reference_logps
from xright.strategies import Schedule
from xright.training.fit import Plan, train

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


TEMPLATE = "<user> {instruction} <bot> "
LOOP = LoopSettings(
    {"_target_": "lightning.Trainer", "accelerator": "cpu", "devices": 1, "enable_model_summary": False},
    eval_every=2, eval_batch_size=320, checkpoint_every=100, layout="packed", look="auto", micro_batch=None,
)  # fmt: skip


@pytest.fixture(scope="session")
def parts():
    """A tiny untrained policy, which is its own reference, and the rows of a small world."""
    kinds = {"sft": "completions", "preference": "pairs", "terse": "completions"}
    streams = {name: Stream(name, kind, template=TEMPLATE) for name, kind in kinds.items()}
    world = World(
        text_rows=8, sft_rows=40, preference_rows=20, eval_sft_rows=6, eval_preference_rows=4, probes_per_kind=1,
        terse_rows=20, eval_terse_rows=4, streams=streams,
    )  # fmt: skip
    tokenizer = world.tokenizer()
    corpus = Corpus(world, streams, tokenizer, 64, "heldout")
    policy = models.build(ARCHITECTURE, tokenizer, seed=0)
    pairs, held_out = corpus.train("preference"), corpus.evaluation("preference")
    ids, logps = reference_logps(policy, pairs.union(held_out), 0, "padded")
    table = ids.numpy(), logps.numpy()
    return SimpleNamespace(
        tokenizer=tokenizer, policy=policy,
        streams={"sft": corpus.train("sft"), "preference": pairs.with_reference(*table)},
        evaluation={"sft": corpus.evaluation("sft"), "dpo": held_out.with_reference(*table)},
        terse=(corpus.train("terse"), corpus.evaluation("terse")),
    )  # fmt: skip


TWO = {"dpo": DPO(0.1), "sft": SFT()}
THREE = {"dpo": DPO(0.1), "terse": SFT("terse"), "sft": SFT()}


@pytest.fixture
def train_tiny(parts, tmp_path):
    """train_tiny(rule or schedule, callbacks, …): a real training of so many steps per epoch, one epoch unless the
    schedule has its own; callbacks write into `tmp_path`. three: a third objective, on a third stream, between the two.
    Returns the policy."""

    def run(strategy, callbacks, steps=4, eval_every=2, loggers=(), lr=1e-3, streams=None, showcase=(), three=False):
        train_rows, evaluation = streams or parts.streams, parts.evaluation
        if three:
            train_rows, evaluation = train_rows | {"terse": parts.terse[0]}, evaluation | {"terse": parts.terse[1]}
        sizes = {"sft": 8, "preference": 4, "terse": 4}
        schedule = Schedule.of(strategy).steps(steps_per_epoch=steps, epochs=1) if steps else []
        plan = Plan(
            "test", THREE if three else TWO, train_rows, {name: sizes[name] for name in train_rows}, schedule,
            Optim(lr), 0, evaluation, showcase, tmp_path,
        )  # fmt: skip
        policy, loop = copy.deepcopy(parts.policy), replace(LOOP, eval_every=eval_every)
        train(plan, policy, parts.tokenizer, loop, callbacks=callbacks, loggers=loggers)
        return policy

    return run
