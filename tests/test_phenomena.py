"""The embedded comparison at full size, one seed: what the demo is there to show. Minutes: `make test-slow`."""

import subprocess
import sys

import pytest

from xright.analysis.read.runs import read_runs

pytestmark = pytest.mark.slow


def test_sequential_training_forgets_and_joint_training_does_not(tmp_path, monkeypatch):
    monkeypatch.setenv("XRIGHT_CACHE", str(tmp_path / "cache"))
    command = [sys.executable, "-m", "xright.run", "logger=csv"]
    for sweep in (["strategy=sequential,mix,maxright", "lam=0.5"], ["strategy=alright", "lam=0.5,0.75"]):
        subprocess.run([*command, *sweep, "-m"], cwd=tmp_path, check=True)
    runs = read_runs([tmp_path / "runs"]).table.set_index("label")
    sequential = runs.loc["Sequential DPO→SFT (3,3)"]
    joint = runs.drop("Sequential DPO→SFT (3,3)")
    # three seeds gave 2.41 to 2.67 against at most 0.03 for the joint methods at λ ≥ 0.5 (experiments/embedded)
    assert sequential["gap_dpo"] > 1.5
    assert joint["gap_dpo"].max() < 0.2
    assert sequential["behaviour.refuses_harmful"] < 0.2
    assert joint["behaviour.refuses_harmful"].min() > 0.8
    assert runs.loc["ALRIGHT λ=0.75", "f_dpo"] < runs.loc["ALRIGHT λ=0.5", "f_dpo"]
    assert runs.loc["ALRIGHT λ=0.75", "f_sft"] > runs.loc["ALRIGHT λ=0.5", "f_sft"]
    assert runs.loc["MAXRIGHT λ=0.5", "ideal_distance"] < 0.2
