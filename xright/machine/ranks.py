"""The ranks of one job. Every rank runs the same program (SPMD); alone in its process, a job is rank 0 of 1.

Rank 0 decides what depends on the outer world (is this cached? is that run finished?) and writes; `first` tells the
others what it found. They may wait long for it: another job may be building what it needs. So these messages have a
process group of their own (gloo), with a timeout of a week; a rank that dies closes its connections, which ends the
waiting at once.
"""

import os
from collections.abc import Callable
from datetime import timedelta
from functools import lru_cache
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from xright.errors import UserError

T = TypeVar("T")

PATIENCE = timedelta(days=7)
_messages: dist.ProcessGroup | None = None


def rank() -> int:
    """Return this process's number, from 0."""
    return 0 if _messages is None else dist.get_rank(_messages)


def world_size() -> int:
    """Return how many processes work on this job."""
    return 1 if _messages is None else dist.get_world_size(_messages)


def started_with_others() -> bool:
    """Tell whether srun, torchrun or another rank has started this process as one of several."""
    return "LOCAL_RANK" in os.environ or int(os.environ.get("SLURM_STEP_NUM_TASKS", 1)) > 1


def is_first() -> bool:
    """Tell whether this is rank 0, which decides and writes."""
    return rank() == 0


def join(rank: int, world_size: int, address: str, port: int, number: int = 0) -> None:
    """Meet the other ranks, who all call this: torch's default group (nccl or gloo), and the one for messages.

    number: of the job in its sweep; each job's meeting has keys of its own, or it would find the last one's.

    Raises UserError where they cannot meet at that address.
    """
    global _messages
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    try:
        place = _place(f"tcp://{address}:{port}", rank, world_size)
    except (dist.DistNetworkError, dist.DistStoreError) as error:
        where = f"{address}:{port} ({str(error).splitlines()[0]})"
        raise UserError(f"The processes cannot meet at {where}; choose another port by MASTER_PORT.") from error
    store = dist.PrefixStore(f"meeting {number}", place)
    dist.init_process_group(backend, store=store, rank=rank, world_size=world_size)
    _messages = dist.new_group(backend="gloo", timeout=PATIENCE)


@lru_cache(maxsize=1)
def _place(url: str, rank: int, world_size: int) -> dist.Store:
    """Return where ranks meet. Under srun and torchrun all jobs of a sweep meet at one place. It is kept, for a rank
    may come to the next job while another has not left the last."""
    return next(rendezvous(url, rank, world_size))[0]


def leave() -> None:
    """Back to one process, so that the next job of a sweep can meet its own ranks."""
    global _messages
    _messages = None
    if dist.is_initialized():
        dist.destroy_process_group()


def lost(error: BaseException) -> bool:
    """Tell whether an error of torch means that another rank is gone; gloo has no type of its own for it."""
    return world_size() > 1 and (
        isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error).lower())
    )


def broadcast(value: T) -> T:
    """Rank 0's value, on all ranks. The value must be picklable."""
    if _messages is None:
        return value
    box: list[Any] = [value]
    dist.broadcast_object_list(box, src=0, group=_messages)
    return box[0]


def gather(value: T) -> list[T]:
    """All ranks' values in their order, on all ranks. Values must be picklable."""
    if _messages is None:
        return [value]
    box: list[Any] = [None] * world_size()
    dist.all_gather_object(box, value, group=_messages)
    return box


def barrier() -> None:
    """Wait until all ranks have come here."""
    gather(None)


def first(decide: Callable[[], T]) -> T:
    """Return what `decide()` gives on rank 0, on all ranks; its errors, too, so that no rank waits for what never
    comes."""
    if _messages is None:
        return decide()
    outcome: tuple[Any, UserError | None] = (None, None)
    if is_first():
        try:
            outcome = (decide(), None)
        except UserError as error:
            outcome = (None, error)
        except Exception as error:
            broadcast((None, UserError(f"the first rank failed: {type(error).__name__}: {error}")))
            raise
    value, told = broadcast(outcome)
    if told is not None:
        raise told
    return value
