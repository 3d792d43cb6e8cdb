"""Starts the ranks of a job, and ends it when one of them dies.

srun and torchrun start ranks themselves; then there is only to meet. Otherwise the first process starts the others:
each is `python -m xright.launch.one_run`, gets the configuration of its one job on stdin (so it neither composes one
nor knows of sweeps; Lightning's launcher would run the whole command line again, `-m` included), and works on
`pipeline.run` like the first. The pipe stays open: its end tells a rank that the first has died. torch's own launcher
(`torch.distributed.launcher`, 2.13) was tried: SIGUSR1 ends it and its ranks at once, and SIGTERM leaves them 30 s.
"""

import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from lightning.fabric.plugins.environments import LightningEnvironment
from omegaconf import DictConfig, OmegaConf

from xright.errors import UserError
from xright.machine import preemption, ranks
from xright.training.fit import environment, make_trainer

log = logging.getLogger(__name__)

THEREFORE = "and the run with it; the same command goes on from the last checkpoint."
GRACE = 5.0  # seconds in which a process may end by itself once another rank has: with a better message than ours


class RankDied(RuntimeError):
    """A rank ended before the job did. The message says which, and how."""


@contextmanager
def processes(cfg: DictConfig, strategy: str, overrides: Sequence[str], number: int = 0) -> Iterator[None]:
    """All ranks that `trainer.devices` and `trainer.num_nodes` ask for, for the length of a job.

    Raises UserError where they cannot be had. Afterwards this process is as it was before: the next job of a sweep
    starts ranks of its own. number: of the job in its sweep.
    """
    trainer = make_trainer(cfg.trainer, logger=False, enable_progress_bar=False)
    local, world = trainer.num_devices, trainer.num_devices * trainer.num_nodes
    where = environment()
    given = 1 if isinstance(where, LightningEnvironment) else where.world_size()
    if given not in (1, world) or (given == 1 and trainer.num_nodes > 1):
        raise UserError(
            f"trainer.devices={local} on trainer.num_nodes={trainer.num_nodes} needs {world} processes, but {given} "
            "were started; start one per device on every node (srun --ntasks-per-node, torchrun --nproc-per-node)."
        )
    if world == 1:
        yield
        return
    before = dict(os.environ)
    children: list[subprocess.Popen] = []
    try:
        if given == 1 and "LOCAL_RANK" not in os.environ:
            message = json.dumps([OmegaConf.to_yaml(cfg), strategy, list(overrides), number])
            children = _start(world, message)
        with _watched(children):
            _meet(where, world, local, cfg, number=number)
            yield
            ranks.barrier()
        for child in children:
            child.wait()
        ranks.leave()
    finally:  # after a failure the program ends; to take leave of ranks that are no more could wait for ever
        for child in children:
            child.kill()
            child.wait()
        os.environ.clear()
        os.environ.update(before)


def _start(world: int, message: str) -> list[subprocess.Popen]:
    """Ranks 1 … world−1 on this machine; this process is rank 0."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "NODE_RANK": "0", "LOCAL_RANK": "0"}
    children = []
    for rank in range(1, world):
        child = subprocess.Popen(
            [sys.executable, "-m", "xright.launch.one_run"],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=os.environ | {"LOCAL_RANK": str(rank)}, text=True,
        )  # fmt: skip
        children.append(child)
        assert child.stdin is not None
        with suppress(BrokenPipeError):  # it has died already: _watched will say so
            child.stdin.write(message + "\n")
            child.stdin.flush()
    return children


def _meet(where: Any, world: int, local: int, cfg: DictConfig, number: int) -> None:
    rank = where.node_rank() * local + where.local_rank()
    if torch.cuda.is_available():
        torch.cuda.set_device(where.local_rank())
    elif cfg.threads is None:  # ranks that fight for the cores are slower than one
        torch.set_num_threads(max(1, min(torch.get_num_threads(), (os.cpu_count() or 1) // local)))
    ranks.join(rank, world, where.main_address, where.main_port, number=number)
    if rank:
        logging.getLogger("xright").setLevel(logging.ERROR)  # the first rank says it
    else:
        log.info("%d processes work on this job", world)


@contextmanager
def _watched(children: Sequence[subprocess.Popen]) -> Iterator[None]:
    """While this lasts, the death of a child ends this process: it may wait for that rank in torch, and for ever."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.2):
            if (death := _death(children)) and not over.wait(GRACE):
                code, sentence = death
                print(f"xright: {sentence}", file=sys.stderr, flush=True)
                os._exit(preemption.EXIT_CODE if code == preemption.EXIT_CODE else 1)

    if children:
        threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    except RuntimeError as error:  # of torch: a connection was closed
        time.sleep(1.0)  # the one who closed it may be about to end
        if death := _death(children):
            raise RankDied(death[1]) from error
        if ranks.lost(error) and not preemption.requested():
            raise RankDied(f"another rank has ended, {THEREFORE}") from error
        raise
    finally:
        over.set()


def _death(children: Sequence[subprocess.Popen]) -> tuple[int, str] | None:
    """Exit code and story of a child that did not end well."""
    for rank, child in enumerate(children, start=1):
        if code := child.poll():
            how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
            return code, f"rank {rank} {how}, {THEREFORE}"
    return None


def told_by_first() -> tuple[DictConfig, str, list[str], int]:
    """Return what the first rank tells one that `_start` has started: configuration, strategy, overrides, number. The
    end of the pipe will end this process."""
    text, strategy, overrides, number = json.loads(sys.stdin.readline())

    def watch() -> None:
        sys.stdin.read()
        time.sleep(GRACE)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    cfg: Any = OmegaConf.create(text)
    return cfg, strategy, overrides, number
