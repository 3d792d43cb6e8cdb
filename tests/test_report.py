"""The command as people type it, on run folders that hold no more than a result and a configuration."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from xright.report import main


def report(cwd: Path, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "xright.report", *arguments]
    environment = {"PYTHONPATH": str(Path(__file__).parents[1]), "PATH": "", "HOME": str(cwd)}
    return subprocess.run(
        command,
        cwd=cwd,
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=environment | {"PYTHONUTF8": "1"},
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for label, strategy, distance in (("MAXRIGHT λ=0.5", "maxright", 0.09), ("Mix [red] λ=0.5", "mix", 0.08)):
        cell = tmp_path / "runs" / "demo" / strategy
        cell.mkdir(parents=True)
        (cell / "config.yaml").write_text("seed: 0\n")
        result = {"label": label, "strategy": strategy, "lam": 0.5, "seed": 0, "f_dpo": 0.4, "f_sft": 0.1}
        (cell / "result.json").write_text(json.dumps(result | {"ideal_distance": distance}))
    return tmp_path


def test_table_claims_and_as_the_last_line_the_page(folder):
    done = report(folder, "runs")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[-1] == "report/report.html"
    assert (folder / "report" / "report.html").is_file()
    rows = [line for line in lines if "λ=0.5" in line and "│" in line]
    assert "Mix [red] λ=0.5" in rows[0]  # the order of the strategies; brackets are text, not colour
    assert "MAXRIGHT" in rows[1]
    assert any(line.startswith("does not hold: MAXRIGHT ends closer to the ideal point than Mix") for line in lines)


def test_out_names_the_folder(folder):
    done = report(folder, "runs/demo/mix", "--out", "elsewhere/page")
    assert done.stdout.splitlines()[-1] == "elsewhere/page/report.html"
    assert (folder / "elsewhere" / "page" / "figure.png").is_file()


def test_bad_input_is_one_sentence_and_exit_code_2(folder, monkeypatch, capsys):
    done = report(folder, "nowhere")
    (folder / "empty").mkdir()
    monkeypatch.chdir(folder)
    code, told = main(["empty"]), capsys.readouterr()
    said = {
        "There is no folder nowhere;": (done.returncode, done.stdout, done.stderr),
        "No finished run": (code, *told),
    }
    for sentence, (code, out, err) in said.items():
        assert (code, out) == (2, "")
        assert sentence in err
        assert len(err.splitlines()) == 1


def test_several_seeds_are_compared_in_the_terminal(folder):
    for strategy, distances in (("mix", (0.2, 0.3)), ("maxright", (0.1, 0.2))):
        for seed, distance in enumerate(distances, start=1):
            cell = folder / "runs" / "seeds" / f"{strategy}{seed}"
            cell.mkdir(parents=True)
            (cell / "config.yaml").write_text(f"seed: {seed}\n")
            result = {"label": f"{strategy} λ=0.5", "strategy": strategy, "lam": 0.5, "seed": seed}
            (cell / "result.json").write_text(
                json.dumps(result | {"f_dpo": 0.4, "f_sft": distance, "ideal_distance": distance})
            )
    done = report(folder, "runs/seeds")
    assert (done.returncode, done.stderr) == (0, "")
    (row,) = [line for line in done.stdout.splitlines() if "MAXRIGHT ends closer than Mix" in line]
    assert "holds" in row
    assert "all" in row
    assert "−0.100 ±" in row  # both differences are −.1: the interval is a point
