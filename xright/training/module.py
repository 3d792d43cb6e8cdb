"""The joint step: arXiv 2410.15483's algorithm box as a LightningModule with manual optimization.

Look if asked; get weights; for each chosen objective weight × loss, backward; clip; step; observe. A rule that compares
gradients gives weights after all losses have gone backward, each on its own.
What a rule is called is not known here, nor how many objectives there are.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from xright.forward.batch import Batch
from xright.objectives import Objective
from xright.optim import Optim
from xright.strategies import Selector
from xright.strategies.schedule import Current, current
from xright.tracking.watcher import tell
from xright.training.agreed import Agreed
from xright.training.dropout import seed_dropout
from xright.training.gradients import Gradients, Means, check_finite
from xright.training.means import Interrupted, Rows, Totals, anchored, exact_means, means, summed
from xright.training.part import Part, even, halfway, laid_out, micro_batches


class JointModule(Agreed):
    """Updates one policy with the objectives that rules pick, step by step.

    objectives: {name: Objective}; schedule: each phase's rule and length in steps (a phase begins with a fresh
    optimizer, and its rule counts steps from there); collate: rows -> Batch; evaluation: {objective name: chunks of
    this rank's held-out rows, as many on every rank (a chunk may be empty)}, after the first step, every `eval_every`
    steps and at the end; micro_batch: rows per forward (None: the whole step at once). For callbacks that write: the
    run's folder, a tokenizer, and a showcase of rendered prompts, [{prompt, kind, is_chat}].
    look: how a rule sees a loss before it chooses: `grad` (the training forward, kept, so that the chosen one is
    not computed again; all graphs exist at once), `no_grad` (an extra forward, in eval mode, as the authors do), or
    `auto` (grad where the step is one micro-batch).
    spare: {stream: a row}, where weights are sharded and all ranks compute each forward together: one that has run out
    of rows computes this one beside the others.
    stop_requested: asked after each step and each evaluation chunk; one rank's yes ends the training on all of them
    (`training/checkpoint.py` saves and stops).

    `training_step` returns what callbacks watch: step (t, from 0), weights, losses (of the updated objectives, before
    the update), metrics, seen_gaps, tokens, seconds (evaluation excluded), and where one was due: evaluation
    ({name: f}, exact unit-weighted means over all rows and ranks), evaluation_metrics, eval_seconds, steps_done; or
    interrupted, where it was asked to stop. An evaluation that this cut short comes first when the training goes on.
    """

    def __init__(
        self,
        policy: nn.Module,
        objectives: Mapping[str, Objective],
        schedule: Sequence[tuple[Selector, int]],
        optim: Optim,
        *,
        collate: Callable[[Rows], Batch],
        evaluation: Mapping[str, Sequence[Rows]],
        eval_every: int,
        seed: int,
        micro_batch: int | None = None,
        folder: Path | None = None,
        tokenizer: Any = None,
        showcase: Sequence[Mapping[str, Any]] = (),
        look: str = "auto",
        spare: Mapping[str, Rows] | None = None,
        stop_requested: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.strict_loading = False  # checkpoints hold trainable parameters only
        self.policy, self.objectives, self.schedule = policy, objectives, schedule
        self.collate, self.optim, self.folder = collate, optim, folder
        self.evaluation, self.eval_every = evaluation, eval_every
        self.seed, self.micro_batch, self.look = seed, micro_batch, look
        self.tokenizer, self.showcase = tokenizer, showcase
        self.stop_requested, self.spare = stop_requested, spare or {}
        self.total_steps = sum(steps for _, steps in schedule)
        self.interrupted, self.steps_done, self.owes_evaluation = False, 0, not self.total_steps
        self.means: Means = {}  # of gradients, where a rule tracks them

    def training_step(self, batch: Mapping[str, Rows], batch_idx: int) -> dict[str, Any]:
        """One optimizer step on {stream: rows}."""
        started, step = time.perf_counter(), self.global_step
        phase = current(self.schedule, step)
        rule, own_step = phase.rule, step - phase.start  # the rule counts from the start of its phase
        optimizer = self._begin_step(step, phase)
        if parts := {name: self._part(name, batch) for name in rule.looks(own_step)}:
            rule.observe(self._look(parts, step))
        compared = rule.compares(own_step)
        weights = dict.fromkeys(compared, 1.0) or rule.weights(own_step)
        totals, tokens = {}, 0
        gradients = Gradients(self.policy.parameters(), self.means, rule.tracks(own_step)) if compared else None
        *_, last = weights
        for name, weight in weights.items():
            part = parts[name] = parts.get(name) or self._part(name, batch, rule.halves and bool(compared))
            totals[name] = self._backward(part, weight, name == last, gradients)
            tokens += part.tokens
        # The step's one wait for the device, before there is anything to clip: the update goes on beside what follows.
        found = self._means(totals, parts, step)
        losses, metrics = {n: loss for n, (loss, _) in found.items()}, {n: more for n, (_, more) in found.items()}
        if gradients:
            gramian = gradients.gramian(optimizer if rule.metric == "adam" else None, self.sum_over_ranks)
            check_finite(gramian, compared, step, {name: parts[name].rows for name in compared})
            weights = rule.combine(own_step, gramian)
            gradients.put(weights)
        for part in parts.values():
            part.forwards = None  # the graphs of what was not chosen
        self.clip_gradients(optimizer, self.optim.clip, "norm")
        optimizer.step()
        optimizer.zero_grad()
        rule.observe(losses)
        if reviewed := rule.reviews(own_step):
            rule.review({name: self._exact_means(name, parts[name].chunks, step)[0] for name in reviewed})
        watched = {"step": step, "weights": weights, "losses": losses, "metrics": metrics, "tokens": tokens}
        watched |= {"seen_gaps": dict(rule.gaps), "seconds": time.perf_counter() - started}
        self.steps_done, self.owes_evaluation = step + 1, self._evaluation_due(step + 1)
        if self._asked_to_stop():
            return watched | {"interrupted": True}
        return watched | (self.evaluate() if self.owes_evaluation else {})

    @torch.no_grad()
    def evaluate(self) -> dict[str, Any]:
        """All objectives on their evaluation rows; keys as in the class docstring."""
        started = time.perf_counter()
        try:
            results = {
                name: self._exact_means(name, chunks, self.steps_done, self._asked_to_stop)
                for name, chunks in self.evaluation.items()
            }
        except Interrupted:
            return {"interrupted": True}
        self.owes_evaluation = False
        return {
            "steps_done": self.steps_done,
            "evaluation": {name: loss for name, (loss, _) in results.items()},
            "evaluation_metrics": {name: metrics for name, (_, metrics) in results.items()},
            "eval_seconds": time.perf_counter() - started,
        }

    def on_fit_start(self) -> None:
        """Make up for an evaluation that was cut short, before anything else is trained."""
        if self.owes_evaluation:
            with self.trainer.precision_plugin.forward_context():
                tell(self.trainer, self, self.evaluate())

    def configure_model(self) -> None:
        """Change nothing: the policy has come sharded, where it is to be (`sharded.placed`)."""

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """One optimizer over everything trainable."""
        return self.optim.build(p for p in self.policy.parameters() if p.requires_grad)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep trainable parameters only, the rules' memory, and what is still to be done."""
        names = (name for name, parameter in self.policy.named_parameters() if parameter.requires_grad)
        trainable = {f"policy.{name}" for name in names}
        checkpoint["state_dict"] = {k: v for k, v in checkpoint["state_dict"].items() if k in trainable}
        checkpoint["rules"] = [rule.state_dict() for rule, _ in self.schedule]
        checkpoint |= {"gradient_means": self.means, "owes_evaluation": self.owes_evaluation}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        for (rule, _), state in zip(self.schedule, checkpoint["rules"], strict=True):
            rule.load_state_dict(state)
        self.means = checkpoint.get("gradient_means", {})  # an older one knew none
        self.steps_done, self.owes_evaluation = checkpoint["global_step"], checkpoint["owes_evaluation"]

    def _begin_step(self, step: int, phase: Current) -> Any:
        """Seed dropout for this step, set the learning rate, and forget moments and means where a phase begins."""
        seed_dropout(self.seed, step, self.global_rank, device=self.device)
        optimizer: Any = self.optimizers()
        if step == phase.start and step > 0:
            optimizer.state.clear()
            self.means.clear()
        for group in optimizer.param_groups:
            group["lr"] = self.optim.lr_at(step - phase.start, phase.steps)
        return optimizer

    def _part(self, name: str, batch: Mapping[str, Rows], halved: bool = False) -> Part:
        """Lay out an objective's rows; halved: the step's first half of them, then its second."""
        objective, rows = self.objectives[name], batch[self.objectives[name].stream]
        whole = int(self.sum_over_ranks(len(rows))[0]) if halved else 0
        cut = halfway(whole, self.global_rank, self.trainer.world_size) if halved else len(rows)
        halves = [micro_batches(half, self.micro_batch) for half in (rows[:cut], rows[cut:])]
        first, second = (even(half, self.most_over_ranks(len(half))) for half in halves) if self.spare else halves
        batches = [laid for chunk in first + second if (laid := self._lay_out(name, chunk))]
        batches = anchored(objective, self.policy, batches, self.sum_over_ranks)
        counted = [batch for batch in batches if not batch.idle]
        size, tokens = self.sum_over_ranks(sum(map(objective.size, counted)), sum(b.n_input_tokens for b in counted))
        return Part(
            name, rows, first + second, batches=batches, size=size, tokens=int(tokens), ends={len(first), len(batches)}
        )

    def _look(self, parts: Mapping[str, Part], step: int) -> dict[str, float]:
        """Each f of this step's rows, before the choice."""
        seen, totals = {}, {}
        for name, part in parts.items():
            if self.look == "no_grad" or (self.look == "auto" and len(part.batches) > 1):
                seen[name] = self._exact_means(name, part.chunks, step)[0]
            else:
                part.forwards = [summed(self.objectives[name], self.policy, batch) for batch in part.batches]
                totals[name] = Totals(loss for loss, _ in part.forwards)
        return seen | {name: loss for name, (loss, _) in self._means(totals, parts, step).items()}

    def _backward(self, part: Part, weight: float, last: bool, gradients: Gradients | None) -> Totals:
        """Accumulate the gradient of weight × f over the step's micro-batches. Ranks exchange gradients once a step: in
        the last backward of its last objective; or else whenever one is whole and taken."""
        totals = Totals()
        for index, batch in enumerate(part.batches):
            objective = self.objectives[part.name]
            loss, metrics = part.forwards[index] if part.forwards else summed(objective, self.policy, batch)
            whole = index + 1 in part.ends
            with nullcontext() if whole and (last or gradients) else self.no_exchange():
                # Data parallelism averages gradients over ranks; the world size turns that into the sum we divide.
                self.manual_backward(loss * (weight * self.trainer.world_size / part.size))
            totals.add(loss, metrics)
            if gradients and whole:
                gradients.take(part.name)
        part.forwards = None
        return totals

    def _means(
        self, totals: Mapping[str, Totals], parts: Mapping[str, Part], step: int
    ) -> dict[str, tuple[float, dict[str, float]]]:
        sizes, rows = ({name: getattr(parts[name], key) for name in totals} for key in ("size", "rows"))
        return means(totals, sizes, rows, self.sum_over_ranks, step=step)

    def _exact_means(
        self, name: str, chunks: Sequence[Rows], step: int, asked_to_stop: Callable[[], bool] = lambda: False
    ) -> tuple[float, dict[str, float]]:
        return exact_means(
            name, self.objectives[name], self.policy, chunks, lay_out=partial(self._lay_out, name), step=step,
            sum_over_ranks=self.sum_over_ranks, asked_to_stop=asked_to_stop,
        )  # fmt: skip

    def _lay_out(self, name: str, rows: Rows) -> Batch | None:
        batch = laid_out(self.collate, rows, self.spare.get(self.objectives[name].stream))
        return batch and batch.to(self.device)

    def _evaluation_due(self, steps_done: int) -> bool:
        return steps_done == 1 or steps_done % self.eval_every == 0 or steps_done == self.total_steps

    def _asked_to_stop(self) -> bool:
        """Agreed over ranks: they stop together or not at all."""
        self.interrupted = any(self.sum_over_ranks(self.stop_requested()))
        return self.interrupted
