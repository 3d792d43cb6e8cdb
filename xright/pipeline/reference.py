"""Log-probs of the preference rows under π_ref: computed once in fp32, stored by row id, read by every run.

bf16 forwards depend on the batch's shape, and the policy must be held against the same reference in every batch; so the
reference is computed in fp32 whatever the policy's dtype, in batches that no setting decides.
"""

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file
from safetensors.torch import save_file
from torch import nn
from tqdm import tqdm

from xright.cache import cached_stage
from xright.data.prompts import Row
from xright.data.rows import Rows
from xright.data.stream import Stream
from xright.errors import UserError
from xright.forward.collate import collate
from xright.forward.logprobs import response_logps
from xright.forward.order import longest, ordered
from xright.forward.packing import choose_layout
from xright.forward.rounding import rounding
from xright.machine.ranks import gather, is_first, rank, world_size
from xright.models.sharding import is_sharded, language_model

BASE, CHOSEN = "base", "chosen"  # reference=: the base itself, or SFT on chosen responses; or on a stream, by its name
LIBRARIES = ("torch", "transformers")  # another version of a model's code may compute other values
TOKENS = 2**13  # of a forward, if all its rows were as long as the longest


def learnt_from(kind: str, streams: Mapping[str, Stream]) -> list[str]:
    """Return the streams whose first responses a trained reference learns: one by its name, or with `chosen` the run's
    pairs (of which that is the chosen response) and labelled rows (of which the good ones are taken)."""
    judged = [name for name, stream in streams.items() if len(stream.responses) > 1 or stream.labelled]
    names = judged if kind == CHOSEN else [kind]
    if not names:
        raise UserError(
            "reference=chosen is SFT on chosen responses, but no objective learns from pairs or labelled rows; "
            "give reference=base."
        )
    return names


@torch.no_grad()
def reference_logps(model: nn.Module, rows: Sequence[Row], pad: int, layout: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Row ids (N,) and summed fp64 log-probs of their responses (N, R), model in eval mode; ranks share the rows. Of a
    sharded model all ranks compute each forward together, the last ones perhaps for nothing."""
    model.eval()
    layout = choose_layout(model, layout)
    device = next(model.parameters()).device
    ids, logps = [], []
    chunks = _chunks(rows, layout)
    idle = -len(chunks) % world_size() if is_sharded(model) else 0
    own = (chunks + [chunks[-1][:1]] * idle)[rank() :: world_size()]
    kept = len(chunks[rank() :: world_size()])
    for number, chunk in enumerate(tqdm(own, desc="reference log-probs", disable=None if is_first() else True)):
        batch = collate(chunk, pad, layout).to(device)
        logps_S, _ = response_logps(model, batch)
        if number < kept:
            ids += [row.id for row in chunk]
            logps.append(logps_S.view(batch.responses, -1).T.cpu())
    ids, logps = ([part for share in gather(found) for part in share] for found in (ids, logps))
    return torch.tensor(ids), torch.cat(logps).contiguous()


def stored_logps(
    key: Mapping[str, Any], rows: Rows, model: Callable[[], nn.Module], pad: int, layout: str
) -> tuple[np.ndarray, np.ndarray]:
    """Row ids (N,) and log-probs (N, R) for `Rows.with_reference`, computed where the cache has none for this key and
    these versions of what computes, and held to `check_agrees`.

    model: loads the reference, in fp32; where the cache has its log-probs, it is not asked.
    """

    def compute(folder: Path) -> dict[str, Any]:
        reference = model()
        ids, logps = reference_logps(reference, rows, pad, layout)
        check_agrees(reference, rows.with_reference(ids.numpy(), logps.numpy()), pad, layout)
        if is_first():
            save_file({"ids": ids, "logps": logps}, folder / "logps.safetensors")
        return {"rows": len(rows)}

    versions = {"versions": {name: version(name) for name in LIBRARIES}}
    stored = load_file(cached_stage("reference_logps", {**key, **versions}, compute).folder / "logps.safetensors")
    return stored["ids"], stored["logps"]


@torch.no_grad()
def check_agrees(model: nn.Module, rows: Rows, pad: int, layout: str) -> None:
    """UserError if the reference, asked again for a few rows, says other than what is stored.

    model: the reference, in fp32. rows: with their stored log-probs. The shortest row alone, and the longest, the
    shortest and two between them in one batch, as training may lay them out, where stored ones were computed among rows
    of like length or with like prompts. So an attention or rotary embedding that depends on the rows beside, and a
    forward that draws at random, are found.
    """
    model.eval()
    layout = choose_layout(model, layout)
    order = np.argsort(rows.lengths_NS.sum(axis=1), kind="stable")
    some = order[np.unique(np.linspace(0, len(order) - 1, 4).round().astype(int))]
    config = language_model(model).config.get_text_config()
    bound = rounding(torch.float32, getattr(config, "num_hidden_layers", None), getattr(config, "hidden_size", 1024))
    for together in (rows[some[:1]], rows[some]):
        batch = collate(together, pad, layout).to(next(model.parameters()).device)
        found, lengths = (tensor.double().cpu() for tensor in response_logps(model, batch))
        expected = torch.tensor(together.reference_NR).double().T.flatten()
        # A token's log-prob is the difference of numbers of some ten nats, however small it is itself.
        off = ((found - expected).abs() / (expected.abs() + 10 * lengths.clamp(min=1))).nan_to_num(torch.inf)
        worst = int(off.argmax())
        if off[worst] > bound:
            remedy = "give layout=padded" if layout == "packed" else "lower data.max_length, or use another family"
            raise UserError(
                f"{type(language_model(model)).__name__} gives a response {found[worst]:.4f} nats in a batch of "
                f"{len(together)} rows, and {expected[worst]:.4f} where its log-probs were stored: its attention "
                f"depends on the rows of a batch, or its forward is random; {remedy}."
            )


def _chunks(rows: Sequence[Row], layout: str) -> list[Rows]:
    """All rows in the order of the layout, as many together as their longest allows; the largest first, so that too
    large a chunk fails at once."""
    rows = ordered(rows, layout)
    padded_N = longest(rows) * (rows.lengths_NS.shape[1] - 1)  # tokens of a row
    begin, chunks = 0, []
    for end in range(1, len(rows) + 1):
        if end == len(rows) or padded_N[begin : end + 1].max() * (end + 1 - begin) > TOKENS:
            chunks.append(rows[begin:end])
            begin = end
    return sorted(chunks, key=lambda chunk: -len(chunk) * longest(chunk).max())
