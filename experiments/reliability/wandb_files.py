"""What W&B's offline files hold: `<run folder>/wandb/offline-run-<time>-<id>/run-<id>.wandb`, one per start.

A file is a LevelDB log (7 bytes of its own, then blocks of 32 KiB; a record has a checksum, a length and a kind: whole,
first, middle, last) of protobuf records. W&B's Python package writes them but no longer reads them.
"""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2

protobuf: Any = wandb_internal_pb2  # its classes are made when it is imported, so that no checker knows them
BLOCK, HEADER, OWN = 32 * 1024, 7, 7  # bytes
WHOLE, FIRST, MIDDLE, LAST = 1, 2, 3, 4
TIMES = ("_", "device/", "time/")  # W&B's own keys, and what no two runs share
NAMES = ("/path", "/artifact_path", "/_latest_artifact_path")  # of a table; its sha256 says what is in it

History = list[tuple[str, int, float]]  # (key, optimizer step, value), in the order logged


def run_ids(folder: Path) -> set[str]:
    """The W&B runs that a run folder's starts have logged to."""
    return {file.stem.removeprefix("run-") for file in _files(folder)}


def history(folder: Path) -> History:
    """All that was logged over steps, file after file; times and the machine's figures left out."""
    logged = []
    for file in _files(folder):
        for data in _records(file.read_bytes()):
            record = protobuf.Record.FromString(data)
            if record.WhichOneof("record_type") == "history":
                values = {(x.key or "/".join(x.nested_key)): json.loads(x.value_json) for x in record.history.item}
                step = values.pop("trainer/global_step")
                shared = [key for key in values if not key.startswith(TIMES) and not key.endswith(NAMES)]
                logged += [(key, step, values[key]) for key in shared]
    return logged


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("wandb/offline-run-*/run-*.wandb"))


def _records(data: bytes) -> Iterator[bytes]:
    """Whole records; a file of a killed process may end with a part of one."""
    position, parts = OWN, b""
    while position + HEADER <= len(data):
        if BLOCK - position % BLOCK < HEADER:  # the rest of a block is padding
            position += BLOCK - position % BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", data, position)
        chunk = data[position + HEADER : position + HEADER + length]
        position += HEADER + length
        if kind == 0 or len(chunk) < length:
            return
        parts = chunk if kind in (WHOLE, FIRST) else parts + chunk
        if kind in (WHOLE, LAST):
            yield parts
