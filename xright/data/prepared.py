"""Rows made ready before they are read: those of a file or hub dataset, put through a *step*, kept in the cache.

A step drops rows or makes one shape of another (`filters.py`); it may load a model, and so runs once per data and
step, whatever else of the configuration changes. In a yaml a step stands where a path would:

    path:
      _target_: xright.data.prepared.prepared
      _recursive_: false         # the step is built only where its rows are not in the cache
      path: HuggingFaceH4/ultrafeedback_binarized
      step: {_target_: xright.data.filters.RealPreference, scores: [score_chosen, score_rejected]}

`$XRIGHT_CACHE/prepared/<hash>/rows.jsonl` is an ordinary data file: columns, limit and what is held out come after.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

from xright.cache import cached_stage
from xright.config.build import build
from xright.config.inputs import on_disk
from xright.data.tables import fingerprint, read
from xright.errors import UserError

log = logging.getLogger(__name__)

VERSION = 1  # of the steps' code; raise it when a step comes to give other rows, or caches go stale


class Step(Protocol):
    """What is done with rows. `__call__` gives those that are kept, as JSON can hold them, and counts in `dropped` why
    others are not: {"equal answers": 3}."""

    def __call__(self, rows: Iterable[Mapping[str, Any]], dropped: Counter[str]) -> Iterator[dict[str, Any]]: ...


def prepared(path: str, step: Mapping[str, Any], split: str = "train", subset: str | None = None) -> str:
    """The file with the rows that a step makes of those behind `path`; says what was dropped, whenever it is asked for.

    path, split, subset: as `tables.read` takes them. step: the configuration of a `Step`. Raises UserError as `read`
    and the step do, and if no row is left.
    """
    if not isinstance(step, Mapping) or "_target_" not in step:
        raise UserError(f"step={step!r} of the data '{path}' is no step; give its _target_, see conf/data.")
    key = {
        "data": fingerprint(path, split, subset),
        "step": dict(step),
        "found": on_disk(step),
        "versions": {"steps": VERSION, "datasets": version("datasets")},
    }

    def prepare(folder: Path) -> dict[str, Any]:
        dataset, dropped, kept = read(path, split, subset).dataset, Counter[str](), 0
        with (folder / "rows.jsonl").open("w", encoding="utf-8") as file:
            for row in build(step)(dataset, dropped):
                file.write(json.dumps(row) + "\n")
                kept += 1
        counts = {"rows": len(dataset), "kept": kept, "dropped": dict(dropped)}
        if not kept:
            raise UserError(f"No row is left ({_sentence(path, counts)}); check the step and its columns.")
        return counts

    stage = cached_stage("prepared", key, prepare, alone=True)
    log.info(_sentence(path, stage.result))
    return str(stage.folder / "rows.jsonl")


def _sentence(path: str, counts: Mapping[str, Any]) -> str:
    dropped = [f"{count} dropped: {reason}" for reason, count in counts["dropped"].items()]
    return "; ".join([f"{path}: {counts['kept']} of {counts['rows']} rows kept", *dropped])
