"""Every task on every subject: checked first, then done one after the other, each result written when it is there."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from xright.config.build import build
from xright.errors import UserError
from xright.evaluation.results import Results, settings_of
from xright.evaluation.subject import Subject, subject_of
from xright.evaluation.task import Task

log = logging.getLogger(__name__)


def evaluate(texts: Sequence[str], config: Mapping[str, Any]) -> list[Results]:
    """Every task on every subject, where it is not done yet; one Results for each. No model is loaded before all are
    found good."""
    if not texts:
        raise UserError("no model is named; give run folders, model folders or names of hub models.")
    if config["threads"]:
        torch.set_num_threads(config["threads"])
    tasks: dict[str, Task] = {name: build(node) for name, node in config["task"].items()}
    subjects = [subject_of(text, config) for text in dict.fromkeys(texts)]
    settings: list[dict[str, Any]] = [{} for _ in subjects]
    for subject, own in zip(subjects, settings, strict=True):
        if sum(subject.folder.resolve() == other.folder.resolve() for other in subjects) > 1:
            raise UserError(
                f"two of the models would write to {subject.folder}; evaluate them with an out= of their own."
            )
        Results(subject)
        for name, task in tasks.items():
            task.name = name
            task.check(subject)
            own[name] = settings_of(task, config["task"][name], subject)
    return [_work(subject, tasks, own) for subject, own in zip(subjects, settings, strict=True)]


def _work(subject: Subject, tasks: Mapping[str, Task], settings: Mapping[str, Any]) -> Results:
    """What is missing of one subject's tasks, each written when it is done."""
    with _alone(subject.folder):
        results = Results(subject)
        for name, task in tasks.items():
            if results.of(name, settings[name]):
                log.info("%s of %s: done already, in %s", name, subject.name, results.file)
                continue
            log.info("%s of %s", name, subject.name)
            started = time.perf_counter()
            result = task.run(subject)
            results.add(name, result, settings[name], time.perf_counter() - started)
        subject.release()
    return results


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One command at a time evaluates a model; a second one waits and then finds it done."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".evaluation.lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        log.info("waiting for another process that evaluates %s", folder)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
