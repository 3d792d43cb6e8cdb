"""The cache: hits and misses, processes at once, ranks, kills, damage, and disks that are full or read-only."""

import errno
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file

from xright.cache import cache_root, cached_stage, lock_of, manifest, scratch_of
from xright.cache.contents import entries, remove
from xright.errors import UserError, disk_sentence
from xright.machine import files
from xright.machine.locks import Busy, free_first, held

KEY = {"rows": "abc", "steps": 3}
FILES = ["config.yaml", "manifest.json", "result.json", "weights"]


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("XRIGHT_CACHE", str(tmp_path))
    return tmp_path


def builder(calls):
    def build(folder):
        calls.append(folder)
        (folder / "weights").write_text("w")
        return {"optimum": 0.5}

    return build


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_miss_builds_and_hit_reuses(root, caplog):
    calls = []
    first = cached_stage("optimum", KEY, builder(calls))
    assert (first.folder / "weights").read_text() == "w"
    assert yaml.safe_load((first.folder / "config.yaml").read_text()) == KEY
    assert first.folder.parent == root / "optimum"
    assert first.id == first.folder.name
    caplog.set_level("INFO")
    again = cached_stage("optimum", dict(reversed(KEY.items())), builder(calls))  # the order of keys is no difference
    assert again == first
    assert again.result == {"optimum": 0.5}
    assert len(calls) == 1
    assert f"from the cache, {first.folder}" in caplog.text


def test_other_key_or_other_name_is_another_stage():
    calls = []
    folders = [
        cached_stage(name, key, builder(calls)).folder
        for name, key in (("a", KEY), ("a", KEY | {"steps": 4}), ("b", KEY), ("a", KEY | {"steps": "3"}))
    ]
    assert len(set(folders)) == len(calls) == 4


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_failed_builder_leaves_nothing_and_the_next_one_builds(root, error):
    def fail(folder):
        (folder / "half").write_text("x")
        raise error

    with pytest.raises(error):
        cached_stage("s", KEY, fail)
    assert [path.suffix for path in (root / "s").iterdir()] == [".lock"]
    assert cached_stage("s", KEY, builder([])).result == {"optimum": 0.5}


def test_what_the_entry_does_not_hold_is_what_json_does_not(root):
    stage = cached_stage("s", KEY, lambda folder: {"pair": (1, 2)})
    assert stage.result == cached_stage("s", KEY, builder([])).result == {"pair": [1, 2]}  # built or found: the same
    with pytest.raises(TypeError):
        cached_stage("s", {"a": 1}, lambda folder: {"folder": folder})
    assert len([path for path in (root / "s").iterdir() if path.is_dir()]) == 1


def test_a_hit_marks_the_folder_as_used_and_no_file(root):
    folder = cached_stage("s", KEY, builder([])).folder
    for path in (folder, *folder.iterdir()):
        os.utime(path, (1000, 1000))
    started = time.time() - 1  # the clock of files is coarser
    cached_stage("s", KEY, builder([]))
    assert folder.stat().st_mtime > started
    assert {path.stat().st_mtime for path in folder.iterdir()} == {1000}


# -- interrupted builds


def left_behind(*files):
    """The scratch folder of a builder that was killed."""
    folder = cached_stage("s", KEY, builder([])).folder
    scratch = scratch_of(folder)
    folder.rename(scratch)  # as if killed before the rename: no finished folder, a full scratch one
    (scratch / "stale").write_text("x")
    for file in files:
        (scratch / file).parent.mkdir(exist_ok=True)
        (scratch / file).write_text("half a training")
    return folder


@pytest.mark.parametrize("files", [(), ("checkpoints/writing.ckpt",)])
def test_what_a_dead_builder_left_is_cleared(files):
    folder = left_behind(*files)
    calls = []
    assert cached_stage("s", KEY, builder(calls)).folder == folder
    assert len(calls) == 1
    assert not scratch_of(folder).exists()
    assert names(folder) == FILES


