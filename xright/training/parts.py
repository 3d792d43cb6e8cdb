"""A checkpoint in parts: a folder of `<rank>-of-<ranks>.pt`, into which each rank writes what it keeps.

Rank 0's file is a checkpoint as any other, but that {"shard": i} stands in the place of what is split, and means the
i-th of each file's "shards". A matrix is split by its rows, so the parts of all files, one after the other, are the
matrix: any number of ranks can read it. The files are mapped, so that a rank reads no more than it keeps.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, Shard

from xright.machine.ranks import rank, world_size

SHARD, SHARDS = "shard", "shards"


class Split(list[Tensor]):
    """All parts of a tensor, in the order of their rows."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the whole."""
        return (sum(map(len, self)), *self[0].shape[1:])

    def rows(self, begin: int, end: int) -> Tensor:
        """Return a copy of some rows, or of as many of them as there are."""
        found, first = [], 0
        for part in self:
            found.append(part[max(begin - first, 0) : max(end - first, 0)])
            first += len(part)
        return torch.cat(found)


def split(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Return what this rank writes of a checkpoint."""
    parts: list[Tensor] = []

    def number(tensor: DTensor) -> dict[str, int]:
        parts.append(tensor.to_local())
        return {SHARD: len(parts) - 1}

    told = _each(checkpoint, number, of=lambda leaf: isinstance(leaf, DTensor))
    return {**({} if rank() else told), SHARDS: parts}


def files_of(path: Path) -> list[Path]:
    """Return the files of a checkpoint, rank 0's first; none where one is missing."""
    if path.is_file():
        return [path]
    found = {file.name: file for file in path.glob("*-of-*.pt")}
    names = [f"{rank}-of-{len(found)}.pt" for rank in range(len(found))]
    return [found[name] for name in names] if found.keys() == set(names) else []


def stored(path: Path) -> dict[str, Any]:
    """A checkpoint, mapped; what is split is `Split`."""
    head, *others = (torch.load(file, map_location="cpu", mmap=True, weights_only=True) for file in files_of(path))
    ranks = [part.pop(SHARDS, []) for part in (head, *others)]

    def found(mark: dict[str, int]) -> Split:
        return Split(parts[mark[SHARD]] for parts in ranks)

    return _each(head, found, of=lambda leaf: isinstance(leaf, dict) and leaf.keys() == {SHARD})


def whole(path: Path) -> dict[str, Any]:
    """A checkpoint with all its tensors whole and in memory, whoever wrote it."""
    return _each(stored(path), _in_memory, of=lambda leaf: isinstance(leaf, Split | Tensor))


def placed(value: Any, parameter: Tensor) -> Any:
    """Return this rank's part of what belongs to a parameter and has its shape; anything else as it is."""
    parts = Split([value]) if isinstance(value, Tensor) and value.ndim else value
    if not isinstance(parts, Split) or parts.shape != parameter.shape or not isinstance(parameter, DTensor):
        return _in_memory(value)
    size = -(-len(parameter) // world_size())
    own = parts.rows(rank() * size, (rank() + 1) * size).to(parameter.device)
    return DTensor.from_local(
        own, parameter.device_mesh, [Shard(0)], run_check=False, shape=parameter.shape, stride=parameter.stride()
    )


def _in_memory(value: Any) -> Any:
    """Return a copy of what is mapped, and what is split as one tensor."""
    return torch.cat(value) if isinstance(value, Split) else value.clone() if isinstance(value, Tensor) else value


def _each(tree: Any, change: Callable[[Any], Any], of: Callable[[Any], bool]) -> Any:
    """Return nested dicts, lists and tuples with what is `of` a kind changed."""
    if of(tree):
        return change(tree)
    if isinstance(tree, dict):
        return {key: _each(value, change, of) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)(_each(value, change, of) for value in tree)
    return tree
