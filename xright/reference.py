"""Log-probs of the preference rows under π_ref: computed once in fp32, stored by row id, read by every run.

bf16 forwards depend on the batch's shape, and the policy must be held against the same reference in every batch; so the
reference is computed in fp32 whatever the policy's dtype.
"""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from tqdm import tqdm

from xright.data.collate import collate, length_sorted_chunks
from xright.data.prompts import Row
from xright.objectives.logprobs import response_logps


@torch.no_grad()
def reference_logps(model: nn.Module, rows: list[Row], pad: int, batch_size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Row ids (N,) and summed fp32 log-probs of their responses (N, R), model in eval mode."""
    model.eval()
    device = next(model.parameters()).device
    ids, logps = [], []
    for chunk in tqdm(length_sorted_chunks(rows, batch_size), desc="reference log-probs", disable=None):
        batch = collate(chunk, pad).to(device)
        logps_S, _ = response_logps(model, batch)
        ids += [row.id for row in chunk]
        logps.append(logps_S.view(batch.responses, -1).T.cpu())
    return torch.tensor(ids), torch.cat(logps).contiguous()


def read_logps(path: Path) -> dict[int, tuple[float, float]]:
    """{row id: (log π_ref(chosen), log π_ref(rejected))} of a file with `ids` (N,) and `logps` (N, 2)."""
    stored = load_file(path)
    pairs = zip(stored["ids"].tolist(), stored["logps"].tolist(), strict=True)
    return {row_id: (chosen, rejected) for row_id, (chosen, rejected) in pairs}
