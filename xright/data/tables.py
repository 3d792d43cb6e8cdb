"""A named file or hub dataset, read as it is: a table with its column names.

A local file is copied aside and hashed on the way, and the copy is what is read: exactly the named file, whatever its
name looks like (`[ ]`, `*`, `::`), and exactly the content that its hash stands for. The rows are kept in an Arrow file
beside the cache of `datasets`, named by that hash; a dataset of the hub is read by `datasets`.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xright.data.textfiles import rows
from xright.errors import UserError, disk_error, disk_sentence
from xright.machine import files
from xright.machine.paths import place

if TYPE_CHECKING:  # a second is saved where nothing is read, because the tokens are in the cache
    import pyarrow as pa
    from datasets import Dataset

FORMATS = {".jsonl": "json", ".json": "json", ".csv": "csv", ".parquet": "parquet", ".arrow": "arrow"}
GZIPPED = (".jsonl", ".json", ".csv")  # may be followed by .gz
SUFFIXES = [*FORMATS, *(suffix + ".gz" for suffix in GZIPPED)]
VERSION = 1  # of the Arrow files; raise it when a file comes to give other rows
CHUNK = 1000  # rows in memory at a time


@dataclass(frozen=True)
class Table:
    """`where`: the name the user gave, for messages. fingerprint: of what was read, see `fingerprint`."""

    where: str
    dataset: Dataset
    fingerprint: str


def read(name: str, split: str = "train", subset: str | None = None) -> Table:
    """The rows behind `name`: a local file if it has a known suffix or exists, else a dataset of the hub.

    A local file has one split, "train"; a slice such as "train[:100]" works for files and hub alike.
    Raises UserError for a missing, unknown, empty or unreadable file and for an unreachable dataset.
    """
    table = _file(name, place(name), split) if _is_local(name) else _hub(name, split, subset)
    if len(table.dataset) == 0:
        raise _no_rows(name)
    return table


def fingerprint(name: str, split: str = "train", subset: str | None = None) -> str:
    """Identity of the rows behind `name`, without reading them: the sha256 of a local file, for a hub dataset the one
    `datasets` gives it (it covers the commit). Raises UserError as `read` does for what is not there.
    """
    if not _is_local(name):
        return _hub(name, split, subset).fingerprint
    path = place(name)
    kind = _checked(name, path)
    return f"{kind} {files.sha256(path)} {split}"


def _is_local(name: str) -> bool:
    return bool(_format(Path(name))) or place(name).exists()


def _checked(name: str, path: Path) -> str:
    """The format of a local file; UserError if it is not there, unknown or empty."""
    if not path.is_file():
        problem = "is a folder, not a file" if path.is_dir() else "is no file" if path.exists() else "does not exist"
        raise UserError(f"The data file '{name}' ({path}) {problem}; give the path of a file.")
    kind = _format(path)
    if kind is None:
        raise UserError(f"The data file '{name}' has an unknown suffix; use one of {', '.join(SUFFIXES)}.")
    if path.stat().st_size == 0:
        raise _no_rows(name)
    return kind


def _file(name: str, path: Path, split: str) -> Table:
    import datasets

    kind, folder = _checked(name, path), Path(datasets.config.HF_DATASETS_CACHE) / "xright"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            packed = ".gz" if path.suffix.lower() == ".gz" else ""
            copy = Path(scratch) / f"rows.{kind}{packed}"
            with copy.open("wb") as target:
                sha256 = files.sha256(path, target)
            arrow = folder / f"{VERSION}-{kind}{packed}-{sha256}.arrow"
            if not arrow.exists():
                _convert(copy, kind, Path(scratch) / "rows.tmp")
                files.replace(Path(scratch) / "rows.tmp", arrow)
        dataset = datasets.Dataset.from_file(str(arrow))
        dataset.data.validate(full=True)  # text that is no UTF-8 would fail later, and row by row
        dataset = _sliced(dataset, split)
    except Exception as error:  # the libraries raise a dozen unrelated types
        if sentence := disk_sentence(error, folder):
            raise disk_error(sentence) from error
        slices = f"mend the file, or the split '{split}': a file has train and slices of it, such as train[:100]"
        remedy = "mend the file" if split == "train" else slices
        raise UserError(f"Cannot read '{name}' as {kind} ({_reason(error)}); {remedy}.") from error
    return Table(name, dataset, f"{kind} {sha256} {split}")


def _convert(copy: Path, kind: str, arrow: Path) -> None:
    """Write the rows of a file into an Arrow file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pa.OSFile(str(arrow), "wb") as target:
        if kind in ("json", "csv"):
            schema, batches = _text_batches(copy, kind)
        elif kind == "parquet":
            source = pq.ParquetFile(copy)
            schema, batches = source.schema_arrow, source.iter_batches(CHUNK)
        else:
            stored = pa.memory_map(str(copy))
            try:
                table = pa.ipc.open_file(stored).read_all()
            except pa.ArrowInvalid:  # the other of the two kinds, which `datasets` writes
                table = pa.ipc.open_stream(stored).read_all()
            schema, batches = table.schema, iter(table.to_batches(CHUNK))
        plain = _plain_schema(schema)
        with pa.ipc.new_stream(target, plain) as writer:
            for batch in batches:
                writer.write_batch(batch if plain is schema else batch.cast(plain))


