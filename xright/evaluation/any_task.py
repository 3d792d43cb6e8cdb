"""Any tasks of lm-evaluation-harness by their names: no code, and no file of ours, for each."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xright.errors import UserError
from xright.evaluation.harness import Harness
from xright.evaluation.subject import Subject
from xright.evaluation.task import Result, Task


class AnyTask(Task):
    """tasks: names that `lm_eval --tasks list` knows. num_fewshot, limit: of all of them, as `Harness` takes them.
    rows: {task: {split: file of rows}}, below `data_dir`; tasks that are not there have the rows of the hub."""

    def __init__(
        self,
        tasks: Sequence[str],
        num_fewshot: int | None = None,
        data_dir: str | None = None,
        rows: Mapping[str, Mapping[str, str]] | None = None,
        limit: int | None = None,
    ) -> None:
        if isinstance(tasks, str) or not tasks or not all(isinstance(name, str) for name in tasks):
            raise UserError(f"task.lm_eval.tasks={tasks!r} must be a list of the harness's tasks, such as [arc_easy].")
        given = dict(rows or {})
        if unknown := [name for name in given if name not in tasks]:
            raise UserError(f"task.lm_eval.rows names {unknown[0]!r}, which is none of its tasks {list(tasks)}.")
        common: dict[str, Any] = {"num_fewshot": num_fewshot, "metric": None, "limit": limit}
        common["data_dir"] = data_dir or "."
        self.parts = {name: Harness(task=name, rows=given.get(name), **common) for name in tasks}

    def files(self) -> Mapping[str, str | Path]:
        """Return the local files of rows, by task and split."""
        return {f"{name}.{split}": file for name, part in self.parts.items() for split, file in part.files().items()}

    def check(self, subject: Subject) -> None:
        """UserError where `Harness` has one."""
        for part in self.parts.values():
            part.check(subject)

    def run(self, subject: Subject) -> Result:
        """Evaluate one after another; metrics are called <task>.<metric>."""
        found = {name: part.run(subject) for name, part in self.parts.items()}
        metrics = {f"{name}.{key}": value for name, one in found.items() for key, value in one.metrics.items()}
        return Result(metrics, {name: one.details for name, one in found.items()})
