"""The launcher behind `hydra/launcher=local`: the cells of a sweep side by side, each with a device of this machine.

Every place (a GPU, or a share of the cores) has a process of its own, which runs one cell after the other as Hydra's
plain launcher does, in a worker (`worker.py`). The sweep's process never imports torch, so that to fork is safe. Ctrl-C
lets the cells finish their step and save, like a signal.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.queues import SimpleQueue
from typing import Any

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.utils import JobReturn, JobStatus

from xright.launch import cells, worker
from xright.launch.unfinished import Unfinished
from xright.machine.command import end

_launcher: BasicLauncher | None = None  # in a place's process


class LocalLauncher(BasicLauncher):
    """A Hydra launcher; its arguments are those of conf/hydra/launcher/local.yaml."""

    def __init__(self, jobs: int | None, gpus_per_job: int) -> None:
        super().__init__()
        self.places = places(gpus(), jobs, gpus_per_job)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run all cells and wait for them. What did not finish is returned as failed (`cells.py` tells it)."""
        context = multiprocessing.get_context("fork")
        free: Any = context.SimpleQueue()
        for place in self.places:
            free.put(place)
        with ProcessPoolExecutor(len(self.places), context, _begin, (self, free)) as pool:
            jobs = [pool.submit(_cell, list(cell), initial_job_idx + i) for i, cell in enumerate(job_overrides)]
            try:
                return [_returned(job) for job in jobs]
            except KeyboardInterrupt:
                pool.shutdown(wait=False, cancel_futures=True)
                cells.tell(signal.SIGTERM)
                raise


def places(gpus: Sequence[str], jobs: int | None, gpus_per_job: int) -> list[dict[str, str]]:
    """Return the environment of each place: its GPUs, and its share of the cores unless that is set already.

    gpus: of this machine. jobs: places; null: as many as there are GPUs for. More than that share GPUs.

    >>> [place["CUDA_VISIBLE_DEVICES"] for place in places(["0", "1", "2", "3"], None, 2)]
    ['0,1', '2,3']
    """
    if not isinstance(gpus_per_job, int) or gpus_per_job < 1 or (jobs is not None and jobs < 1):
        end(f"hydra.launcher.jobs={jobs} and hydra.launcher.gpus_per_job={gpus_per_job} must be numbers from 1 on.")
    groups = [",".join(gpus[i : i + gpus_per_job]) for i in range(0, len(gpus) - gpus_per_job + 1, gpus_per_job)]
    if gpus and not groups:
        end(f"hydra.launcher.gpus_per_job={gpus_per_job}, but there are {len(gpus)} GPUs here.")
    if jobs is None and not groups:
        end("hydra/launcher=local finds no GPU; say how many cells may run at once: hydra.launcher.jobs=2.")
    jobs = jobs or len(groups)
    threads = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // jobs)))}
    return [
        threads | ({"CUDA_VISIBLE_DEVICES": groups[place % len(groups)]} if groups else {}) for place in range(jobs)
    ]


def gpus() -> list[str]:
    """Return what CUDA_VISIBLE_DEVICES calls the GPUs that this process may use."""
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [gpu for gpu in visible.split(",") if gpu not in ("", "-1")]
    import pynvml

    try:
        pynvml.nvmlInit()
        return [str(gpu) for gpu in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError:  # no driver
        return []


def _begin(launcher: BasicLauncher, free: "SimpleQueue[dict[str, str]]") -> None:
    """In a place's process, once."""
    global _launcher
    _launcher = launcher
    os.environ |= free.get()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the sweep's process tells the cells
    threading.Thread(target=worker.die_with_parent, daemon=True).start()


def _cell(overrides: Sequence[str], number: int) -> JobReturn:
    """In a place's process: one cell."""
    assert _launcher is not None
    (told,) = BasicLauncher.launch(_launcher, [overrides], number)
    return told


def _returned(job: "Future[JobReturn]") -> JobReturn:
    try:
        return job.result()
    except BrokenProcessPool:
        return JobReturn(status=JobStatus.FAILED, _return_value=Unfinished(1, "the process that started it died"))
