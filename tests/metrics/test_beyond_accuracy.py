from __future__ import annotations

import numpy as np
import pytest

from recalign.errors import DataError
from recalign.metrics.beyond_accuracy import beyond_accuracy


def places(*items: int) -> np.ndarray:
    return np.array(items, dtype=np.int64)


def test_by_hand() -> None:
    met = np.array([7.0, 3.0, 1.0, 0.0])
    alike = [np.array([[1, 0.5], [0.5, 1]], dtype=np.float32), np.array([[1]], dtype=np.float32)]
    found = beyond_accuracy([places(0, 1), places(0)], [places(1, 2), places()], met, 7, alike)
    assert found.coverage == pytest.approx(2 / 4)
    assert found.novelty == pytest.approx((0 + 1 + 0) / 3)  # shares 8/8, 4/8 and 8/8
    assert found.diversity == pytest.approx(0.5)
    assert found.popularity_bias == pytest.approx(((7 + 3) / 2 + 7) / 2 / 2)


def test_what_is_not_defined_is_none() -> None:
    found = beyond_accuracy([places(1)], [places()], np.zeros(2), 0, [np.eye(1, dtype=np.float32)])
    assert (found.diversity, found.popularity_bias) == (None, None)
    assert (found.coverage, found.novelty) == (0.5, 0.0)


def test_no_list_at_all() -> None:
    with pytest.raises(DataError, match="no item in them"):
        beyond_accuracy([places()], [places()], np.zeros(2), 0, [])
