"""Before a sweep starts: its launcher is there, every cell is good, and no two would share a folder; a bad value in the
last would else be found hours later. What happens to its cells: `cells.py`."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, flag_override

from xright.launch import cells, worker
from xright.launch.adaptive import Adaptive, first_round
from xright.launch.local import LocalLauncher
from xright.machine.command import end
from xright.machine.importing import importing

# Hydra takes plugins under this prefix only, and imports whatever is there at the start of every Hydra program of the
# environment: a package of ours there would warn in each where submitit is missing. So these are registered by hand.
SLURM = "hydra_plugins.xright.SlurmLauncher"  # in slurm.yaml
LOCAL = "hydra_plugins.xright.LocalLauncher"  # in local.yaml
ADAPTIVE = "hydra_plugins.xright.Adaptive"  # in adaptive.yaml
OPTUNA = "hydra_plugins.hydra_optuna_sweeper.optuna_sweeper.OptunaSweeper"
Finished = tuple[str, dict[str, Any]] | None  # a finished run's folder and result
AROUND: dict[str, tuple[str, type]] = {"launcher": ("hydra_plugins.xright.Launcher", cells.Launcher)}
AROUND |= {"sweeper": ("hydra_plugins.xright.Sweeper", cells.Sweeper)}


class CheckSweep(Callback):
    """A Hydra callback. What sweepers choose as they go is left to the run's own check."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Refuse a launcher without a sweep: Hydra would run the job right here, and say nothing."""
        if config.hydra.launcher._target_ != cells.PLAIN:
            end("hydra/launcher= is for sweeps (of one cell, too): add -m as the last argument.")

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Compose and check all cells; a bad one ends the program with its sentence and exit code 2."""
        given: Any = OmegaConf.to_container(config.hydra.overrides)  # not lists of Hydra's: they would resolve
        launcher, sweeper = config.hydra.launcher._target_, config.hydra.sweeper._target_
        _register(launcher, sweeper)
        if sweeper == OPTUNA:
            _prepare_optuna(config)
        if batch := _known(sweeper, given["task"]):
            try:
                name = config.hydra.job.config_name
                found = worker.call("xright.launch.sweep.check", name, batch, cells.elsewhere(given["hydra"]))
                cells.finished |= {tuple(cell): run for cell, run in zip(batch, found, strict=True) if run}
            except worker.Ended as end:
                sys.exit(end.code)
            if launcher != cells.PLAIN:
                worker.close()  # the cells have theirs elsewhere
        several = OmegaConf.is_list(config.hydra.sweeper.get("direction"))
        value = "f" if sweeper == ADAPTIVE else "gap" if several else "ideal_distance"
        asked = {"launcher": {"value": value, "searches": sweeper != cells.BASIC}, "sweeper": {}}
        for kind, (name, around) in AROUND.items():
            Plugins.instance().class_name_to_class[name] = around
            with flag_override(config, ["struct", "readonly"], [False, False]):
                inner = config.hydra[kind]
                config.hydra[kind] = {"_target_": name, "_recursive_": False, "inner": inner, **asked[kind]}


def _known(sweeper: str, given: list[str]) -> list[list[str]]:
    """The cells that are known before any has run: all, both ends of every front, or none."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    if sweeper == ADAPTIVE:
        return first_round(given)
    if sweeper != cells.BASIC:
        return []
    overrides = OverridesParser.create().parse_overrides(given)
    (batch,) = BasicSweeper.split_arguments(overrides, max_batch_size=None)
    return batch


def check(config_name: str, batch: Sequence[Sequence[str]], elsewhere: Sequence[str] = ()) -> list[Finished]:
    """In the worker, since it brings torch: UserError's sentence and code 2 for a cell that cannot work, for two that
    would share a folder, and for one whose folder holds another run. Returns what `finished` finds of each cell."""
    with importing():
        from xright.errors import UserError
        from xright.launch.finished import finished

    seen: dict[Path, str] = {}
    runs = []
    for cell in batch:
        try:
            cfg, strategy, task = _composed(config_name, [*elsewhere, *cell])
            run = finished(cfg, strategy, task)
            folder = Path(run[0]) if run else _checked(cfg, strategy, task)
            if cfg.stage == "run":
                _check_alone(folder, " ".join(cell), seen)
            runs.append(run)
        except UserError as error:
            end(f"in the cell {' '.join(cell)}: {error}")
    return runs


def look(config_name: str, batch: Sequence[Sequence[str]], elsewhere: Sequence[str]) -> list[Finished]:
    """In the worker: what `finished` finds of each cell. A bad cell is not finished; its own job will say why."""
    with importing():
        from xright.launch.finished import finished

    runs: list[Finished] = []
    for cell in batch:
        try:
            runs.append(finished(*_composed(config_name, [*elsewhere, *cell])))
        except HydraException:
            runs.append(None)
    return runs


def _composed(config_name: str, overrides: list[str]) -> tuple[DictConfig, str, list[str]]:
    """A cell's configuration, its strategy's name, and the overrides that are not Hydra's."""
    cfg = compose(config_name, overrides=overrides, return_hydra_config=True)
    strategy = cfg.hydra.runtime.choices["strategy"]
    task: Any = OmegaConf.to_container(cfg.hydra.overrides.task)
    with flag_override(cfg, ["struct", "readonly"], [False, False]):
        del cfg["hydra"]
    return cfg, strategy, task


def _checked(cfg: DictConfig, strategy: str, overrides: Sequence[str]) -> Path:
    """The folder of a cell that can work."""
    with importing():
        from xright.config.naming import run_path
        from xright.config.settings import complete
        from xright.machine.quiet import quiet
        from xright.pipeline.checks import check_config
        from xright.pipeline.folders import RunFolder

    quiet()
    complete(cfg, overrides)
    check_config(cfg)
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    folder = run_path(config, strategy, overrides)
    if cfg.stage == "run" and not cfg.overwrite:
        RunFolder(folder).check_holds(config)
    return folder


def _check_alone(folder: Path, cell: str, seen: dict[Path, str]) -> None:
    from xright.errors import UserError

    if folder in seen:
        raise UserError(
            f"its run folder {folder} is that of the cell {seen[folder]}, too, since what they differ in makes no "
            "other run (the machine, the logger, a setting that the strategy does not have); leave one of them out of "
            "the sweep, or run it by a command of its own with another name=."
        )
    seen[folder] = cell


def _prepare_optuna(config: DictConfig) -> None:
    """Draws by the run's seed where they have none: the same command makes the same trials, and finds what is finished.
    Without optima there is nothing to look for."""
    if config.optima is None:
        end("hydra/sweeper=optuna looks for small gaps to the optima, and optima=null has none; give optima=auto.")
    sampler = config.hydra.sweeper.sampler
    if "seed" in sampler and sampler.seed is None:
        with flag_override(config, "readonly", False):
            sampler.seed = config.seed


def _register(launcher: str, sweeper: str) -> None:
    if launcher == SLURM:
        _register_slurm()
    if launcher == LOCAL:
        Plugins.instance().class_name_to_class[LOCAL] = LocalLauncher
    if sweeper == ADAPTIVE:
        Plugins.instance().class_name_to_class[ADAPTIVE] = Adaptive


def _register_slurm() -> None:
    try:
        from xright.launch.slurm import SlurmLauncher
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in ("hydra_plugins", "submitit"):
            raise
        end("hydra/launcher=slurm needs hydra-submitit-launcher: pip install 'xright[slurm]'")
    Plugins.instance().class_name_to_class[SLURM] = SlurmLauncher
