"""Start-up checks of rules that compare gradients."""

from collections.abc import Mapping

import lightning as L
import torch

from xright.data.stream import Stream
from xright.errors import UserError
from xright.optim import Optim
from xright.strategies import Schedule, Selector


def check_comparing(schedule: Schedule, optim: Optim, trainer: L.Trainer, streams: Mapping[str, Stream]) -> None:
    """AdamW's metric needs AdamW's moments, and halves need two rows on every rank.

    streams: of the objectives, {objective: stream}.
    """
    for rule in (phase.rule for phase in schedule.phases if type(phase.rule).compares is not Selector.compares):
        settings = optim.build([torch.nn.Parameter(torch.zeros(1))]).defaults
        if rule.metric == "adam" and "betas" not in settings:
            raise UserError(
                "strategy.metric=adam weighs gradients by the second moments of AdamW, and optim.optimizer keeps none; "
                "give strategy.metric=euclid."
            )
        if rule.halves:
            for name in set(rule.compares(0)) & set(streams):
                _check_halves(rule.name, streams[name], trainer.world_size)


def _check_halves(rule: str, stream: Stream, ranks: int) -> None:
    """UserError where a step may have too few rows for each rank to have some in both halves."""
    at = f"data.streams.{stream.name}"
    if stream.batch_tokens:
        raise UserError(
            f"{at}.batch_tokens={stream.batch_tokens} leaves open how many rows a step has, and {rule} halves them; "
            f"give {at}.batch_size=N and {at}.batch_tokens=null."
        )
    if stream.batch_size < 2 * ranks:
        raise UserError(
            f"{at}.batch_size={stream.batch_size} is too small for {rule}, which needs a row in each half of a step on "
            f"every process; give at least {2 * ranks}."
        )
