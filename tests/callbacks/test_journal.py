import zlib

import pytest

from xright.errors import UserError
from xright.tracking.journal import Journal

BEFORE, AFTER = "one\u2028 line\ntwo\n", "three\nfo"  # a checkpoint between them; killed in the middle of a line


@pytest.fixture
def file(tmp_path):
    """A file that was killed, and the mark of its last checkpoint."""
    journal = Journal(tmp_path / "a.txt")
    journal.start()
    journal.append(BEFORE)
    mark = list(journal.mark)
    journal.append(AFTER)
    assert mark == [len(BEFORE.encode()), zlib.crc32(BEFORE.encode())]
    return journal.path, mark


def resumed(path, mark):
    journal = Journal(path)
    journal.go_on(mark)
    journal.start("a head that is there already")
    return journal


def test_goes_on_exactly_where_the_checkpoint_was(file):
    path, mark = file
    for _ in range(2):  # killed again before anything was written
        journal = resumed(path, mark)
        assert path.read_bytes().decode() == BEFORE
    journal.append(AFTER)
    assert path.read_bytes().decode() == BEFORE + AFTER


def test_nothing_written_is_no_file(tmp_path):
    Journal(tmp_path / "a.txt").start()
    assert list(tmp_path.iterdir()) == []


DAMAGE = {
    "cut": (lambda data: data[:5], "has 5 bytes of the 16"),
    "empty": (lambda data: b"", "has 0 bytes of the 16"),
    "zeros": (lambda data: bytes(len(data)), "has other content in its first 16 bytes"),
    "a bit": (lambda data: bytes([data[0] ^ 1]) + data[1:], "has other content in its first 16 bytes"),
    "gone": (lambda data: None, "is missing"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_what_the_checkpoint_counts_on_must_be_there(file, kind):
    path, mark = file
    change, said = DAMAGE[kind]
    content = change(path.read_bytes())
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(UserError, match=said) as error:
        resumed(path, mark)
    assert f"delete the folder {path.parent / 'checkpoints'}" in str(error.value)
    assert (path.read_bytes() if path.exists() else None) == content  # untouched


def test_what_was_damaged_after_the_checkpoint_comes_again(file):
    path, mark = file
    path.write_bytes(path.read_bytes()[: len(BEFORE.encode())] + bytes(100))
    assert resumed(path, mark).path.read_bytes().decode() == BEFORE
