"""The cells of a sweep, whatever sweeper chooses them and whatever launcher starts them: one that ends badly leaves the
others running, and the sweep ends with a table of what did not finish and why, and with a code that is not 0.

`sweep.py` puts `Launcher` and `Sweeper` around those that are configured. The same command tries again what did not
finish, and that alone. A sweep that is asked to go (a signal, Ctrl-C) ends at once.
"""

import logging
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import psutil
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus, configure_log, filter_overrides
from hydra.plugins.launcher import Launcher as HydraLauncher
from hydra.plugins.sweeper import Sweeper as HydraSweeper
from omegaconf import DictConfig, OmegaConf

from xright.config.naming import run_path
from xright.launch import worker
from xright.launch.unfinished import Unfinished, table
from xright.machine import preemption
from xright.machine.importing import importing

log = logging.getLogger(__name__)

BASIC = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"
PLAIN = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"
finished: dict[tuple[str, ...], tuple[str, dict[str, Any]]] = {}  # {overrides: (folder, result)} of such cells
_ends: list[tuple[Sequence[str], Unfinished | None]] = []  # of this process's sweep


def cell(cfg: DictConfig, strategy: str, overrides: Sequence[str], number: int) -> dict[str, Any] | None:
    """One cell, in a process of its own: the run's result. Raises Unfinished."""
    try:
        hydra: Any = HydraConfig.get()
        logs: Any = OmegaConf.to_container(OmegaConf.masked_copy(hydra, ["job_logging", "verbose"]), resolve=True)
        return worker.call("xright.launch.cells.work", logs, cfg, strategy, overrides, number)
    except worker.Ended as end:
        where = None
        with suppress(Exception):  # a configuration that cannot be resolved has no folder
            config: Any = OmegaConf.to_container(cfg, resolve=True)
            where = run_path(config, strategy, overrides)
        raise Unfinished(end.code, (end.reason or _how(end.code)).removeprefix("UserError: "), where) from None


def work(logs: dict[str, Any], *told: Any) -> dict[str, Any] | None:
    """Run the job in the worker, which may be older than this cell's logging."""
    with importing():
        from xright.launch.one_run import job

    configure_log(OmegaConf.create(logs["job_logging"]), logs["verbose"])
    return job(*told)