@pytest.mark.parametrize("file", ["checkpoints/last.ckpt", "checkpoints/previous.ckpt"])
def test_what_a_dead_builder_can_go_on_from_is_kept(file, caplog):
    folder = left_behind(file)
    seen = []

    def go_on(scratch):
        seen.append((scratch / file).read_text())
        assert names(scratch) == sorted([*FILES, "checkpoints", "stale"])
        (scratch / "stale").unlink()
        return {"optimum": 0.25}

    caplog.set_level("INFO")
    assert cached_stage("s", KEY, go_on).result == {"optimum": 0.25}
    assert seen == ["half a training"]
    assert f"s: building {folder}, from the checkpoint that an earlier process left" in caplog.text
    assert names(folder) == FILES  # a finished stage needs no checkpoints


class Preempted(BaseException):
    """Like xright.machine.preemption's, which has to unwind through here."""


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, Preempted])
def test_a_failed_build_keeps_its_checkpoint(error):
    calls = []

    def fail_once(scratch):
        calls.append(names(scratch))
        (scratch / "checkpoints").mkdir(exist_ok=True)
        (scratch / "checkpoints" / "last.ckpt").write_text("x")
        if len(calls) == 1:
            raise error
        return {}

    with pytest.raises(error):
        cached_stage("s", KEY, fail_once)
    cached_stage("s", KEY, fail_once)
    assert calls == [["config.yaml"], ["checkpoints", "config.yaml"]]


# -- processes

WORKER = """
import logging, os, sys, time
from pathlib import Path
import xright.machine.ranks
from xright import cache
from xright.machine import locks

logging.basicConfig(level="INFO", format=sys.argv[3] if len(sys.argv) > 3 else "%(message)s")
locks.REMIND, seconds = 0.3, float(sys.argv[2])

def build(folder):
    with open(sys.argv[1], "a") as file:
        file.write(f"{os.getpid()}\\n")
    print("building", flush=True)
    (folder / "first").write_text("x" * 1000)
    time.sleep(seconds)
    (folder / "second").write_text("y" * 1000)
    return {"pid": os.getpid()}

def take():
    stage = cache.cached_stage("s", {"a": 1}, build)
    assert (stage.folder / "first").read_text() + (stage.folder / "second").read_text() == "x" * 1000 + "y" * 1000
    sys.stdout.write(f"{stage.result['pid']}\\n")  # in one piece: ten processes share the pipe
    sys.stdout.flush()
"""
ONE = """
print("ready", flush=True)
sys.stdin.readline()
take()
"""
TEN = """
gate, opener = os.pipe()
children = []
for _ in range(10):  # forks: torch is imported once
    children.append(os.fork())
    if not children[-1]:
        os.close(opener)
        os.read(gate, 1)  # until all are there
        take()
        os._exit(0)
os.close(opener)
print([os.waitpid(child, 0)[1] for child in children])
"""


def start(script, *arguments):
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def go(worker):
    """Let it take the stage, now that it has imported everything."""
    assert worker.stdout.readline() == "ready\n"
    worker.stdin.write("go\n")
    worker.stdin.flush()


def test_what_another_process_builds_comes_last(root):
    order, held_by_another = [], ExitStack()
    hidden = root / "a" / files.hash_of({"of": "a"})
    held_by_another.enter_context(held(lock_of(hidden), "builds it"))

    def ask(name, patient):
        def build(folder):
            order.append(name)
            if name == "c":
                held_by_another.close()  # the other process is done, and has died without a result
            return {"is": name}

        return cached_stage(name, {"of": name}, build, patient=patient).result["is"]

    assert free_first(["a", "b", "c"], ask) == {"a": "a", "b": "b", "c": "c"}
    assert order == ["b", "c", "a"]
    with held(lock_of(root / "d" / files.hash_of(KEY)), "builds it"), pytest.raises(Busy, match="wait for it"):
        cached_stage("d", KEY, builder([]), patient=False)


