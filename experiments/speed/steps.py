"""The usual step, and what each technique makes of it: one class, three choices.

- layout: `padded` to the longest sequence; `alone`: packed, every sequence with a prompt of its own; `shared`: packed,
  chosen and rejected behind one prompt; `trie`: whatever sequences begin with in common once.
- live: the reference log-probs are computed in every step, or taken from the rows.
- head: logits of `all` tokens, or of the `completion`s.

The naive step is padded, live, all: what most trainers do.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from setting import BETA, CLIP, OPTIM
from torch import Tensor, nn

from xright.data.rows import Row
from xright.forward import collate as layout
from xright.forward import trie
from xright.forward.batch import Batch
from xright.forward.collate import collate
from xright.forward.logprobs import backbone_and_head, hidden_states, token_logps

Line = tuple[list[int], tuple[trie.Branch, ...], list[list[int]]]  # as `trie.share` returns it


def apart(rows: Sequence[Row]) -> Batch:
    """A packed line in which only the responses of one row share tokens."""

    def by_row(sequences: Sequence[list[int]]) -> Line:
        line: list[int] = []
        branches: tuple[trie.Branch, ...] = ()
        places: list[list[int]] = [[]] * len(sequences)
        for number in range(len(rows)):
            own, its, where = trie.share(sequences[number :: len(rows)])
            places[number :: len(rows)] = [[len(line) + place for place in path] for path in where]
            line, branches = line + own, branches + its
        return line, branches, places

    with patch.object(layout, "share", by_row):
        return replace(layout.collate(rows, 0, "packed"), distinct_M=None, which_N=None)


class Step(ABC):
    """A contestant: its policy, its optimizer, and a loss; `step` is one optimizer step on rows of token ids."""

    def __init__(self, policy: nn.Module) -> None:
        self.policy = policy
        self.trained = [parameter for parameter in policy.parameters() if parameter.requires_grad]
        self.optimizer = OPTIM.build(self.trained)

    @abstractmethod
    def loss(self, rows: Sequence[Row]) -> Tensor:
        """Mean over response tokens (SFT) or pairs (DPO)."""

    def step(self, rows: Sequence[Row]) -> float:
        """Loss, backward, clip, update; the loss before the update."""
        loss = self.loss(rows)
        loss.backward()
        nn.utils.clip_grad_norm_(self.trained, CLIP)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.item()


class Technique(Step):
    """reference: a frozen second model for `live`; None: the policy without its adapter."""

    def __init__(
        self, policy: nn.Module, layout: str, live: bool, head: str, reference: nn.Module | None = None
    ) -> None:
        super().__init__(policy)
        self.layout, self.live, self.head, self.reference = layout, live, head, reference

    def loss(self, rows: Sequence[Row]) -> Tensor:
        """DPO for pairs, SFT for single responses."""
        batch = self.batch(rows)
        if len(rows[0].responses) == 1:
            return self._cross_entropy(batch) if self.head == "all" else -self.logps_N(self.policy, batch).mean()
        if self.live:
            model, context = self._live()
            with torch.no_grad(), context:
                reference_RB = self.logps_RB(model, batch)
        else:
            reference_RB = torch.tensor([row.reference for row in rows]).T
        margins_RB = self.logps_RB(self.policy, batch) - reference_RB
        return -F.logsigmoid(BETA * (margins_RB[0] - margins_RB[1])).mean()

    def batch(self, rows: Sequence[Row]) -> Batch:
        """The rows laid out; `alone` turns pairs into single rows, all chosen ones first."""
        if self.layout == "alone":
            sides = range(len(rows[0].responses))
            rows = [replace(row, responses=(row.responses[i],), reference=None) for i in sides for row in rows]
        if self.layout in ("alone", "shared"):
            return apart(rows)
        return collate(rows, 0, "padded" if self.layout == "padded" else "packed")

    def logps_RB(self, model: nn.Module, batch: Batch) -> Tensor:
        """Summed over each sequence's response."""
        if self.head == "all":
            logits_LTV = model(input_ids=batch.input_ids_LT, attention_mask=batch.attention_mask_LT).logits
            labels_LT = batch.input_ids_LT[:, 1:]
            logps_LT = logits_LTV[:, :-1].log_softmax(-1).gather(2, labels_LT[:, :, None]).squeeze(2)
            wanted_LT = torch.zeros_like(labels_LT)
            wanted_LT[batch.line_N, batch.position_N] = 1
            return (logps_LT * wanted_LT).sum(1).view(2, -1)
        return torch.stack([part.sum() for part in self.logps_N(model, batch).split(batch.lengths)]).view(2, -1)

    def logps_N(self, model: nn.Module, batch: Batch) -> Tensor:
        """Of every response token, from logits of these alone."""
        hidden_ND = hidden_states(model, batch)[batch.line_N, batch.position_N]
        _, head = backbone_and_head(model)
        return token_logps(head(hidden_ND), batch.token_N)

    def _cross_entropy(self, batch: Batch) -> Tensor:
        """SFT as transformers has it: labels, and a mean over those that are not −100."""
        labels_LT = torch.full_like(batch.input_ids_LT, -100)
        labels_LT[batch.line_N, batch.position_N + 1] = batch.token_N
        return self.policy(batch.input_ids_LT, attention_mask=batch.attention_mask_LT, labels=labels_LT).loss

    def _live(self) -> tuple[nn.Module, AbstractContextManager]:
        policy: Any = self.policy
        return (self.reference, nullcontext()) if self.reference else (policy, policy.disable_adapter())
