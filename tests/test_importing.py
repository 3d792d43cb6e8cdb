"""What a command imports, and what one whose run is finished does without."""

import gc
import subprocess
import sys

from xright.machine.importing import importing


def test_collections_stop_for_the_imports_alone():
    with importing():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_scipy_signal_is_itself_after_lightning_was_imported():
    code = (
        "import sys\n"
        "from xright.machine.importing import importing\n"
        "with importing(): import lightning\n"
        "assert 'scipy.stats' not in sys.modules\n"
        "import scipy\n"
        "print(len(scipy.signal.convolve([1, 2], [3, 4])))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "3\n"
