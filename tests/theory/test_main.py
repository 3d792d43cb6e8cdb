"""The command as people type it: with fewer and shorter runs, with bad input, and (slow) as it stands."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from xright.theory import forgetting
from xright.theory.__main__ import main

FIGURES = {
    f"{name}.{kind}" for name in ("figure_2", "figure_6", "gap_against_horizon") for kind in ("pdf", "svg", "png")
}
SIGNATURES = {".pdf": b"%PDF-", ".svg": b"<?xml", ".png": b"\x89PNG\r\n"}
AS_IT_STANDS = ["-m", "xright.theory"]
SHORTER = """
import runpy
from xright.theory import forgetting, recompute, toy
recompute.LAMS, recompute.KS, recompute.TOY_SEEDS = (0.5,), (1, 10), range(2)
recompute.HORIZONS, recompute.FINE_HORIZONS, recompute.EXACT_HORIZONS = (10, 100), (10, 100), (2, 3)
toy.STAGE, forgetting.maxright_limit.__defaults__ = 200, (500,)
runpy.run_module("xright.theory", run_name="__main__", alter_sys=True)
"""


def theory(cwd: Path, program: list[str], *arguments: str) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONUTF8": "1"}
    return subprocess.run(
        [sys.executable, *program, *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=environment,
    )


@pytest.fixture(scope="module")
def ran(tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess]:
    """The working folder, and the command run in it with --seeds 4."""
    folder = tmp_path_factory.mktemp("theory")
    return folder, theory(folder, ["-c", SHORTER], "results/new", "--seeds", "4", "--processes", "1")


def test_prints_the_path_of_the_numbers_as_the_last_line(ran):
    folder, done = ran
    assert (done.returncode, done.stdout.splitlines()) == (0, ["results/new/theory.json"])
    assert "Traceback" not in done.stderr
    assert {file.name for file in (folder / "results" / "new").iterdir()} == FIGURES | {"theory.json"}


def test_figures_are_what_their_names_say(ran):
    for name in FIGURES:
        content = (ran[0] / "results" / "new" / name).read_bytes()
        assert content.startswith(SIGNATURES[Path(name).suffix])
        assert len(content) > 10_000
    for name in ("figure_2", "figure_6", "gap_against_horizon"):
        assert "</svg>" in (ran[0] / "results" / "new" / f"{name}.svg").read_text(encoding="utf-8")


def test_numbers_are_of_the_asked_runs_and_say_where_they_come_from(ran):
    text = (ran[0] / "results" / "new" / "theory.json").read_text(encoding="utf-8")
    results = json.loads(text)
    assert text.endswith("}\n")
    assert {horizon: row["seeds"] for horizon, row in results["alright"]["1"].items()} == {"10": 4, "100": 2}
    assert results["lower_bound"]["0.5"] == pytest.approx(forgetting.lower_bound(0.5))
    assert results["alright_exact"]["10"]["3"] == pytest.approx(0.2479050200, abs=1e-10)
    about = results["about"]
    assert set(about) == {"versions", "machine", "seconds"}
    assert set(about["versions"]) == {"xright", "python", "numpy", "matplotlib"}
    assert about["seconds"] > 0


def test_the_same_input_gives_the_same_files(ran):
    folder, _ = ran
    again = theory(folder, ["-c", SHORTER], "again", "--seeds", "4", "--processes", "2")
    assert again.returncode == 0
    first, second = (
        {file.name: file.read_bytes() for file in (folder / place).iterdir()} for place in ("results/new", "again")
    )
    numbers = [json.loads(files.pop("theory.json")) for files in (first, second)]
    assert [result.pop("about")["seconds"] > 0 for result in numbers] == [True, True]
    assert numbers[0] == numbers[1]
    assert {name for name in first if first[name] != second[name]} == set()


BAD = {  # arguments: what the sentence names, and what it tells to do
    ("taken",): ["'taken'", "File exists", "name another"],
    ("taken/below",): ["'taken/below'", "Not a directory", "name another"],
    ("new", "--seeds", "1"): ["--seeds 1", "at least 2"],
    ("new", "--seeds", "-5"): ["--seeds -5", "at least 2"],
    ("new", "--processes", "0"): ["--processes 0", "at least 1"],
    ("new/deeper", "--seeds", "8", "--processes", "-1"): ["--processes -1", "at least 1"],
}


def assert_is_one_sentence(text: str, words: list[str]) -> None:
    assert len(text.splitlines()) == 1
    assert text.endswith(".\n")
    assert "Traceback" not in text
    assert [word for word in words if word not in text] == []


@pytest.mark.parametrize("arguments", BAD, ids=" ".join)
def test_bad_input_is_one_sentence_and_writes_nothing(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("taken").write_text("mine")
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert_is_one_sentence(err, BAD[arguments])
    assert [file.name for file in tmp_path.rglob("*")] == ["taken"]
    assert Path("taken").read_text() == "mine"


@pytest.mark.parametrize("arguments", [("taken",), ("new", "--seeds", "1"), ("new", "--processes", "0")], ids=" ".join)
def test_bad_input_ends_the_command_with_exit_code_2(arguments, tmp_path):
    (tmp_path / "taken").write_text("mine")
    done = theory(tmp_path, AS_IT_STANDS, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert_is_one_sentence(done.stderr, BAD[arguments])
    assert [file.name for file in tmp_path.rglob("*")] == ["taken"]


@pytest.mark.slow
def test_every_number_of_the_paper_from_the_command_itself(tmp_path):
    done = theory(tmp_path, AS_IT_STANDS, "out", "--seeds", "16")
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "out" / "theory.json").read_text(encoding="utf-8"))
    assert {file.name for file in (tmp_path / "out").iterdir()} == FIGURES | {"theory.json"}
    sequential = {
        schedule: [results["sequential"][schedule][horizon]["gap"] for horizon in ("100", "1000", "10000", "100000")]
        for schedule in ("const 0.1", "1/sqrt(T)")
    }
    assert sequential["const 0.1"] == pytest.approx([0.17007, 1.29152, 2.65115, 3.82921], abs=1e-5)
    assert sequential["1/sqrt(T)"] == pytest.approx([0.17007, 0.40933, 1.29129, 2.02072], abs=1e-5)
    assert results["alright_slope"]["10"] == pytest.approx(-0.46, abs=0.03)
    for rows in results["alright"].values():
        assert all(6.7 * row["mean_gap"] < row["bound"] for row in rows.values())
    limits = {lam: row["theta"] for lam, row in results["maxright_limit"].items()}
    assert limits == pytest.approx({"0.25": -2.04925, "0.5": -5.0, "0.75": -7.95075}, abs=2e-4)
    swapped = {method: row["ideal_distance"] for method, row in results["toy"]["swapped"].items()}
    assert swapped.pop("alright") == pytest.approx(0.267, abs=0.0016)  # of 20 seeds
    assert swapped == pytest.approx({"sequential": 4.967, "maxright": 0.2548, "mix": 0.2667}, abs=1e-3)
    assert results["toy"]["printed"]["sequential"]["ideal_distance"] == pytest.approx(0.0502, abs=1e-3)
    by_k = [row["ideal_distance"] for row in results["toy_k"].values()]
    assert by_k == pytest.approx([by_k[0]] * len(by_k), abs=1e-4)
    uneven = {method: row["ideal_distance"] for method, row in results["toy_lam"]["0.25"].items()}
    assert uneven["maxright"] == pytest.approx(0.421, abs=1e-3)
    assert uneven["alright"] == pytest.approx(0.381, abs=0.008)
    assert not math.isclose(results["about"]["seconds"], 0)