class Launcher(HydraLauncher):
    """Wraps another launcher: notes how each cell ended, and lets the sweeper go on.

    inner: its configuration. value: what of a result the sweeper is told (`value_of`). searches: the sweeper chooses
    its cells as it goes, so that nobody has looked yet which are finished.
    """

    def __init__(self, inner: DictConfig, value: str, searches: bool) -> None:
        self.inner: Any = Plugins.instance()._instantiate(inner)
        self.plain, self.value, self.searches = inner._target_ == PLAIN, value, searches

    def setup(self, *, config: DictConfig, **kwargs: Any) -> None:
        """Hydra hands over its context, which the inner launcher needs."""
        self.config = config
        self.inner.setup(config=config, **kwargs)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Tell of the cells that are finished, run the others. Ends the program if it was asked to go."""
        if self.searches:
            self._look(job_overrides)
        todo = [overrides for overrides in job_overrides if tuple(overrides) not in finished]
        if len(todo) < len(job_overrides):
            configure_log(self.config.hydra.job_logging, self.config.hydra.verbose)
        known = {tuple(cell): _told(cell) for cell in job_overrides if tuple(cell) in finished}
        try:
            with _passed_on():
                launched = iter(self.inner.launch(todo, initial_job_idx) if todo else ())
        except (KeyboardInterrupt, preemption.Preempted) as signal:
            sys.exit(preemption.INTERRUPTED if isinstance(signal, KeyboardInterrupt) else preemption.EXIT_CODE)
        returned = [known.get(tuple(overrides)) or next(launched) for overrides in job_overrides]
        for overrides, told in zip(job_overrides, returned, strict=True):
            end = _end(told)
            if end and end.code in worker.GOING:
                sys.exit(end.code)
            _ends.append((filter_overrides(overrides), end))
            if end:  # as a value, which is none for a sweeper that looks for the best: it counts the trial as failed
                told.status, told.return_value = JobStatus.COMPLETED, end
            else:
                told.return_value = value_of(told.return_value, self.value)
        return returned

    def _look(self, batch: Sequence[Sequence[str]]) -> None:
        """Which cells are finished already, whatever process the others would get."""
        given: Any = OmegaConf.to_container(self.config.hydra.overrides.hydra)
        try:
            name = self.config.hydra.job.config_name
            found = worker.call("xright.launch.sweep.look", name, [list(cell) for cell in batch], elsewhere(given))
        except worker.Ended as end:
            sys.exit(end.code)
        finished.update({tuple(cell): run for cell, run in zip(batch, found, strict=True) if run})
        if not self.plain:
            worker.close()  # the cells have theirs elsewhere


class Sweeper(HydraSweeper):
    """Wraps another sweeper: tells at the end what did not finish. inner: its configuration."""

    def __init__(self, inner: DictConfig) -> None:
        self.inner: Any = Plugins.instance()._instantiate(inner)
        if inner._target_ == BASIC:  # it would compose each cell, which `sweep.check` has done
            vars(self.inner)["validate_batch_is_legal"] = lambda batch: None

    def setup(self, **kwargs: Any) -> None:
        """Hydra hands over its context, which the inner sweeper needs."""
        self.inner.setup(**kwargs)

    def sweep(self, arguments: list[str]) -> Any:
        """Run the sweep. Ends the program with a table and a code where not all cells have finished: with the code of
        the cells where all have the same, else 1."""
        try:
            returned = self.inner.sweep(arguments)
        except Exception as error:
            if not any(end for _, end in _ends):
                raise
            log.error("the sweeper gave up: %s: %s", type(error).__name__, error)  # Optuna, where no trial finished
            returned = None
        finally:
            worker.close()
        if any(end for _, end in _ends):
            if os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0")) == "0":
                print(table(_ends), file=sys.stderr, flush=True)
            codes = {end.code if end else 0 for _, end in _ends}
            sys.exit(codes.pop() if len(codes) == 1 and min(codes) > 0 else 1)
        return returned


def value_of(result: Mapping[str, Any] | None, value: str) -> float | list[float | None] | None:
    """Return what a sweeper is told of a result: its "ideal_distance", or "gap" or "f" of each objective.

    >>> objectives = {"dpo": {"gap": 0.3, "surrogate": False}, "sft": {"gap": 0.4, "surrogate": False}}
    >>> value_of({"ideal_distance": 0.5, "objectives": objectives}, "gap")
    [0.3, 0.4]
    """
    if result is None:
        return None
    if value == "ideal_distance":
        return result[value]
    return [objective[value] for objective in result["objectives"].values() if not objective["surrogate"]]


def elsewhere(overrides: Sequence[str]) -> list[str]:
    """Those of Hydra's overrides that name more folders of yaml files: the cells are composed from these, too."""
    return [override for override in overrides if override.lstrip("+").startswith("hydra.searchpath=")]


def _told(overrides: Sequence[str]) -> JobReturn:
    folder, result = finished[tuple(overrides)]
    log.info("finished already: %s", folder)
    print(folder, flush=True)
    return JobReturn(overrides=overrides, status=JobStatus.COMPLETED, _return_value=result)


def _end(told: JobReturn) -> Unfinished | None:
    if told.status == JobStatus.COMPLETED:
        return None
    error = told._return_value
    return (
        error if isinstance(error, Unfinished) else Unfinished(1, " ".join(f"{type(error).__name__}: {error}".split()))
    )


def _how(code: int) -> str:
    if code >= 0:
        return f"ended with code {code}"
    return f"was killed by signal {-code}{' (as where memory runs out)' if code == -9 else ''}"


def tell(number: int) -> bool:
    """Send a signal to the cells' own processes, below the launcher's; whether there are any."""
    cells = [cell for child in psutil.Process().children() for cell in child.children()]
    for process in cells:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)
    return bool(cells)


@contextmanager
def _passed_on() -> Iterator[None]:
    """While a launcher works: a signal goes to the cells' own processes, where the launcher's workers have some
    (joblib's, ours); otherwise it ends the waiting. (In a cell of this process, `worker` passes it on.)"""
    gone = 0

    def pass_on(number: int, _frame: Any) -> None:
        nonlocal gone
        gone = number
        if not tell(number):
            raise preemption.Preempted

    with preemption.handled_by(pass_on, *preemption.SIGNALS):
        yield
    if gone:
        raise preemption.Preempted
