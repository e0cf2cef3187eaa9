"Shared by all tests: where real videos lie, if there are any, and small files made on the spot."
import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: spinning threads would starve the loader's workers
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run side by side, one to a core; and what they start computes in the same order, so weights are equal to the bit
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DATA = Path(os.environ.get("VIDCLS_TEST_DATA", ROOT.parent / "shared" / "data"))  # real videos, used where they are there


def real(name: str) -> Path:
    "A folder of real videos; the test is skipped, and says so, where it is not there."
    folder = DATA / name
    if not folder.is_dir(): pytest.skip(f"no real videos at {folder}; set VIDCLS_TEST_DATA to use yours")
    return folder
