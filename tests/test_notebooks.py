import os
import sys
from pathlib import Path

import nbformat
import pytest
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpecManager
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / "notebooks").glob("*.ipynb"))
SECONDS_PER_CELL = 300  # several times what any takes, also on a busy machine
LEAVES = {  # what each leaves where it is run; the theory needs no files at all
    "01_theory": set(),
    "02_first_sweep": {"runs"},
    "03_reading_a_sweep": {"runs"},
    "04_bring_your_own": {"runs", "mine", "stretches.py"},
    "05_rules": set(),
    "06_real_model": set(),
}
each_notebook = pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)


def read(file):
    return nbformat.read(file, as_version=nbformat.NO_CONVERT)


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Of the stages; the notebooks share it, as they do on a user's machine."""
    return tmp_path_factory.mktemp("cache")


def test_there_are_notebooks():
    assert [file.stem for file in NOTEBOOKS] == list(LEAVES)


@each_notebook
def test_it_runs_and_draws(file, tmp_path, cache, monkeypatch):
    for variable in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / "jupyter"))  # nobody's settings, and none left behind
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))  # for `!python`
    monkeypatch.setenv("XRIGHT_CACHE", str(cache))
    (work := tmp_path / "work").mkdir()  # elsewhere than the checkout: a notebook needs the package only
    installed_nowhere = KernelSpecManager(kernel_dirs=[])  # leaves ipykernel's own, which is this interpreter
    kernel = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=installed_nowhere)
    assert kernel.kernel_spec.argv[0] == sys.executable

    notebook = read(file)
    client = NotebookClient(notebook, km=kernel, timeout=SECONDS_PER_CELL, resources={"metadata": {"path": str(work)}})
    client.execute(cleanup_kc=True)  # CellExecutionError, with the cell and its traceback, where one fails

    outputs = [output for cell in code(notebook) for output in cell.outputs]
    shown = [output.data for output in outputs if "data" in output]
    figures = ["image/png" in data for data in shown if data.get("text/plain", "").startswith("<Figure")]
    assert figures
    assert all(figures)  # and none of them as words
    assert not any("Traceback" in output.get("text", "") for output in outputs)  # of a command, which fails alone
    assert {path.name for path in work.iterdir()} - {"__pycache__"} == LEAVES[file.stem]


@each_notebook
def test_it_is_stored_without_outputs(file):
    notebook = read(file)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) >= (4, 5)  # cells have ids, so that diffs are of cells
    assert notebook.metadata.kernelspec.name == "python3"
    assert notebook.metadata.keys() <= {"kernelspec", "language_info"}
    assert notebook.metadata.language_info == {"name": "python"}
    assert code(notebook)
    for cell in code(notebook):
        assert cell.outputs == []
        assert cell.execution_count is None
    assert all(cell.metadata == {} for cell in notebook.cells)
