import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real rows: $XRIGHT_DATA, or shared/data beside the checkout."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("XRIGHT_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"the real rows are not at {folder}; set XRIGHT_DATA to the folder that holds them")
    return folder
