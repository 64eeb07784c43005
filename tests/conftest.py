"""Fixtures shared by all tests."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest

# Models this small only wait for each other in several threads; processes that tests start must compute alike.
os.environ["OMP_NUM_THREADS"] = "1"


def pytest_collection_finish() -> None:
    """Take what imports made out of the garbage collector's rounds: each took half a second to look at it again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the real rating files (RECALIGN_DATA); the test is skipped where it is unset."""
    value = os.environ.get("RECALIGN_DATA")
    if not value:
        pytest.skip("RECALIGN_DATA is unset: the real rating files are not at hand")
    return Path(value)
