"""evaluation.json: what the tasks have found about one model, written after each of them, whole or not at all.

    {"subject": name, "model": path, "fingerprint": …, "versions": {…}, "tasks": {name: {
        "metrics": {metric: {"value", "n", "low", "high", "higher_is_better"}},      95 % intervals
        "details": {…}, "settings": {…}, "seconds": …}}}

A task that is there with the same settings is not done again. Settings cover the task's configuration, how the model is
asked, and the content of the files that the task reads.
"""

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from xright import __version__
from xright.data.tables import fingerprint
from xright.errors import UserError
from xright.evaluation.subject import Subject
from xright.evaluation.task import Result, Task
from xright.machine import files


class Results:
    """The results of one subject. UserError if its file is unreadable or holds those of other weights."""

    def __init__(self, subject: Subject) -> None:
        self.subject, self.file = subject, subject.folder / "evaluation.json"
        self.content: dict[str, Any] = {"subject": subject.name, "model": subject.path}
        self.content |= {"fingerprint": subject.fingerprint, "versions": {}, "tasks": {}}
        if self.file.is_file():
            try:
                found = json.loads(self.file.read_text(encoding="utf-8"))
                there, tasks = found["fingerprint"], dict(found["tasks"])
                if not all({"metrics", "settings"} <= entry.keys() for entry in tasks.values()):
                    raise ValueError("a task without metrics or settings")
            except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                raise UserError(f"{self.file} is no file of results ({error!r}); move it away.") from error
            if there != subject.fingerprint:
                raise UserError(
                    f"{self.file} holds results of another model ({found.get('model')}), or of other weights; "
                    "move it away, or give another out=."
                )
            self.content["tasks"] = tasks

    def of(self, task: str, settings: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return what is known of a task under these settings."""
        entry = self.content["tasks"].get(task)
        return entry if entry and entry["settings"] == settings else None

    def add(self, task: str, result: Result, settings: Mapping[str, Any], seconds: float) -> None:
        """Take in a result, and write the file."""
        metrics = {name: asdict(metric) for name, metric in result.metrics.items()}
        entry = {
            "metrics": metrics,
            "details": result.details,
            "settings": dict(settings),
            "seconds": round(seconds, 1),
        }
        self.content["tasks"][task] = entry
        self.content["versions"] = _versions()
        self.file.parent.mkdir(parents=True, exist_ok=True)
        files.write_json(self.file, self.content)


def settings_of(task: Task, node: Mapping[str, Any], subject: Subject) -> dict[str, Any]:
    """Everything besides the weights that decides about a result. UserError where a file of the task is missing."""
    read = {role: fingerprint(str(file)) for role, file in task.files().items()}
    asked = {"template": subject.template.spec, "dtype": subject.dtype, "seed": subject.seed}
    settings = {"task": dict(node), "files": read, "max_length": subject.max_length, **asked}
    return json.loads(json.dumps(settings))  # as it will be read back


def _versions() -> dict[str, str]:
    """Return the versions of the libraries that compute a result; lm_eval is optional."""
    found = {"xright": __version__, "python": platform.python_version()}
    for name in ("torch", "transformers", "peft", "lm_eval"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
