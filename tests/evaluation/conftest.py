from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def constructed():
    """The module beside this file: models and tokenizers made so that what they say is known."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parent)
        import constructed
    return constructed
