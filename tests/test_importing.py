"""What a command imports, and what one whose run is finished does without."""

import gc

from xright.machine.importing import importing


def test_collections_stop_for_the_imports_alone():
    with importing():
        assert not gc.isenabled()
    assert gc.isenabled()
