"""Where a running command is, and death in a chosen place.

`Places.watch()` wraps what a run passes through (stages, steps, evaluations, checkpoints, every file that grows or is
renamed) so that it writes its place into a page of shared memory, for whoever kills it to read. Nothing else changes.

An `Aim` is a place to die in: the n-th time that a place matches, before it, after it, or when half of what is being
written has reached the file. For the last, the kernel ends the process in the middle of write(2): the limit on file
sizes (RLIMIT_FSIZE) is put there, and its signal, like SIGKILL, leaves no time for anything.
"""

import fnmatch
import functools
import io
import json
import mmap
import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Aim:
    """place: a pattern (fnmatch) of places joined by " > ". moment: before, half, after. nth: time, from 1."""

    moment: str
    place: str
    nth: int = 1

    def __str__(self) -> str:
        return f"{self.moment} [{self.place}]" + (f", time {self.nth}" if self.nth > 1 else "")


class Places:
    """page: where to say the place. aim: where to die, if anywhere."""

    def __init__(self, page: mmap.mmap, aim: Aim | None) -> None:
        self.page, self.aim, self.met = page, aim, 0
        self.stack: list[str] = []
        self.last = "the start"
        self._say()

    @contextmanager
    def at(self, place: str, half: Callable[[], int] | None = None) -> Iterator[None]:
        """For the length of the block. half: the size of the growing file, in bytes, at which half is written."""
        self.stack.append(place)
        self._say()
        aimed = self._aimed()
        if aimed == "before":
            _die()
        if aimed == "half" and half is not None:
            _die_at(half())
        try:
            yield
        finally:
            if aimed == "after":
                _die()
            self.last = self.stack.pop()
            self._say()

    def watch(self) -> None:
        """Wrap what a run passes through."""
        import torch
        from lightning.pytorch import Trainer

        from xright import models
        from xright.data import tokenised
        from xright.objectives import Objective
        from xright.pipeline import reference, stages
        from xright.pipeline import run as pipeline
        from xright.pipeline.folders import RunFolder
        from xright.training.module import JointModule

        for module in (stages, reference, tokenised):
            self._wrap_stages(module)
        self._wrap(pipeline, "train", lambda *_, **__: "training")
        self._wrap(pipeline.JointRun, "_behaviour", lambda *_, **__: "behaviour")
        self._wrap(JointModule, "training_step", lambda module, *_: f"step {module.global_step}")
        self._wrap(JointModule, "evaluate", lambda *_: "evaluation")
        for objective in Objective.__subclasses__():
            self._wrap(objective, "__call__", lambda objective, *_: type(objective).__name__)
        self._wrap(Trainer, "save_checkpoint", lambda *_, **__: "checkpoint")
        self._wrap(torch, "save", lambda *_, **__: "torch.save", lambda what, *_, **__: _pickled(what) // 2)
        self._wrap(models, "export", lambda *_, **__: "export", lambda model, *_: _bytes(model) // 2)
        self._wrap(RunFolder, "finish", lambda *_: "finish")
        for name in ("replace", "rename"):
            self._wrap(Path, name, lambda _, target: f"rename {Path(target).name}")
        self._wrap(Path, "open", _opened, lambda path, mode="r", *_, **__: _size(path, mode) + 9)

    def _wrap(self, owner: Any, name: str, place: Callable[..., str], half: Callable[..., int] | None = None) -> None:
        original = getattr(owner, name)

        @functools.wraps(original)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with self.at(place(*args, **kwargs), half and functools.partial(half, *args, **kwargs)):
                return original(*args, **kwargs)

        setattr(owner, name, wrapped)

    def _wrap_stages(self, module: Any) -> None:
        original = module.cached_stage

        def wrapped(name: str, key: Any, build: Callable[[Path], Any], **options: Any) -> Any:
            def watched(folder: Path) -> Any:
                with self.at("building"):
                    return build(folder)

            with self.at(f"stage {name}"):
                return original(name, key, watched, **options)

        module.cached_stage = wrapped

    def _say(self) -> None:
        text = json.dumps(self.stack or [f"after {self.last}"]).encode()
        self.page[: len(self.page)] = text.ljust(len(self.page), b"\0")

    def _aimed(self) -> str | None:
        if self.aim is None or not fnmatch.fnmatchcase(" > ".join(self.stack), self.aim.place):
            return None
        self.met += 1
        return self.aim.moment if self.met == self.aim.nth else None


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _die_at(size: int) -> None:
    """When a file grows beyond `size` bytes. The log is a file, too, but nothing is said while a file is written."""
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def _opened(path: Path, mode: str = "r", *_: Any, **__: Any) -> str:
    return f"{'read' if mode.startswith('r') else 'write'} {path.name}"


def _size(path: Path, mode: str) -> int:
    return path.stat().st_size if "a" in mode and path.exists() else 0


def _bytes(model: Any) -> int:
    return sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)


def _pickled(what: Any) -> int:
    import torch

    file = io.BytesIO()
    torch.save(what, file)
    return file.tell()