def test_ten_processes_at_once_build_once(tmp_path):
    builds = tmp_path / "builds"
    out, logged = start(WORKER + TEN, builds, 1.5, "%(process)d %(message)s").communicate(timeout=60)
    (builder,) = builds.read_text().split()
    assert out.splitlines() == ["building", *[builder] * 10, str([0] * 10)], logged
    folder = str(next((tmp_path / "s").glob("*[0-9a-f]")))
    said = {}
    for line in logged.splitlines():
        pid, _, message = line.partition(" ")
        said.setdefault(pid, []).append(message)
    assert len(said) == 10
    assert said.pop(builder) == [f"s: building {folder}"]
    for lines in said.values():
        assert lines[0] == f"waiting for another process that builds {folder}"
        assert lines[-1] == f"s: from the cache, {folder}"
        assert set(lines[1:-1]) == {f"still waiting for another process that builds {folder} (0 min)"}
        assert len(lines[1:-1]) >= 2  # every 0.3 s of 1.5 s, and of what a busy machine adds


def test_killed_holder_and_stopped_waiter(root, tmp_path):
    """Who is stopped while it waits disturbs nobody; who waits for a killed builder builds."""
    holder, stopped, waiter = (start(WORKER + ONE, tmp_path / "builds", seconds) for seconds in (60, 0, 0))
    go(holder)
    assert holder.stdout.readline() == "building\n"
    for worker in (stopped, waiter):
        go(worker)
        assert "waiting for another process that builds" in worker.stderr.readline()
    stopped.send_signal(signal.SIGINT)
    stopped.communicate(timeout=20)
    assert stopped.returncode != 0
    (scratch,) = (root / "s").glob("*.building")
    assert names(scratch) == ["config.yaml", "first"]
    holder.kill()
    out, _ = waiter.communicate(timeout=20)
    holder.communicate()
    assert (waiter.returncode, out.split()) == (0, ["building", str(waiter.pid)])
    assert not scratch.exists()


# -- ranks

RANK = """
import json, logging, sys
from xright.machine import ranks
from xright.cache import cached_stage
from xright.errors import UserError

logging.basicConfig(level="INFO", format="%(message)s")
rank, port, *scenarios = sys.argv[1:]
ranks.join(int(rank), 2, "127.0.0.1", int(port))

def try_it(scenario):
    built = []

    def build(folder):
        built.append(folder.name)
        if "refuses" in scenario:
            raise UserError("row 7 is bad.")
        if "breaks" in scenario:
            raise ZeroDivisionError("a bug")
        if ranks.is_first():
            (folder / "weights").write_text("w" * (3_000_000 if "full" in scenario else 1))
        return {"rank": int(rank)}

    try:
        stages = [cached_stage(scenario, {"a": 1}, build, alone="alone" in scenario) for _ in range(2)]
        return [built, [[str(stage.folder), stage.result] for stage in stages]]
    except UserError as error:
        if "alone" not in scenario:
            raise
        return str(error)

for scenario in scenarios:
    print(json.dumps(try_it(scenario)), flush=True)
"""


