import sys
from pathlib import Path

import nbformat
import pytest
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpecManager
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / "notebooks").glob("*.ipynb"))
SECONDS_PER_CELL = 300  # several times what any takes, also on a busy machine
each_notebook = pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)


def read(file):
    return nbformat.read(file, as_version=nbformat.NO_CONVERT)


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_there_are_notebooks():
    assert NOTEBOOKS


@each_notebook
def test_it_runs_and_draws(file, tmp_path, monkeypatch):
    for variable in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / "jupyter"))  # nobody's settings, and none left behind
    (work := tmp_path / "work").mkdir()  # elsewhere than the checkout: a notebook needs the package only
    installed_nowhere = KernelSpecManager(kernel_dirs=[])  # leaves ipykernel's own, which is this interpreter
    kernel = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=installed_nowhere)
    assert kernel.kernel_spec.argv[0] == sys.executable

    notebook = read(file)
    client = NotebookClient(notebook, km=kernel, timeout=SECONDS_PER_CELL, resources={"metadata": {"path": str(work)}})
    client.execute(cleanup_kc=True)  # CellExecutionError, with the cell and its traceback, where one fails

    outputs = [output for cell in code(notebook) for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not list(work.iterdir())


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
