"""The joint step: arXiv 2410.15483's algorithm box as a LightningModule with manual optimization.

Look if asked; get weights; for each chosen objective weight × loss, backward; clip; step; observe.
What a strategy is called is not known here, nor how many objectives there are.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import lightning as L
import torch
from torch import nn

from xright.objectives import Batch, Objective
from xright.optim import Optim
from xright.strategies import Selector

Rows = Sequence[Any]
Losses = dict[str, float]


class NonFiniteLoss(Exception):
    """A loss became NaN or infinite. objective, step (from 0) and the rows it was computed on."""

    def __init__(self, objective: str, step: int, rows: Rows) -> None:
        super().__init__(f"the {objective} loss of step {step} is not finite")
        self.objective, self.step, self.rows = objective, step, rows


@dataclass
class _Part:
    """One objective's share of a step: its rows, laid out in micro-batches; size: units over all ranks; forwards:
    (Σ ℓ with its graph, metrics) per micro-batch, where a look has computed them."""

    name: str
    rows: Rows
    batches: list[Batch]
    size: float
    forwards: list[tuple[torch.Tensor, dict]] | None = None


class JointModule(L.LightningModule):
    """Updates one policy with the objectives a selector picks, step by step.

    objectives: {name: Objective}; collate: rows -> Batch; phases: lengths in steps, each with a fresh optimizer;
    evaluation: {objective name: chunks of held-out rows}, evaluated after the first step, every `eval_every` steps and
    at the end; micro_batch: rows per forward (None: the whole step at once); tokenizer: for callbacks that write text.
    look: how a selector sees a loss before it chooses: `grad` (the training forward, kept, so that the chosen one is
    not computed again; all graphs exist at once), `no_grad` (an extra forward, in eval mode, as the authors do), or
    `auto` (grad where the step is one micro-batch).

    `training_step` returns what callbacks watch: step (t, from 0), weights, losses (of the updated objectives, before
    the update), metrics, seen_gaps, tokens, seconds (evaluation excluded), and where one was due: evaluation
    ({name: f}, exact unit-weighted means over all rows and ranks), evaluation_metrics, eval_seconds.
    """

    def __init__(
        self,
        policy: nn.Module,
        objectives: Mapping[str, Objective],
        selector: Selector,
        collate: Callable[[Rows], Batch],
        optim: Optim,
        phases: Sequence[int],
        evaluation: Mapping[str, Sequence[Rows]],
        eval_every: int,
        seed: int,
        micro_batch: int | None = None,
        tokenizer: Any = None,
        look: str = "auto",
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.strict_loading = False  # checkpoints hold trainable parameters only
        self.policy, self.objectives, self.selector = policy, objectives, selector
        self.collate, self.optim, self.phases = collate, optim, phases
        self.evaluation, self.eval_every = evaluation, eval_every
        self.seed, self.micro_batch, self.tokenizer, self.look = seed, micro_batch, tokenizer, look

    def training_step(self, batch: Mapping[str, Rows], batch_idx: int) -> dict[str, Any]:
        """One optimizer step on {stream: rows}."""
        started, step = time.perf_counter(), self.global_step
        optimizer = self._begin_step(step)
        looked = {name: self._part(name, batch) for name in self.selector.looks(step)}
        if looked:
            self.selector.observe({name: self._look(part, step) for name, part in looked.items()})
        weights = self.selector.weights(step)
        losses, metrics, tokens = {}, {}, 0
        for name, weight in weights.items():
            part = looked.pop(name, None) or self._part(name, batch)
            losses[name], metrics[name] = self._backward(part, weight, step)
            tokens += sum(batch.n_input_tokens for batch in part.batches)
        looked.clear()  # the graphs of what was not chosen
        self.clip_gradients(optimizer, self.optim.clip, "norm")
        optimizer.step()
        optimizer.zero_grad()
        self.selector.observe(losses)
        watched = {"step": step, "weights": weights, "losses": losses, "metrics": metrics, "tokens": tokens}
        watched |= {"seen_gaps": self.selector.seen_gaps(), "seconds": time.perf_counter() - started}
        return watched | (self.evaluate() if self._evaluation_due(step + 1) else {})

    @torch.no_grad()
    def evaluate(self) -> dict[str, Any]:
        """All objectives on their evaluation rows; keys as in the class docstring."""
        started = time.perf_counter()
        results = {name: self._total(name, chunks, self.global_step) for name, chunks in self.evaluation.items()}
        return {
            "evaluation": {name: loss for name, (loss, _) in results.items()},
            "evaluation_metrics": {name: metrics for name, (_, metrics) in results.items()},
            "eval_seconds": time.perf_counter() - started,
        }

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """One AdamW over everything trainable."""
        return self.optim.build(p for p in self.policy.parameters() if p.requires_grad)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep trainable parameters only, and the selector's memory."""
        trainable = {f"policy.{name}" for name, p in self.policy.named_parameters() if p.requires_grad}
        checkpoint["state_dict"] = {k: v for k, v in checkpoint["state_dict"].items() if k in trainable}
        checkpoint["selector"] = self.selector.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the selector's memory."""
        self.selector.load_state_dict(checkpoint["selector"])

    def _begin_step(self, step: int) -> Any:
        """Seed dropout for this step, set the learning rate, and forget the moments where a phase begins."""
        self._seed_dropout(step)
        optimizer: Any = self.optimizers()
        start = 0
        for length in self.phases:
            if step < start + length:
                break
            start += length
        if step == start and step > 0:
            optimizer.state.clear()
        for group in optimizer.param_groups:
            group["lr"] = self.optim.lr_at(step - start, length)
        return optimizer

    def _seed_dropout(self, step: int) -> None:
        """A pure function of (seed, step, rank): nothing to save. `torch.manual_seed` would take half a millisecond."""
        seed = hash((self.seed, step, self.global_rank))
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)

    def _part(self, name: str, batch: Mapping[str, Rows]) -> _Part:
        """Lay out an objective's rows."""
        objective = self.objectives[name]
        rows = batch[objective.stream]
        batches = [self.collate(chunk).to(self.device) for chunk in self._chunks(rows)]
        return _Part(name, rows, batches, self._sum_over_ranks(sum(objective.size(batch) for batch in batches)))

    def _look(self, part: _Part, step: int) -> float:
        """f of this step's rows, before the choice."""
        if self.look == "no_grad" or (self.look == "auto" and len(part.batches) > 1):
            with torch.no_grad():
                return self._total(part.name, self._chunks(part.rows), step)[0]
        part.forwards = [self.objectives[part.name](self.policy, batch) for batch in part.batches]
        return self._mean([float(loss.detach()) for loss, _ in part.forwards], part, step)

    def _backward(self, part: _Part, weight: float, step: int) -> tuple[float, dict[str, float]]:
        """Accumulate the gradient of weight × f over the step's micro-batches; (f, metrics)."""
        totals, sums = [], dict[str, Any]()
        for index, batch in enumerate(part.batches):
            loss, metrics = part.forwards[index] if part.forwards else self.objectives[part.name](self.policy, batch)
            # Data parallelism averages gradients over ranks; the world size turns that into the sum we divide.
            self.manual_backward(loss * (weight * self.trainer.world_size / part.size))
            totals.append(float(loss.detach()))
            _add(sums, metrics)
        value = self._mean(totals, part, step)
        return value, {key: self._sum_over_ranks(float(found)) / part.size for key, found in sums.items()}

    def _mean(self, totals: Sequence[float], part: _Part, step: int) -> float:
        """f from its micro-batches' sums; NonFiniteLoss where it is none."""
        value = self._sum_over_ranks(math.fsum(totals)) / part.size
        if not math.isfinite(value):
            raise NonFiniteLoss(part.name, step, part.rows)
        return value

    def _total(self, name: str, chunks: Sequence[Rows], step: int) -> tuple[float, dict[str, float]]:
        """Exact mean of an objective (and its metrics) over chunks of rows, without gradient and dropout."""
        objective, total, count = self.objectives[name], 0.0, 0
        sums: dict[str, Any] = {}
        self.policy.eval()
        for chunk in chunks:
            batch = self.collate(chunk)
            loss, metrics = objective(self.policy, batch.to(self.device))
            total += float(loss)
            count += objective.size(batch)
            _add(sums, metrics)
        self.policy.train()
        size = self._sum_over_ranks(count)
        value = self._sum_over_ranks(total) / size
        if not math.isfinite(value):
            raise NonFiniteLoss(name, step, [row for chunk in chunks for row in chunk])
        return value, {key: self._sum_over_ranks(float(found)) / size for key, found in sums.items()}

    def _chunks(self, rows: Rows) -> list[Rows]:
        size = self.micro_batch or len(rows)
        return [rows[i : i + size] for i in range(0, len(rows), size)]

    def _evaluation_due(self, steps_done: int) -> bool:
        return steps_done == 1 or steps_done % self.eval_every == 0 or steps_done == sum(self.phases)

    def _sum_over_ranks(self, value: float) -> float:
        if self.trainer.world_size == 1:
            return value
        total = self.trainer.strategy.reduce(
            torch.tensor(value, dtype=torch.float64, device=self.device), reduce_op="sum"
        )
        return float(total)


def _add(sums: dict[str, Any], metrics: Mapping[str, Any]) -> None:
    for key, value in metrics.items():
        sums[key] = sums.get(key, 0.0) + value
