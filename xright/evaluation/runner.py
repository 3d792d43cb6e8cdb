"""Every task on every subject: checked first, then done one after the other, each result written when it is there."""

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from xright.config.build import build
from xright.errors import UserError
from xright.evaluation.results import Results, settings_of
from xright.evaluation.subject import Subject, subject_of
from xright.evaluation.task import Task
from xright.machine.locks import held

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
    """Return what is missing of one subject's tasks, each written when it is done."""
    with held(subject.folder / ".evaluation.lock", f"evaluates {subject.folder}"):
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