def two_ranks(*scenarios):
    """For each rank: exit code, what came out of each scenario that ended, what it logged."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    workers = [start(RANK, rank, port, *scenarios) for rank in range(2)]
    try:
        ended = [worker.communicate(timeout=60) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    outcomes = [[json.loads(line) for line in out.splitlines()] for out, _ in ended]
    return [
        (worker.returncode, *rest) for worker, *rest in zip(workers, outcomes, [said for _, said in ended], strict=True)
    ]


def test_ranks(root):
    """All build, or one for all; none waits for one that has given up, or died."""
    (code, outcomes, said), (_, others, nothing) = two_ranks("together", "alone", "alone_refuses", "alone_breaks")
    failed = "the first rank failed: ZeroDivisionError: a bug"
    assert (len(outcomes), others[3:]) == (3, [failed]), (said, nothing)
    for name, (built, stages), (other_built, other_stages) in zip(
        ("together", "alone"), outcomes, others, strict=False
    ):
        (folder,) = (path for path in (root / name).iterdir() if path.suffix != ".lock")
        assert stages == other_stages == [[str(folder), {"rank": 0}]] * 2
        assert built == [scratch_of(folder).name]
        assert other_built == (built if name == "together" else [])
        told = [f"{name}: building {folder}", f"{name}: from the cache, {folder}"]
        assert [line for line in said.splitlines() if line.startswith(f"{name}: ")] == told
        assert f"{name}: " not in nothing
    assert outcomes[2] == others[2] == "row 7 is bad."
    assert code == 1
    assert "ZeroDivisionError: a bug" in said
    for name in ("alone_refuses", "alone_breaks"):
        assert {path.suffix for path in (root / name).iterdir()} == {".lock"}


# -- damage


def tampered(file, change):
    """A finished entry, one of its files changed, as the next process finds it."""
    folder = cached_stage("s", KEY, builder([])).folder
    manifest.check.cache_clear()
    change(folder / file)
    return folder


def no_longer(path):
    path.unlink()


def empty(path):
    path.write_text("")


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def same_size(path):
    path.write_bytes(path.read_bytes()[:-1] + b"?")


def as_text(text):
    return lambda path: path.write_text(text)


def of_format(number):
    return lambda path: path.write_text(json.dumps(json.loads(path.read_text()) | {"format": number}))


DAMAGE = [
    *((file, change) for file in FILES for change in (no_longer, empty, cut, same_size)),
    ("result.json", as_text("[1]")),
    ("result.json", as_text("{nothing")),
    ("manifest.json", as_text("[]")),
    ("manifest.json", as_text('{"format": 1}')),
    ("manifest.json", as_text('{"format": 1, "files": ["result.json"]}')),
    ("manifest.json", as_text('{"format": 1, "files": {"result.json": 17}}')),
    ("manifest.json", lambda path: path.write_bytes(b"\xff\xfe")),
    ("manifest.json", of_format(0)),
    ("manifest.json", of_format("2")),
]


@pytest.mark.parametrize(("file", "change"), DAMAGE)
def test_damage_is_named_and_nothing_is_removed(file, change):
    folder = tampered(file, change)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    calls = []
    for _ in range(2):  # a second look is no better
        with pytest.raises(UserError) as error:
            cached_stage("s", KEY, builder(calls))
        said = str(error.value)
        assert said.startswith(f"{folder / file} ")
        assert f"`python -m xright.cache prune {folder.name}`" in said
        assert "\n" not in said
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    assert calls == []


def test_an_entry_of_another_version_says_so():
    tampered("manifest.json", of_format(0))
    with pytest.raises(UserError, match=r"another version of xright \(format 0; this one reads 1\)"):
        cached_stage("s", KEY, builder([]))
    tampered_folder = next(cache_root().glob("s/*/")).parent
    shutil.rmtree(tampered_folder)
    tampered("manifest.json", no_longer)
    with pytest.raises(UserError, match=r"manifest\.json is missing: .* or of an older version of xright"):
        cached_stage("s", KEY, builder([]))


def test_damage_in_a_subfolder_is_named():
    def build(folder):
        (folder / "model").mkdir()
        (folder / "model" / "config.json").write_text("{}")
        return {}

    folder = cached_stage("s", KEY, build).folder
    listed = json.loads((folder / "manifest.json").read_text())
    assert listed["format"] == 1
    # echo -n '{}' | sha256sum
    digest = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    assert listed["files"]["model/config.json"] == [2, digest]
    assert sorted(listed["files"]) == ["config.yaml", "model/config.json", "result.json"]
    manifest.check.cache_clear()
    (folder / "model" / "config.json").write_text("{ ")
    with pytest.raises(UserError, match=r"model/config\.json is not as it was written"):
        cached_stage("s", KEY, build)


def test_large_files_are_compared_by_size(monkeypatch):
    monkeypatch.setattr(manifest, "HASHED", 0)
    folder = tampered("weights", same_size)
    assert cached_stage("s", KEY, builder([])).folder == folder
    cut(folder / "weights")
    manifest.check.cache_clear()
    with pytest.raises(UserError, match=r"weights is damaged \(0 bytes, of 1 that were written\)"):
        cached_stage("s", KEY, builder([]))


def test_an_entry_is_verified_once_in_a_process(monkeypatch):
    cached_stage("s", KEY, builder([]))
    manifest.check.cache_clear()
    hashed, sha256 = [], manifest.files.sha256
    monkeypatch.setattr(manifest.files, "sha256", lambda path: hashed.append(path.name) or sha256(path))
    for _ in range(3):
        cached_stage("s", KEY, builder([]))
    assert hashed == ["config.yaml", "result.json", "weights"]


# -- disks


def mount(*arguments):
    done = subprocess.run(["mount", *map(str, arguments)], capture_output=True, text=True)
    return done.stderr.strip() if done.returncode else None


@pytest.fixture
def disk(tmp_path, monkeypatch):
    """A cache on a disk of 1 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    if shutil.which("mount") is None or (refused := mount("-t", "tmpfs", "-o", "size=1m", "tmpfs", place)):
        pytest.skip(f"a small disk cannot be mounted here: {refused if shutil.which('mount') else 'no mount command'}")
    monkeypatch.setenv("XRIGHT_CACHE", str(place))
    yield place
    subprocess.run(["umount", "-l", place], check=True)


