"""A task of lm-evaluation-harness as its own definition has it, with rows from files in the place of the hub's.

For files, a folder is filled with one yaml per (sub)task, which includes the harness's own and changes the source of
its rows, and nothing else: prompt, few-shot sampler, choices and metrics stay. It is what
`lm_eval --include_path FOLDER` takes.
"""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from xright.data.tables import read
from xright.errors import UserError

Row = Mapping[str, Any]
SPLITS = ("training_split", "validation_split", "test_split")


def definitions(
    task: str, definition: str | None, rows: Mapping[str, Path], num_fewshot: int | None, folder: Path
) -> Any:
    """The harness's TaskManager for a task that lm_eval/tasks/<definition> defines, or the folder in which it is found;
    `folder` then holds what it needs. num_fewshot: None: the definition's.

    rows: {split: file}; none: those of the hub. UserError where the harness is not installed or has no such task, and
    where rows are missing.
    """
    try:
        from lm_eval import tasks
    except ImportError as error:
        raise UserError(f"{task} needs lm-evaluation-harness; pip install 'xright[evaluation]'.") from error
    with quiet():
        official = _defining(task) if definition is None else Path(tasks.__file__).parent / definition
        index = tasks.TaskManager(include_path=official, include_defaults=False).task_index
        if task not in index:
            raise UserError(f"task={task!r} is not among those that lm_eval/tasks/{definition} defines.")
        if rows:
            tables = {split: read(str(file)).dataset.to_list() for split, file in rows.items()}
            for name in _leaves(index, task):
                _write(folder, index[name].yaml_path, index[name].cfg, tables, num_fewshot=num_fewshot)
        return tasks.TaskManager(include_path=[official, folder], include_defaults=False)


@cache
def _defining(task: str) -> Path:
    """The folder of the harness that defines a task. UserError where none does."""
    from lm_eval import tasks

    index = tasks.TaskManager().task_index  # of all definitions: 15 seconds
    if task not in index:
        near = ", ".join(get_close_matches(task, index, 3)) or "see `lm_eval --tasks list`"
        raise UserError(f"lm-evaluation-harness has no task {task!r}; did you mean one of these: {near}?")
    path = index[task].yaml_path
    # A tag has no file of its own: that of a task that bears it.
    return Path(path or index[sorted(index[task].tags)[0]].yaml_path).parent


def _leaves(index: Mapping[str, Any], name: str) -> Iterator[str]:
    """The tasks that a group or tag stands for, or the task itself."""
    entry = index[name]
    if entry.kind.name == "TAG":
        children = sorted(entry.tags)
    elif entry.kind.name == "GROUP":
        children = entry.cfg["task"]
    else:
        yield name
        return
    for child in children:
        yield from _leaves(index, child)


def _write(
    folder: Path,
    official: Path,
    config: Mapping[str, Any],
    tables: Mapping[str, Sequence[Row]],
    num_fewshot: int | None,
) -> None:
    """The official definition but for its rows, which come from files written next to it. UserError if one is empty."""
    name, subset, files = config["task"], config.get("dataset_name"), {}
    for split, table in tables.items():
        divided = subset is not None and any("subject" in row for row in table)
        rows = [row for row in table if not divided or row.get("subject") == subset]
        if not rows:
            raise UserError(f"rows.{split} of {name} hold no row whose subject is {subset!r}; complete them.")
        files[split] = str(folder / f"{name}.{split}.jsonl")
        Path(files[split]).write_text("".join(json.dumps(row) + "\n" for row in rows))
    shots = config.get("num_fewshot") or 0 if num_fewshot is None else num_fewshot
    changes: dict[str, Any] = {"include": str(official), "num_fewshot": shots, "dataset_path": "json"}
    changes |= {"dataset_name": None, "dataset_kwargs": {"data_files": files, "cache_dir": str(folder / "cache")}}
    needed = [config.get("test_split") or config.get("validation_split")]
    needed += [config.get("fewshot_split") or config.get("training_split")] if shots else []
    if absent := [split for split in needed if split not in files]:
        raise UserError(f"rows={sorted(files)} of {name} lack the split {absent[0]!r}; name a file for it.")
    changes |= {key: None for key in SPLITS if config.get(key) not in files}
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(changes))


@contextmanager
def quiet() -> Iterator[None]:
    """Silence what the harness and `datasets` tell about every subset: that it is overridden, generated, made ready."""
    import datasets
    import lm_eval.api.task

    loggers = {name: logging.getLogger(name) for name in ("lm_eval", "datasets")}
    levels = {name: logger.level for name, logger in loggers.items()}
    bars, module = datasets.utils.logging.is_progress_bar_enabled(), lm_eval.api.task
    tqdm = module.tqdm
    for logger in loggers.values():
        logger.setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    module.tqdm = lambda rows, **_: rows  # one for each of 57 subjects; that over all requests is of another module
    try:
        yield
    finally:
        for name, logger in loggers.items():
            logger.setLevel(levels[name])
        if bars:
            datasets.enable_progress_bars()
        module.tqdm = tqdm
