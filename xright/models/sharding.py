"""A policy whose weights are split over the ranks (FSDP2, `torch.distributed.fsdp.fully_shard`).

Each rank keeps its rows of every matrix, with their gradients and moments; the weights of a block are gathered for its
forward and backward, and let go. So all ranks must compute each forward together.

What is no block (embeddings, the last norm, the output head) is gathered while a method of the model runs that FSDP
knows of: its `forward`, and `with_weights`, which runs any function.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor

from xright.machine.ranks import is_first, world_size
from xright.machine.told import told

METHOD = "with_weights"


def language_model(policy: nn.Module) -> Any:
    """Return the model without the PEFT wrapper; adapters stay inside."""
    return policy.get_base_model() if hasattr(policy, "get_base_model") else policy  # type: ignore[operator]


def shard(policy: nn.Module, device: torch.device) -> nn.Module:
    """Split a policy over the ranks, in place: block after block reaches the device, and only this rank's part stays.

    Alone, a rank keeps it whole. What is read from safetensors is mapped, not loaded: of that, too, a rank takes its
    part. UserError where a parameter cannot be split.
    """
    if world_size() == 1:
        return policy.to(device)
    model: Any = language_model(policy)
    if not isinstance(model, FSDPModule):
        mesh = init_device_mesh(device.type, (world_size(),))
        with told(f"{type(model).__name__} cannot be sharded", "give trainer=ddp"):
            for module in (*_blocks(model), model):
                fully_shard(module, mesh=mesh, reshard_after_forward=True)  # between forwards, parameters are parts
        setattr(model, METHOD, _run)
        register_fsdp_forward_method(model, METHOD)
    return policy


def is_sharded(policy: nn.Module) -> bool:
    """Tell whether a policy's weights are split over the ranks."""
    return isinstance(language_model(policy), FSDPModule)


def with_weights(policy: nn.Module, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Return `function(*args, **kwargs)`, run where the weights that are in no block are there."""
    run = getattr(language_model(policy), METHOD, _run)
    return run(function, *args, **kwargs)


def gathered(policy: nn.Module) -> dict[str, Tensor]:
    """A sharded policy's state dict, whole, on the CPU of rank 0; of a policy with an adapter, what an adapter's folder
    may hold. All ranks call it; on the others it is empty."""
    model: Any = language_model(policy)
    tables = {id(p) for of in (model.get_input_embeddings(), model.get_output_embeddings()) for p in of.parameters()}
    found: dict[str, Tensor] = {}
    seen: dict[int, Tensor] = {}  # tied weights stay one tensor
    for name, value in policy.state_dict(keep_vars=True).items():
        if policy is model or value.requires_grad or id(value) in tables:
            if id(value) not in seen:
                part = value.detach()
                seen[id(value)] = (part.full_tensor() if isinstance(part, DTensor) else part).cpu()
            if is_first():
                found[name] = seen[id(value)]
            else:
                seen[id(value)] = torch.empty(0)
    return found


@contextmanager
def by_its_own_class(policy: nn.Module) -> Iterator[None]:
    """Inside, a sharded model is of the class that it had: transformers looks by it how a family's weights are named in
    files, and FSDP makes a subclass."""
    model = language_model(policy)
    sharded = type(model)
    if is_sharded(policy):
        model.__class__ = next(kind for kind in sharded.__mro__ if not issubclass(kind, FSDPModule))
    try:
        yield
    finally:
        model.__class__ = sharded


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the members of the outermost lists of modules: a transformer's layers."""
    for child in module.children():
        if isinstance(child, nn.ModuleList):
            yield from child
        else:
            yield from _blocks(child)


def _run(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return function(*args, **kwargs)
