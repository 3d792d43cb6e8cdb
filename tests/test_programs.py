"""Programs of experiments/ that take nothing say so: a --help or a typing error never starts hours of work."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

EXPERIMENTS = Path(__file__).resolve().parents[1] / "experiments"
STARTED = [file for file in sorted(EXPERIMENTS.rglob("*.py")) if '__name__ == "__main__"' in file.read_text("utf-8")]
PARTS = {"start.py", "generate.py", "forks.py", "ddp.py", "long_run.py", "publish.py"}  # started by other programs


def named(file):
    return file.relative_to(EXPERIMENTS).as_posix()


@pytest.mark.parametrize("file", [file for file in STARTED if file.name not in PARTS], ids=named)
def test_a_program_reads_its_command_line(file):
    names = {node.id for node in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(node, ast.Name)}
    attributes = {node.attr for node in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(node, ast.Attribute)}
    assert {"no_options", "ArgumentParser", "argv"} & (names | attributes)


@pytest.mark.parametrize(("option", "code"), [("--help", 0), ("--seeds=3", 2)])
def test_a_program_without_options_starts_nothing_for_any(option, code, tmp_path):
    program = EXPERIMENTS / "data_scale" / "run.py"
    done = subprocess.run([sys.executable, program, option], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == code
    assert ("Data preparation at scale" in done.stdout) == (code == 0)
    assert ("unrecognized arguments: --seeds=3" in done.stderr) == (code == 2)
