"""The certificates of a run: which gaps it promises to keep below ε, and what the held-out rows say of that at its end.

What the numbers mean: `evaluation/certificate.py`. The rows must not have decided anything of the run: so they are
refused where they are training rows, and where a stopping rule has looked at them. Rules see losses of training rows
only. What those that measure gaps know of these rows is one number, f*; the runs of `experiments/certificate` know it,
too.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from xright import models
from xright.data.rows import Row, Rows
from xright.errors import UserError, check_number
from xright.evaluation.certificate import Certificate, certify
from xright.forward.collate import collate
from xright.forward.packing import choose_layout
from xright.machine.ranks import gather, rank, world_size
from xright.models.sharding import is_sharded
from xright.objectives import Objective
from xright.pipeline.stages import Stages
from xright.strategies import Schedule
from xright.training.fit import make_trainer, pad_id
from xright.training.sharded import placed


def promised(given: Any, schedule: Schedule, objectives: Mapping[str, Objective]) -> dict[str, float]:
    """Return the ε of each gap that the run certifies.

    given: `certificate=`: auto (what the rules promise), a number for all objectives that have a gap, {objective: ε},
    or None. UserError for anything else.
    """
    if given is None:
        return {}
    if given == "auto":
        return {name: epsilon for phase in schedule.phases for name, epsilon in phase.rule.promised.items()}
    goals = [name for name, objective in objectives.items() if not objective.surrogate]
    plain: Any = OmegaConf.to_container(given) if OmegaConf.is_config(given) else given
    bounds = plain if isinstance(plain, Mapping) else dict.fromkeys(goals, plain)
    if unknown := [name for name in bounds if name not in goals]:
        raise UserError(f"certificate names {', '.join(map(str, unknown))}; the gaps are of {', '.join(goals)}.")
    domain = "a number >= 0, {objective: number}, auto or null"
    return {name: check_number("certificate", epsilon, lambda x: x >= 0, domain) for name, epsilon in bounds.items()}


def check_certificate(
    cfg: DictConfig, schedule: Schedule, objectives: Mapping[str, Objective], callbacks: Sequence[Any]
) -> None:
    """UserError where the held-out rows can give no certificate that is asked for. cfg: its optima are any numbers if
    they are to be computed."""
    bounds, remedy = promised(cfg.certificate, schedule, objectives), "give certificate=null to go without one."
    for name in bounds:
        if (cfg.optima or {}).get(name) is None:
            raise UserError(f"the certificate of {name} needs its f*, but optima={cfg.optima!r}; leave optima=auto.")
        if objectives[name].anchored:
            raise UserError(
                f"{name} can have no certificate, for each of its losses depends on all rows of a step; name the other "
                "objectives in 'certificate={…}', or give certificate=null."
            )
    if bounds and cfg.eval_on != "heldout":
        raise UserError(f"eval_on={cfg.eval_on} evaluates on training rows, which certify nothing; {remedy}")
    if bounds and any(hasattr(callback, "stopped_by") for callback in callbacks):
        raise UserError(f"callbacks.stop ends a run by its held-out rows, which then certify nothing; {remedy}")


def certificates(
    stages: Stages, policy: nn.Module, optima: Mapping[str, float | None], bounds: Mapping[str, float]
) -> dict[str, Certificate]:
    """Return {objective: certificate} of a trained policy. All ranks call it; they share the rows, and get the same."""
    found = {}
    for name, epsilon in bounds.items():
        rows, optimum = stages.evaluation[name], optima[name]
        assert optimum is not None
        losses_C, units_C = prompt_losses(stages, policy, name, rows)
        theirs_C = None
        if isinstance(stages.settings.optima, str):  # of the stage, which has a model, too
            model = stages.settings.model
            alone = stages.solved(name).load(model.dtype, **model.reading)
            theirs_C, _ = prompt_losses(stages, alone, name, rows)
        found[name] = certify(
            epsilon, losses_C, units_C, optimum, optimum_losses_C=theirs_C, rows=len(rows), among=len(bounds)
        )
    return found


@torch.no_grad()
def prompt_losses(stages: Stages, policy: nn.Module, name: str, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Return Σ ℓ and the units of each of `by_prompt`, (C,); the policy goes back to the CPU.

    What belongs together is one forward, or several of `eval_batch_size`.
    """
    loop, objective = stages.settings.loop, stages.objectives[name]
    trainer = make_trainer(loop.trainer, logger=False, enable_progress_bar=False)
    placed(policy, trainer)
    layout, pad = choose_layout(policy, loop.layout), pad_id(stages.tokenizer)
    stream = stages.corpus.streams[objective.stream]
    drawn = stream.sampled and stream.prompts is None  # then all rows begin alike, and each is a draw of its own
    groups, sums = [[row] for row in rows] if drawn else by_prompt(rows), []
    shares = [groups[r :: world_size()] for r in range(world_size())]
    forwards = [sum(-(-len(own) // loop.eval_batch_size) for own in share) for share in shares]
    idle = max(forwards) - forwards[rank()] if is_sharded(policy) else 0
    with trainer.precision_plugin.forward_context(), models.evaluating(policy):
        for own in shares[rank()]:
            chunks = [own[i : i + loop.eval_batch_size] for i in range(0, len(own), loop.eval_batch_size)]
            batches = [collate(chunk, pad, layout).to(trainer.strategy.root_device) for chunk in chunks]
            loss = sum(float(objective(policy, batch)[0]) for batch in batches)
            sums.append((loss, float(sum(map(objective.size, batches)))))
        for _ in range(idle):  # all ranks compute each forward of a sharded policy together
            objective(policy, collate(groups[0][:1], pad, layout).to(trainer.strategy.root_device))
    if not is_sharded(policy):
        policy.to("cpu")
    found = gather(sums)
    sums = [found[place % len(found)][place // len(found)] for place in range(len(groups))]
    return np.array(sums)[:, 0], np.array(sums)[:, 1]


def by_prompt(rows: Iterable[Row]) -> list[list[Row]]:
    """Return the rows by prompt; with a prompt go those that begin with it, as the later turns of a conversation do. A
    row without a prompt stands alone."""
    groups: list[list[Row]] = []
    opening: list[int] = []
    for row in sorted(rows, key=lambda row: row.prompt):  # so that what begins with a prompt follows it
        if not opening or row.prompt[: len(opening)] != opening:
            opening = row.prompt
            groups.append([])
        groups[-1].append(row)
    return groups


def sentences(found: Mapping[str, Certificate]) -> list[str]:
    """Return a line per certificate: "dpo: gap ≤ 0.1 is met: gap 0.0312, at most …"."""
    return [f"{name}: gap ≤ {one.epsilon:g} is {one.verdict}: {one.evidence}" for name, one in found.items()]
