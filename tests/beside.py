"""The files of an experiment import each other by their bare names, as a program beside them sees them."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

EXPERIMENTS = Path(__file__).parents[1] / "experiments"


@contextmanager
def importable(*rooms: str) -> Iterator[None]:
    """For as long as the block runs, the modules of some folders of experiments/ ("" is that folder itself) can be
    imported, those of the last one first where a name is in several; nothing of them stays behind."""
    folders = [EXPERIMENTS / room for room in rooms]
    names = {".".join(file.relative_to(folder).with_suffix("").parts) for folder in folders for file in _files(folder)}
    names |= {name.partition(".")[0] for name in names}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [*map(str, reversed(folders)), *sys.path])
        for name in names:
            patch.delitem(sys.modules, name, raising=False)
        yield
        for name in names:
            sys.modules.pop(name, None)


def _files(folder: Path) -> list[Path]:
    """Its modules, and where it is an experiment's those of its packages."""
    return [*folder.glob("*.py"), *(folder.glob("*/*.py") if folder != EXPERIMENTS else ())]