ARRAY = np.zeros(750_000, np.float32)  # 3 MB


def torch_to_file(path):
    with path.open("wb") as file:
        torch.save(torch.from_numpy(ARRAY), file)


WRITERS = {
    "text": lambda path: path.write_text("x" * ARRAY.nbytes),
    "numpy": lambda path: np.save(path, ARRAY),
    "safetensors": lambda path: save_file({"a": torch.from_numpy(ARRAY)}, path),
    "torch": lambda path: torch.save(torch.from_numpy(ARRAY), path),
    "torch, to an open file": torch_to_file,
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_full_disk_is_told_and_leaves_nothing(disk, write):
    def too_much(folder):
        write(folder / "weights.npy")
        return {}

    with pytest.raises(UserError) as error:
        cached_stage("s", KEY, too_much)
    said = str(error.value)
    assert error.value.code == 1  # it is no bad input
    assert said.startswith(f"{disk / 's'} cannot be written: ")
    if write is not WRITERS["safetensors"]:  # which removes its half-written file itself
        assert "(0.0 MB free there)" in said  # before what was half-written is removed
    assert "XRIGHT_CACHE" in said
    assert "\n" not in said
    assert {path.suffix for path in (disk / "s").iterdir()} == {".lock"}
    del error  # its traceback holds torch's open file
    assert cached_stage("s", KEY, builder([])).result == {"optimum": 0.5}  # there is room for what is smaller


def test_a_disk_that_fills_up_at_the_end_is_told(disk):
    """There is room for all that build writes, but not for its result."""

    def just_fits(folder):
        with (folder / "weights").open("wb") as file:
            while shutil.disk_usage(disk).free:
                file.write(b"x" * 4096)
                file.flush()
        return {"numbers": list(range(10_000))}

    with pytest.raises(UserError, match=r"cannot be written: No space left on device \(0\.0 MB free there\)"):
        cached_stage("s", KEY, just_fits)
    assert {path.suffix for path in (disk / "s").iterdir()} == {".lock"}


def test_a_full_disk_leaves_the_checkpoint_to_go_on_from(disk):
    def train(folder):
        (folder / "checkpoints").mkdir(exist_ok=True)
        (folder / "checkpoints" / "last.ckpt").write_text("step 5")
        if (disk / "ballast").exists():
            WRITERS["text"](folder / "weights")
        return {}

    (disk / "ballast").write_text("x")
    with pytest.raises(UserError, match="No space left on device"):
        cached_stage("s", KEY, train)
    (disk / "ballast").unlink()
    (scratch,) = (disk / "s").glob("*.building")
    assert (scratch / "checkpoints" / "last.ckpt").read_text() == "step 5"
    (scratch / "weights").unlink()
    cached_stage("s", KEY, train)


def test_a_full_disk_ends_all_ranks(disk):
    (code, outcomes, said), (other_code, others, _) = two_ranks("alone_full", "together_full")
    assert outcomes == others
    assert "No space left on device" in outcomes[0]
    assert code == 1
    assert other_code != 0
    assert "DiskFull: " in said
    for name in ("alone_full", "together_full"):
        assert {path.suffix for path in (disk / name).iterdir()} == {".lock"}


def test_read_only_disk_serves_hits_and_tells_of_misses(disk):
    stage = cached_stage("s", KEY, builder([]))
    manifest.check.cache_clear()
    assert mount("-o", "remount,ro", disk) is None
    assert cached_stage("s", KEY, builder([])) == stage
    for name in ("s", "new"):
        with pytest.raises(UserError, match=rf"{disk / name} cannot be written: Read-only file system"):
            cached_stage(name, {"a": 1}, builder([]))


def test_a_cache_that_is_no_folder_is_told(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("XRIGHT_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"file/s cannot be written: Not a directory .*XRIGHT_CACHE"):
        cached_stage("s", KEY, builder([]))


def test_other_errors_are_no_disk_errors(tmp_path):
    where = str(tmp_path / "data.jsonl")
    for error in (
        ValueError("no"),
        FileNotFoundError(2, "No such file or directory", where),
        PermissionError(13, "Permission denied", where),  # the user's data, not the cache
        RuntimeError("PytorchStreamReader failed reading zip archive"),  # a damaged file that is read
        KeyboardInterrupt(),
        UserError("says it: No space left on device"),
    ):
        assert disk_sentence(error, tmp_path / "cache") is None
    inside = PermissionError(13, "Permission denied", str(tmp_path / "cache" / "s"))
    assert "cache cannot be written: Permission denied (" in (disk_sentence(inside, tmp_path / "cache") or "")
    wrapped = RuntimeError("while saving")
    wrapped.__cause__ = OSError(122, "Disk quota exceeded")
    assert "Disk quota exceeded" in (disk_sentence(wrapped, tmp_path) or "")


def test_the_lock_is_held_only_while_building():
    held = []

    def build(folder):
        held.append(subprocess.run([sys.executable, "-c", PROBE, lock], capture_output=True, text=True).stdout)
        return {}

    lock = str(lock_of(cached_stage("s", KEY, builder([])).folder))
    shutil.rmtree(cache_root() / "s")
    cached_stage("s", KEY, build)
    assert held == ["held"]
    assert subprocess.run([sys.executable, "-c", PROBE, lock], capture_output=True, text=True).stdout == "free"


PROBE = """
import sys
from filelock import FileLock, Timeout
try:
    FileLock(sys.argv[1]).acquire(timeout=0)
    print("free", end="")
except Timeout:
    print("held", end="")
"""


def test_root_by_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("XRIGHT_CACHE", "~/there")
    assert cache_root() == Path("~/there").expanduser()
    monkeypatch.delenv("XRIGHT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_root() == tmp_path / "xright"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_root() == Path("~/.cache/xright").expanduser()


# -- links and locks


def test_a_link_in_the_place_of_an_entry_is_removed_and_what_it_points_to_stays(tmp_path):
    """As people make who move a large entry to another disk."""
    folder = cached_stage("s", KEY, builder([])).folder
    moved = folder.rename(tmp_path / "moved")
    folder.symlink_to(moved)
    assert cached_stage("s", KEY, builder([])).folder == folder  # a hit
    (found,) = entries(cache_root())
    assert (found.size, remove(found)) == (0, True)
    assert {path.suffix for path in folder.parent.iterdir()} == {".lock"}
    assert (moved / "result.json").exists()
    calls = []
    cached_stage("s", KEY, builder(calls))
    assert len(calls) == 1
    assert not folder.is_symlink()


@pytest.mark.parametrize("unfinished", [False, True])
def test_a_link_to_nothing_is_built_over(tmp_path, unfinished):
    folder = cached_stage("s", KEY, builder([])).folder
    shutil.rmtree(folder)
    (scratch_of(folder) if unfinished else folder).symlink_to(tmp_path / "nowhere")
    manifest.check.cache_clear()
    assert cached_stage("s", KEY, builder([])).folder == folder
    assert folder.is_dir()
    assert not folder.is_symlink()


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_told(monkeypatch, code):
    """As some network disks are; there is none here to mount."""

    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr(fcntl, "lockf", refuse)
    with pytest.raises(
        UserError, match=r"s cannot be locked, so that two processes could write .*XRIGHT_CACHE"
    ) as error:
        cached_stage("s", KEY, builder([]))
    assert error.value.code == 2