def _text_batches(copy: Path, kind: str) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """Two passes: of which kind each column's cells are, and then the cells."""
    import pyarrow as pa
    from datasets import Features, Json, Value

    is_text: dict[str, bool] = {}
    for row in rows(copy, kind):
        for name, cell in row.items():
            is_text[name] = is_text.get(name, True) and (cell is None or isinstance(cell, str))
    schema = Features({name: Value("string") if text else Json() for name, text in is_text.items()}).arrow_schema

    def batches() -> Iterator[pa.RecordBatch]:
        found = rows(copy, kind)
        while chunk := list(islice(found, CHUNK)):
            cells = {name: [_cell(row.get(name), text) for row in chunk] for name, text in is_text.items()}
            yield pa.RecordBatch.from_arrays(
                [pa.array(cells[field.name], pa.string()).cast(field.type) for field in schema], schema=schema
            )

    return schema, batches()


def _cell(cell: Any, text: bool) -> str | None:
    return cell if text or cell is None else json.dumps(cell)


def _plain_schema(schema: pa.Schema) -> pa.Schema:
    """The schema without types that `datasets` does not know: a map becomes a list of {key, value}, an encoding what it
    stands for. Itself where it has none."""
    import pyarrow as pa

    plain = pa.schema([pa.field(field.name, _plain(field.type)) for field in schema])
    return schema if plain.types == schema.types else plain


def _plain(kind: pa.DataType) -> pa.DataType:
    import pyarrow as pa

    types = pa.types
    if types.is_dictionary(kind):
        return _plain(kind.value_type)
    if types.is_string_view(kind) or types.is_binary_view(kind):
        return pa.large_string() if types.is_string_view(kind) else pa.large_binary()
    if types.is_struct(kind):
        return pa.struct([pa.field(field.name, _plain(field.type)) for field in kind])
    if types.is_fixed_size_list(kind):
        return pa.list_(_plain(kind.value_type), kind.list_size)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_list_view(kind) or types.is_large_list_view(kind):
        small = types.is_list(kind) or types.is_list_view(kind)
        return (pa.list_ if small else pa.large_list)(_plain(kind.value_type))
    if types.is_map(kind):
        return pa.list_(pa.struct([pa.field("key", _plain(kind.key_type)), pa.field("value", _plain(kind.item_type))]))
    if isinstance(kind, pa.BaseExtensionType) and kind.extension_name != "arrow.json":
        return _plain(kind.storage_type)
    return kind


def _sliced(dataset: Dataset, split: str) -> Dataset:
    """`split` of a file, all of which is "train"."""
    from datasets import ReadInstruction, concatenate_datasets

    if split == "train":
        return dataset
    parts = ReadInstruction.from_spec(split).to_absolute({"train": len(dataset)})
    return concatenate_datasets([dataset.select(range(part.from_, part.to)) for part in parts])


@lru_cache(maxsize=8)  # once per process: each time costs several calls to the hub
def _hub(name: str, split: str, subset: str | None) -> Table:
    from datasets import load_dataset

    try:
        dataset = load_dataset(name, subset, split=split)
    except Exception as error:  # no connection, no permission, no such name, subset or split
        raise UserError(
            f"Cannot load the dataset '{name}' (split '{split}', subset {subset!r}) from the hub "
            f"({_reason(error)}); check the name and the network, or give a local {', '.join(SUFFIXES)} file."
        ) from error
    return Table(name, dataset, f"hub {dataset._fingerprint}")


def _format(path: Path) -> str | None:
    suffix = path.suffix.lower()
    if suffix == ".gz":
        inner = Path(path.stem).suffix.lower()
        return FORMATS[inner] if inner in GZIPPED else None
    return FORMATS.get(suffix)


def _no_rows(name: str) -> UserError:
    return UserError(f"The data '{name}' has no rows; give a file or dataset that holds some.")


def _reason(error: BaseException) -> str:
    """The innermost cause's first line, at most 200 characters: wrappers only say that something failed."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200].rstrip(". ")
