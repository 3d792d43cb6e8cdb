"""`trainer=fsdp`: FSDP2, with the weights, gradients and moments of a training split over its ranks.

A model comes to Lightning sharded already (`placed`): it may not fit a device whole, and what is tried of its layout is
tried as it will be trained. Nothing is gathered for a checkpoint (`parts.py`).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.strategies import ModelParallelStrategy, Strategy
from torch import nn

from xright.errors import UserError
from xright.machine import files
from xright.machine.ranks import barrier, is_first, rank, world_size
from xright.models.sharding import shard
from xright.training import parts


class FullyShard(ModelParallelStrategy):
    """Lightning's strategy for models that are sharded by `fully_shard`, all ranks of all nodes in one mesh."""

    restore_checkpoint_after_setup = False  # callbacks must know where they are when the fit starts
    lightning_restore_optimizer = True

    def setup_environment(self) -> None:
        """Every rank has rows of its own."""
        self._data_parallel_size, self._tensor_parallel_size = self.num_nodes * self.num_processes, 1
        super().setup_environment()

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """Return the weights, still split."""
        assert self.lightning_module is not None
        return self.lightning_module.state_dict()

    def optimizer_state(self, optimizer: Any) -> dict[str, Any]:
        """Return an optimizer's state, its moments still split."""
        return optimizer.state_dict()

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any = None) -> None:
        """Write this rank's part; it is on the disk when all ranks go on."""
        folder = Path(filepath)
        if is_first():
            files.remove(folder)
            folder.mkdir(parents=True)
        barrier()
        file = folder / f"{rank()}-of-{world_size()}.pt"
        self.checkpoint_io.save_checkpoint(parts.split(checkpoint), file)
        files.sync(file)
        barrier()

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """Read what this rank keeps of a checkpoint, whichever trainer and number of ranks have written it."""
        assert self.lightning_module is not None
        found = parts.stored(Path(checkpoint_path))
        named = {name: p for name, p in self.lightning_module.named_parameters() if p.requires_grad}
        trained = list(named.values())
        found["state_dict"] = {name: parts.placed(value, named[name]) for name, value in found["state_dict"].items()}
        for optimizer in found["optimizer_states"]:
            for number, state in optimizer["state"].items():
                state |= {key: parts.placed(value, trained[number]) for key, value in state.items()}
        for means in found["gradient_means"].values():
            means[:] = [parts.placed(mean, parameter) for mean, parameter in zip(means, trained, strict=True)]
        return found

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Load the weights that this rank keeps."""
        Strategy.load_model_state_dict(self, checkpoint, strict)

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Load the moments that this rank keeps."""
        Strategy.load_optimizer_state_dict(self, checkpoint)


def placed(model: nn.Module, trainer: L.Trainer) -> nn.Module:
    """Put a model where it will work: whole on this rank's device, or sharded over all of them."""
    device: torch.device = trainer.strategy.root_device
    if isinstance(trainer.strategy, FullyShard) and getattr(model, "is_quantized", False):
        raise UserError("trainer=fsdp cannot split weights in 4 bits; give trainer=ddp, or model.quantize=null.")
    return shard(model, device) if isinstance(trainer.strategy, FullyShard) else model.to(device)
