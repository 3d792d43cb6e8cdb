"""Any of Lightning's loggers by its yaml; and W&B's: online when a key is configured, else offline in the run folder;
never a question.

What is logged, with units: `keys.py`. `wandb` takes half a second to import: where it is used.
"""

import csv
import inspect
import json
import logging
import os
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from hydra.utils import get_object
from lightning.pytorch.loggers import WandbLogger

from xright.config.build import build
from xright.machine import files
from xright.machine.preemption import Preempted
from xright.machine.ranks import is_first
from xright.tracking.keys import LOGGED, STEP, TRAJECTORY

ID = re.compile(rb"[\w-]+")  # ours, or one that W&B has given
log = logging.getLogger(__name__)

FLUSH = "x_transaction_log_flush_interval"  # of W&B's offline files, in newer versions


class Kept(WandbLogger):
    """Keeps what it logs in a file of its own, `kept`: a line per call. W&B writes with a delay, so that a kill costs
    the last of it, and what follows a checkpoint is logged again by the start after it.

    Offline, each start writes a file; so this one first logs all that was kept from before its own first step, and the
    files of former starts go: the last holds everything, once. (Online the server has it; a point that comes again
    comes with its old value.)
    """

    def __init__(self, kept: Path, **settings: Any) -> None:
        super().__init__(**settings)
        self.kept, self.caught_up = kept, False

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log the metrics, and keep them in a file for a run that is resumed."""
        self.catch_up(step)
        with self.kept.open("a") as file:
            file.write(json.dumps([step, dict(metrics)]) + "\n")
        super().log_metrics(_with_tables(metrics), step)

    def log_rows(self, key: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], step: int) -> None:
        """A table. Kept like a number, so that it too is there once after a resume."""
        self.log_metrics({key: {"columns": list(columns), "data": [list(row) for row in rows]}}, step)

    def catch_up(self, step: int | None = None) -> None:
        """Once: forget what was kept of `step` and later steps (it comes again), log the rest where that is needed."""
        if self.caught_up:
            return
        self.caught_up = True
        for group in dict.fromkeys(f"{key.split('/')[0]}/*" if "/" in key else key for key in LOGGED):
            self.experiment.define_metric(group, step_metric=STEP)
        entries = [entry for entry in _entries(self.kept) if step is None or entry[0] < step]
        files.write(self.kept, "".join(json.dumps(entry) + "\n" for entry in entries))
        if self._offline:
            here = Path(self.experiment.settings.sync_dir)
            for then, metrics in entries:
                super().log_metrics(_with_tables(metrics), then)
            for former in list(here.parent.glob("*offline-run-*")):
                if former.resolve() != here.resolve():
                    # W&B's service outlives a killed process for a moment, and may still be adding files
                    shutil.rmtree(former.rename(former.with_name(f".{former.name}")))

    def log_trajectory(self, result: Mapping[str, Any], rows: Iterable[Mapping[str, str]]) -> None:
        """The way through objective space as a chart: the second objective over the first, a point per evaluation.

        result: of `result.json`; rows: of `trajectory.csv`. An empty cell is None.
        """
        import wandb

        axes = {name: each for name, each in result["objectives"].items() if not each["surrogate"]}
        columns = ("run", "label", "lam", "seed", "step", *(f"f_{name}" for name in axes), "ideal_distance")
        about = {"run": self.experiment.name, **{key: result[key] for key in ("label", "lam", "seed")}}
        points = [about | {key: float(value) if value else None for key, value in row.items()} for row in rows]
        if len(axes) < 2:
            return
        table = wandb.Table(columns=list(columns), data=[[point[key] for key in columns] for point in points])
        (x, first), (y, second) = list(axes.items())[:2]
        title = f"{result['label']}: f_{second['label']} over f_{first['label']}"
        chart = wandb.plot.scatter(table, f"f_{x}", f"f_{y}", title)
        self.experiment.log({TRAJECTORY: chart, STEP: result["steps"]})


def _entries(kept: Path) -> list[tuple[int, dict[str, Any]]]:
    """(step, metrics) of each line. Half a line at the end is forgotten; damage is told, for W&B will lack it."""
    if not kept.exists():
        return []
    *lines, _ = kept.read_text(errors="replace").split("\n")
    entries = []
    for line in lines:
        try:
            step, metrics = json.loads(line)
            entries.append((int(step), dict(metrics)))
        except (ValueError, TypeError):
            continue
    if damaged := len(lines) - len(entries):
        log.warning("%s: %d of %d lines are damaged; these points will lack in W&B", kept, damaged, len(lines))
    return entries


def _with_tables(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers as they are, {columns, data} as a W&B table."""
    import wandb

    return {key: wandb.Table(**value) if isinstance(value, Mapping) else value for key, value in metrics.items()}


