"""What a power cut or a hand does to the folder of a run that was interrupted: the same command ends as if nothing had
happened, or says one sentence whose remedy then works. (Kills, and data that never reached the disk: `test_chaos`.)"""

import re
import shutil
from pathlib import Path

import pytest

FAST = [
    "debug=fast", "logger=csv", "trainer=cpu", "epochs=12", "eval_every=6", "checkpoint_every=5", "callbacks=probes",
    "callbacks.steps.every=3", "callbacks.samples.every=2", "callbacks.behaviour.every=2", "model.init.hidden_size=16",
    "model.init.num_hidden_layers=1", "model.init.num_attention_heads=2", "model.init.intermediate_size=32",
]  # fmt: skip
FILES = (
    "config.yaml", "trajectory.csv", "steps.csv", "samples.jsonl", "behaviour.csv", "checkpoints/last.ckpt",
    "checkpoints/previous.ckpt",
)  # fmt: skip
DAMAGE = {
    "gone": lambda data: None,
    "zeros": lambda data: bytes(len(data)),
    "cut": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "other letters": lambda data: data[: len(data) // 2] + b"\xff\xfe}{\n" + data[len(data) // 2 :],
}
QUICK = {("steps.csv", "zeros"), ("config.yaml", "zeros")} | {(file, "gone") for file in FILES}
# Nothing can be missed that no checkpoint counts on, and what was damaged after the last one comes again.
GOES_ON = {("config.yaml", "gone")} | {
    (f"checkpoints/{name}.ckpt", kind) for name in ("last", "previous") for kind in DAMAGE
}


@pytest.fixture(scope="module")
def place(tmp_path_factory, command_line):
    """A run that was left alone (`whole`), and one that was killed after some checkpoints (`killed`)."""
    place = tmp_path_factory.mktemp("durability")
    done = command_line.run(place, *FAST, "name=whole", XRIGHT_CACHE="cache")
    assert done.returncode == 0, done.stderr
    job = command_line.start(place, *FAST, "name=killed", XRIGHT_CACHE="cache")
    job.until(lambda: bool(list(place.glob("runs/killed/*/checkpoints/previous.ckpt"))))
    job.kill()
    job.wait()
    assert not list(place.glob("runs/killed/*/result.json"))
    return place


def folder(place: Path, name: str) -> Path:
    (found,) = (path for path in place.glob(f"runs/{name}/strategy-*/") if ".old-" not in path.name)
    return found


def follow(sentence: str, place: Path) -> list[str]:
    """Do what a sentence advises; the overrides that it asks for."""
    if found := re.search(r"delete the folder (\S+?),? and", sentence):
        shutil.rmtree(place / found[1])
    elif found := re.search(r"(\S+) is damaged \(.*\); remove it and the same command goes on", sentence):
        (place / found[1]).unlink()
    elif "or overwrite=true to start afresh" in sentence:  # a config.yaml that is cut is that of another run
        return ["overwrite=true"]
    else:
        raise AssertionError(f"no remedy that could be followed: {sentence}")
    return []


CASES = [
    pytest.param(file, kind, marks=[] if (file, kind) in QUICK else pytest.mark.slow, id=f"{file} {kind}")
    for file in FILES
    for kind in DAMAGE
]


@pytest.mark.parametrize(("file", "kind"), CASES)
def test_damage_is_told_or_does_not_matter(place, file, kind, command_line, tmp_path, assert_same_run):
    shutil.copytree(place, tmp_path / "place", ignore=shutil.ignore_patterns("whole"))
    path = folder(tmp_path / "place", "killed") / file
    content = DAMAGE[kind](path.read_bytes())
    path.unlink() if content is None else path.write_bytes(content)

    def again(*overrides: str):
        return command_line.run(tmp_path / "place", *FAST, "name=killed", *overrides, XRIGHT_CACHE="cache")

    done = again()
    assert "Traceback" not in done.stderr
    if (file, kind) in GOES_ON:
        assert done.returncode == 0, done.stderr
    else:
        assert done.returncode == 2, done.stderr
        (sentence,) = [line for line in done.stderr.splitlines() if line.startswith("xright: ")]
        assert file in sentence or "holds a run with a different configuration" in sentence
        assert (path.read_bytes() if path.exists() else None) == content  # nothing is overwritten
        done = again(*follow(sentence, tmp_path / "place"))
        assert done.returncode == 0, done.stderr
    assert_same_run(folder(tmp_path / "place", "killed"), folder(place, "whole"))


def test_both_checkpoints_damaged(place, command_line, tmp_path, assert_same_run):
    shutil.copytree(place, tmp_path / "place", ignore=shutil.ignore_patterns("whole"))
    for path in (folder(tmp_path / "place", "killed") / "checkpoints").glob("*.ckpt"):
        path.write_bytes(bytes(100))
    done = command_line.run(tmp_path / "place", *FAST, "name=killed", XRIGHT_CACHE="cache")
    assert done.returncode == 2
    (sentence,) = [line for line in done.stderr.splitlines() if line.startswith("xright: ")]
    shutil.rmtree(tmp_path / "place" / re.search(r"no checkpoint in (\S+) can be read", sentence)[1])
    assert command_line.run(tmp_path / "place", *FAST, "name=killed", XRIGHT_CACHE="cache").returncode == 0
    assert_same_run(folder(tmp_path / "place", "killed"), folder(place, "whole"))


@pytest.mark.parametrize("file", ["trajectory.csv", "steps.csv"])
def test_rows_that_a_power_cut_took_are_missed(place, file, command_line, tmp_path):
    """Whole rows, so that the file looks good: six of them once went unnoticed."""
    shutil.copytree(place, tmp_path / "place", ignore=shutil.ignore_patterns("whole"))
    path = folder(tmp_path / "place", "killed") / file
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:2]))
    done = command_line.run(tmp_path / "place", *FAST, "name=killed", XRIGHT_CACHE="cache")
    assert done.returncode == 2
    assert re.search(rf"{file} is not what the last checkpoint counts on: it has \d+ bytes of the [\d,]+", done.stderr)
