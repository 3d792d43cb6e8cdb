"""A file that only grows, and a mark of how far: what a checkpoint keeps of it, to go on exactly there.

Nothing in it is read to go on: the bytes up to the mark must be those that were written, by their number and checksum.
What a killed process wrote after its checkpoint is cut off. A file that has lost or changed what its checkpoint counts
on is no file to go on in: UserError.
"""

import os
import zlib
from collections.abc import Sequence
from pathlib import Path

from xright.errors import UserError
from xright.machine import files
from xright.machine.ranks import is_first


class Journal:
    """Rank 0 writes it. mark: (bytes, CRC-32 of them) so far."""

    def __init__(self, path: Path) -> None:
        self.path, self.mark = path, (0, 0)

    def start(self, head: str = "") -> None:
        """Begin the file with `head`; or, with the mark of a checkpoint, go on there."""
        if not is_first():
            return
        size, checksum = self.mark
        if not size:
            if head or self.path.exists():
                files.write(self.path, head)
            self._grow(head.encode())
            return
        found = self.path.read_bytes()[:size] if self.path.is_file() else b""
        if len(found) < size or zlib.crc32(found) != checksum:
            raise UserError(
                f"{self.path} is not what the last checkpoint counts on: it {self._problem(len(found))} (after a "
                "power cut, or by somebody's hand); put the file back, or delete the folder "
                f"{self.path.parent / 'checkpoints'}, and the same command trains from the beginning."
            )
        os.truncate(self.path, size)

    def append(self, text: str) -> None:
        """Write at the end. It reaches the disk with the next checkpoint."""
        if is_first():
            with self.path.open("ab") as file:
                file.write(text.encode())
            self._grow(text.encode())

    def go_on(self, mark: Sequence[int]) -> None:
        """Take a checkpoint's mark; before `start`."""
        size, checksum = mark
        self.mark = (size, checksum)

    def _grow(self, data: bytes) -> None:
        size, checksum = self.mark
        self.mark = (size + len(data), zlib.crc32(data, checksum))

    def _problem(self, found: int) -> str:
        if not self.path.is_file():
            return "is missing"
        size, _ = self.mark
        return (
            f"has {found:,} bytes of the {size:,}" if found < size else f"has other content in its first {size:,} bytes"
        )
