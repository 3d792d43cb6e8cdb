"""Evaluate finished models. A SUBJECT is a run folder, a folder in the Hugging Face or PEFT layout, or the name of a
model on the hub. Writes evaluation.json (into the run's folder, or <out>/<name>/), and prints 95 % intervals.

Everything that can be known to be wrong is found before any model is loaded. Results are written after each task; what
is done already with the same settings is not redone.

Examples
  python -m xright.evaluate runs/default/* tasks=[behaviour]
  python -m xright.evaluate EleutherAI/pythia-1b runs/pythia/* tasks=[mmlu,hellaswag] batch_size=32
  python -m xright.evaluate MODEL tasks=[mmlu] task.mmlu.limit=10 data_dir=FOLDER      rows in FOLDER/eval
"""

import argparse
import logging
import os
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from xright.config.folder import CONF
from xright.errors import UserError, check_whole, reason_of
from xright.machine.command import exits, help_of
from xright.machine.screen import screen, table

HEADINGS = ("task", "metric", "value", "95 % interval", "n")


@exits
def main(arguments: Sequence[str] | None = None) -> None:
    """Evaluate, print a table for each model and the paths of its results."""
    asked = parser().parse_args(arguments).arguments
    logging.getLogger("xright").setLevel(logging.INFO)
    subjects = [text for text in asked if "=" not in text or Path(text).exists()]
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    config = configuration([text for text in asked if text not in subjects])
    from xright.evaluation.runner import evaluate  # what it imports takes seconds
    from xright.machine.quiet import quiet

    quiet()
    show(evaluate(subjects, config), list(config["task"]))


def task_names() -> list[str]:
    """Return the names of the tasks in conf/task."""
    return sorted(file.stem for file in (CONF / "task").glob("*.yaml"))


def configuration(overrides: Sequence[str]) -> dict[str, Any]:
    """conf/evaluate.yaml, with the settings of the tasks that are asked for under `task`.

    UserError for tasks, keys and values that it does not know.
    """
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            chosen = compose("evaluate", [text for text in overrides if text.startswith("tasks=")])
            nodes = [f"+task@task.{name}={name}" for name in _names(OmegaConf.to_container(chosen.tasks))]
            composed = compose("evaluate", [*nodes, *overrides])
        if missing := sorted(OmegaConf.missing_keys(composed)):
            raise UserError(f"{missing[0]} must be given, as {missing[0]}=…; see conf/task.")
        config: Any = OmegaConf.to_container(composed, resolve=True)
    except MissingMandatoryValue as error:
        raise UserError(f"tasks=[…] must be given; there are: {', '.join(task_names())}.") from error
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(f"the configuration cannot be composed: {reason_of(error, 300)}; see --help.") from error
    for key, least in (("batch_size", 1), ("seed", 0), ("max_length", 2), ("threads", 1)):
        if config[key] is not None or key in ("batch_size", "seed"):
            check_whole(key, config[key], least)
    return config


def _names(tasks: Any) -> list[str]:
    """The names under `tasks`, each once; UserError for one that there is not."""
    names = list(dict.fromkeys([tasks] if isinstance(tasks, str) else tasks))
    for name in names:
        if name not in task_names():
            raise UserError(
                f"tasks={names} names {name!r}, and there is no such task; there are: {', '.join(task_names())}."
            )
    if not names:
        raise UserError(f"tasks=[] names no task; there are: {', '.join(task_names())}.")
    return names


def show(found: Sequence[Any], names: Sequence[str]) -> None:
    """A table of the metrics and their 95 % intervals for each model, and where they are kept. found: Results."""
    console = screen()
    for results in found:
        rows = []
        for name in names:
            for metric, m in results.content["tasks"][name]["metrics"].items():
                arrow, interval = "↑" if m["higher_is_better"] else "↓", f"[{m['low']:.4f}, {m['high']:.4f}]"
                rows.append((name, f"{metric} {arrow}", f"{m['value']:.4f}", interval, m["n"]))
        console.print(table(HEADINGS, rows, (2, 3, 4), results.subject.name))
        print(results.file)


def parser() -> argparse.ArgumentParser:
    """Return the parser of this command line; its help shows the tasks, and the configuration as it stands in conf/."""
    tasks = "\n".join(
        f"  {name:14} {(CONF / 'task' / f'{name}.yaml').read_text(encoding='utf-8').split(chr(10))[0].lstrip('# ')}"
        for name in task_names()
    )
    settings = textwrap.indent((CONF / "evaluate.yaml").read_text(encoding="utf-8"), "  ")
    usage = "%(prog)s SUBJECT [SUBJECT …] tasks=[TASK,…] [key=value …]"
    more = f"Tasks\n{tasks}\n\nSettings\n{settings}\n"
    made = argparse.ArgumentParser(prog="python -m xright.evaluate", usage=usage, **help_of(__doc__, more))
    made.add_argument("arguments", nargs="*", metavar="SUBJECT | key=value")
    return made


if __name__ == "__main__":
    sys.exit(main())
