"""The command as people type it, on entries that `cached_stage` has built."""

import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock

from xright.cache import cached_stage, lock_of, scratch_of
from xright.cache.contents import entries, remove

BASE = {"init": {"model_type": "gpt_neox", "hidden_size": 96}, "pretrain": {"steps": 1000, "optim": {"lr": 0.003}}}
HARMLESS = (
    "steps 5, base [red]\N{REPLACEMENT CHARACTER}[31m"  # neither markup nor an escape sequence reaches a terminal
)
DAY = 86400
NOON = time.mktime((2026, 3, 1, 12, 0, 0, 0, 0, -1))


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("XRIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    return tmp_path / "cache"


def cache(*arguments):
    command = [sys.executable, "-m", "xright.cache", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def entry(name, key, size, used=NOON, built=NOON):
    """An entry with a file of so many bytes on top of what each has, built and last used then."""

    def build(folder):
        (folder / "model").mkdir()
        (folder / "model" / "weights").write_bytes(b"w" * size)
        return {}

    folder = cached_stage(name, key, build).folder
    for path in folder.rglob("*"):
        os.utime(path, (built, built))
    os.utime(folder, (used, used))
    return folder


def unfinished(folder, used=NOON):
    """As if the builder of an entry had been killed."""
    scratch = folder.rename(scratch_of(folder))
    for path in scratch.rglob("*"):
        os.utime(path, (used, used))
    return folder


def words(line):
    return [part.strip() for part in line.split("  ") if part.strip()]


@pytest.fixture
def folders():
    """A base, an optimum built from it, and one that was not finished."""
    base = entry("base", BASE, 2_000_000, used=NOON + DAY)
    optimum = {"base": base.name, "objective": {"_target_": "xright.objectives.DPO", "beta": 0.4}, "steps": 360}
    return {
        "base": base,
        "dpo": entry("optimum_dpo", optimum, 1_250_000, used=NOON),
        "left": unfinished(entry("optimum_sft", {"steps": 5, "base": "[red]\x1b[31m"}, 10)),
    }


def test_lists_what_there_is(folders, root):
    (root / "sweeps" / "default").mkdir(parents=True)  # Hydra's, of no concern
    done = cache()
    assert (done.returncode, done.stderr) == (0, "")
    lines = [words(line) for line in done.stdout.splitlines()]
    base, dpo, left = (folder.name for folder in folders.values())
    noon, later = "2026-03-01 12:00", "2026-03-02 12:00"
    assert lines == [
        ["stage", "hash", "MB", "built", "last used", "what"],
        ["base", base, "2.0", noon, later, "steps 1000, lr 0.003, model_type gpt_neox, hidden_size 96"],
        ["optimum_dpo", dpo, "1.3", noon, noon, f"DPO, beta 0.4, steps 360, base {base}"],
        ["optimum_sft", left, "0.0", "unfinished", noon, HARMLESS],
        [f"3 entries of 3.3 MB in {root}"],
    ]
    assert len({line.index("20") for line in done.stdout.splitlines()[1:3]}) == 1  # columns are aligned


def test_table_on_a_terminal(folders, root):
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "xright.cache"]
    worker = subprocess.Popen(command, stdout=theirs, env=os.environ | {"COLUMNS": "160", "TERM": "xterm"})
    os.close(theirs)
    shown = b""
    try:
        while block := os.read(ours, 4096):
            shown += block
    except OSError:  # how Linux ends a terminal that nobody has open any more
        pass
    os.close(ours)
    assert worker.wait() == 0
    (row,) = (line for line in shown.decode().splitlines() if "optimum_sft" in line)
    assert [cell.strip() for cell in row.split("│")[1:-1]] == [
        "optimum_sft", folders["left"].name, "0.0", "unfinished", "2026-03-01 12:00",
        HARMLESS,
    ]  # fmt: skip
    assert f"3 entries of 3.3 MB in {root}" in shown.decode()


def test_an_empty_cache_and_none(root):
    assert cache().stdout == f"Nothing is cached in {root}.\n"
    assert not root.exists()  # looking makes nothing
    entry("base", BASE, 1)
    assert cache("prune", "--all").returncode == 0
    assert cache().stdout == f"Nothing is cached in {root}.\n"


def left(folders):
    """Which of them are still there, in either form."""
    return {name for name, folder in folders.items() if folder.exists() or scratch_of(folder).exists()}


@pytest.mark.parametrize(
    ("choice", "stay"),
    [
        (["{base}"], {"dpo", "left"}),
        (["{base:.6}", "{left}"], {"dpo"}),
        (["--stage", "optimum_dpo"], {"base", "left"}),
        (["--unfinished"], {"base", "dpo"}),
        (["--all"], set()),
        (["--older-than", "{days}d"], {"base"}),
        (["--older-than", "{days}d", "--unfinished"], {"base", "dpo"}),  # what is both
        (["--older-than", "{days}d", "--stage", "base"], {"base", "dpo", "left"}),
        (["--older-than", "500w"], {"base", "dpo", "left"}),
    ],
)
def test_prune_removes_what_is_chosen(folders, choice, stay):
    days = f"{(time.time() - NOON) / DAY - 0.5:.3f}"  # the base was used a day later than the others
    choice = [part.format(days=days, **{name: folder.name for name, folder in folders.items()}) for part in choice]
    dry = cache("prune", *choice, "--dry-run")
    assert left(folders) == {"base", "dpo", "left"}
    done = cache("prune", *choice)
    assert (done.returncode, done.stderr) == (0, "")
    assert left(folders) == stay
    gone = {"base", "dpo", "left"} - stay
    lines = done.stdout.splitlines()
    assert [line.split()[:2] for line in lines[:-1]] == [
        ["removed:", f"{folder.parent.name}/{folder.name}" + ("," if name != "left" else "")]
        for name, folder in folders.items()
        if name in gone
    ]
    freed = sum({"base": 2.0, "dpo": 1.25, "left": 0.0}[name] for name in gone)
    assert lines[-1].startswith(f"{len(gone)} {'entry' if len(gone) == 1 else 'entries'} removed, ")
    assert float(lines[-1].split()[-3]) == pytest.approx(freed, abs=0.06)
    assert dry.stdout.replace("would remove:", "removed:").replace("would be removed", "removed") == done.stdout


def test_a_pruned_entry_is_built_again_under_the_same_hash(folders):
    cache("prune", folders["base"].name)
    assert entry("base", BASE, 2_000_000) == folders["base"]
    assert cache("prune", folders["base"].name).stdout.endswith("1 entry removed, 2.0 MB freed\n")


@pytest.mark.parametrize("option", [[], ["--dry-run"]])
def test_what_is_being_built_is_left_alone(folders, option):
    folder = folders["left"]
    with FileLock(lock_of(folder)):
        row = next(line for line in cache().stdout.splitlines() if "optimum_sft" in line)
        assert words(row)[3] == "being built"
        done = cache("prune", "--all", *option)
    assert done.returncode == 0
    assert f"left alone: optimum_sft/{folder.name} (unfinished) is being built by a process that runs" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("2 entries ")
    assert left(folders) == ({"left"} if not option else {"base", "dpo", "left"})


WAITER = """
import sys, time
import xright.machine.ranks
from xright.cache import cached_stage
def build(folder):
    (folder / "there").write_text("x")
    time.sleep(0.5)
    assert (folder / "there").exists()
    return {}
print("ready", flush=True)
print(cached_stage("s", {"a": 1}, build).folder)
"""


def test_a_lock_that_somebody_waits_at_is_not_pulled_away(root):
    """Two wait while an entry is pruned: still there is one builder at a time, and nobody clears another's work."""
    folder = unfinished(entry("s", {"a": 1}, 10))
    with FileLock(lock_of(folder)):
        pipe = subprocess.PIPE
        workers = [subprocess.Popen([sys.executable, "-c", WAITER], stdout=pipe, text=True) for _ in range(2)]
        assert [worker.stdout.readline() for worker in workers] == ["ready\n"] * 2
        time.sleep(0.5)
    assert [remove(entry) for entry in entries(root)] == [True]
    assert [worker.communicate(timeout=30)[0].split()[-1] for worker in workers] == [str(folder)] * 2
    assert [worker.returncode for worker in workers] == [0, 0]
    assert lock_of(folder) in (root / "s").iterdir()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "prune needs to know what: hashes, --stage, --older-than, --unfinished or --all."),
        (["--dry-run"], "prune needs to know what: hashes, --stage, --older-than, --unfinished or --all."),
        (["beef"], "'beef' is not there; `python -m xright.cache` lists what {root} holds."),
        ([""], "'' may be {hashes}; `python -m xright.cache` lists what {root} holds."),
        (["--stage", "bass"], "--stage 'bass' is not in {root}; there are: base, optimum_dpo, optimum_sft."),
        (["--older-than", "30"], "--older-than '30' must be a number and a unit (s, m, h, d or w), such as 30d."),
        (["--older-than", "-1d", "--all"], None),
    ],
)
def test_bad_input_is_one_sentence_and_removes_nothing(folders, root, arguments, sentence):
    done = cache("prune", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    if sentence:
        hashes = ", ".join(sorted(folder.name for folder in folders.values()))
        assert done.stderr == "xright: " + sentence.format(root=root, hashes=hashes) + "\n"
    assert "Traceback" not in done.stderr
    assert left(folders) == {"base", "dpo", "left"}


def test_a_config_that_cannot_be_read_is_listed(folders):
    (folders["base"] / "config.yaml").write_bytes(b"a: [\xff")
    assert "config.yaml cannot be read" in cache().stdout


def test_help_says_what_pruning_means():
    text = " ".join(cache("prune", "--help").stdout.split())
    assert "HASH" in text
    assert "it is built again, from the same key" in text
