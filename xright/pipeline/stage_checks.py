"""What the stages will be made of, tried before any of them is trained."""

from functools import partial

from xright import models
from xright.data.datamodule import check_sizes
from xright.forward.fits import check_same_tokens
from xright.machine.ranks import world_size
from xright.pipeline import memory
from xright.pipeline.reference import BASE, CHOSEN
from xright.pipeline.stages import Stages
from xright.training.alone import SEED


def check_stages(stages: Stages) -> None:
    """UserError for data or a model that cannot work."""
    corpus = stages.corpus.with_sampled(partial(memory.longest, corpus=stages.corpus))  # nothing is sampled yet
    for stream, size in stages.batch_size.items():
        check_sizes(stream, corpus.train(stream), corpus.evaluation(stream), size, ranks=world_size())
    model, tokenizer = stages.settings.model, stages.tokenizer
    if stages.settings.reference not in (BASE, CHOSEN, *stages.sizes):
        _ = stages.reference.identity
        check_same_tokens(*stages.reference, tokenizer, model.trust_remote_code)
    if not model.init and model.tokenizer != model.path:
        check_same_tokens(*stages.named, tokenizer, model.trust_remote_code, "model.path")
    if model.init:
        stages.adapted(models.build(model.init, tokenizer, SEED), SEED)
    else:
        stages.policy(SEED)
