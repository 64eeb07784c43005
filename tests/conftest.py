"""Fixtures shared by all tests."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import settings
from numpy.typing import NDArray

if TYPE_CHECKING:
    from recalign.prompting.packing import Forest

# Models this small only wait for each other in several threads; processes that tests start must compute alike.
os.environ["OMP_NUM_THREADS"] = "1"

# Properties meet the same examples in every run: a rare failure would stop a change that has no part in it.
settings.register_profile("seeded", derandomize=True, deadline=None)
settings.load_profile("seeded")


def pytest_collection_finish() -> None:
    """Take what imports made out of the garbage collector's rounds: each took half a second to look at it again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _short_probe() -> Iterator[None]:
    """How long tuning takes is tried out for two steps instead of a second: hundreds of tests tune something."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("recalign.experiment.tune_estimate._PROBE_SECONDS", 0.0)
        yield


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the real rating files (RECALIGN_DATA); the test is skipped where it is unset."""
    value = os.environ.get("RECALIGN_DATA")
    if not value:
        pytest.skip("RECALIGN_DATA is unset: the real rating files are not at hand")
    return Path(value)


@pytest.fixture(scope="session")
def visible() -> Callable[[Forest], NDArray[np.bool_]]:
    """The attention mask of packed prompts, shape (T, T): True where the query (row) sees the key (column)."""

    def mask_of(forest: Forest) -> NDArray[np.bool_]:
        mask = np.zeros((len(forest.ids), len(forest.ids)), dtype=np.bool_)
        for group in forest.groups:
            for start, stop in group.prefix:
                mask[group.start : group.stop, start:stop] = True
            place = group.start
            for length in group.lengths:
                mask[place : place + length, place : place + length] = np.tri(length, dtype=np.bool_)
                place += length
        return mask

    return mask_of