@contextmanager
def running(nodes: Mapping[str, Any], folder: Path) -> Iterator[list[Any]]:
    """The configured loggers, of which those of W&B have a run that ends with the block, whatever happens in it.

    nodes: {name: yaml of a logger, or null}; one that takes `save_dir` and names none writes into the run's folder. A
    run left open would be taken over by the next job of a sweep in this process. Only rank 0 logs.
    """
    loggers = [_logger(node, folder) for node in nodes.values() if node] if is_first() else []
    ours = [logger for logger in loggers if isinstance(logger, Kept)]  # another of Lightning's needs nothing more
    for logger in ours:
        _ = logger.experiment  # starts W&B here: where that fails, there is nothing to finish
    code = 1
    try:
        yield loggers
        code = 0
        for logger in ours:
            _sum_up(logger)
    except Preempted:
        for logger in ours:
            logger.experiment.mark_preempting()
        raise
    finally:
        for logger in ours:
            logger.catch_up()
            logger.experiment.finish(exit_code=code)


def _logger(node: Mapping[str, Any], folder: Path) -> Any:
    takes = inspect.signature(get_object(node["_target_"])).parameters
    return build(node, **({"save_dir": str(folder)} if "save_dir" in takes and not node.get("save_dir") else {}))


def _sum_up(logger: Kept) -> None:
    """The result and the trajectory, once the run is finished: its folder then has `result.json`."""
    folder = Path(str(logger.save_dir))
    if (folder / "result.json").exists():
        result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        logger.experiment.summary.update(result)
        with (folder / "trajectory.csv").open(newline="", encoding="utf-8") as file:
            logger.log_trajectory(result, csv.DictReader(file))


def wandb_logger(project: str, group: str, save_dir: str) -> "Kept":
    """One W&B run for one run folder: its id is kept in `<save_dir>/wandb/run_id`, so a resumed run goes on in it.
    A new run that an agent of a W&B sweep has started has the agent's id; a run begun before leaves the sweep.

    W&B's config of the run is `config.yaml`, and the units of what is logged.
    """
    import wandb

    # A service of the process that started this one would outlive a SIGKILL here, and hold the run's id ever after
    os.environ.pop("WANDB_SERVICE", None)
    id_file = Path(save_dir) / "wandb" / "run_id"
    agents = os.environ.get("WANDB_RUN_ID") if os.environ.get("WANDB_SWEEP_ID") else None
    if not id_file.exists() or not ID.fullmatch(id_file.read_bytes()):  # a power cut may leave NUL bytes
        id_file.parent.mkdir(parents=True, exist_ok=True)
        files.write(id_file, agents or uuid.uuid4().hex[:12])
    if agents and agents != id_file.read_text():  # begun as another run: W&B would let the agent's id have the rest
        for name in ("WANDB_SWEEP_ID", "WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH"):
            os.environ.pop(name, None)
    about = Path(save_dir) / "config.yaml"
    online = configured()
    if not online:
        os.environ["WANDB_SILENT"] = "true"  # offline it has nothing to tell but where its files are: in the folder
    settings: dict[str, Any] = {"console": "off", "silent": not online}
    if FLUSH in wandb.Settings.model_fields:
        settings[FLUSH] = 1.0  # seconds; by default a kill would cost the last fifteen
    logger = Kept(
        kept=id_file.with_name("history.jsonl"),
        project=project,
        group=group,
        config={**(yaml.safe_load(about.read_text()) if about.exists() else {}), "units": LOGGED},
        name=Path(save_dir).name,
        save_dir=save_dir,
        version=id_file.read_text(),
        offline=not online,
        mode="online" if online else "offline",  # WandbLogger says it by an environment variable, and too late
        resume="allow",
        settings=wandb.Settings(**settings),
    )
    logger._wandb_init.pop("anonymous", None)  # Lightning passes it always, and W&B warns of it every time
    return logger


def configured() -> bool:
    """A key is known and nobody asked for offline; found out without a prompt or a connection."""
    import wandb

    return wandb.setup().settings.mode == "online" and wandb.login(prompt=False)
