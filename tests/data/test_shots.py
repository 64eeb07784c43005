"""K-shot samples: seeded, nested, bounded."""

from __future__ import annotations

import pytest

from recalign.data.samples import Sample
from recalign.data.shots import choose_shots
from recalign.errors import DataError


def test_k_shot_is_seeded_nested_and_bounded() -> None:
    samples = [Sample(f"s{index}", "u", "i", index % 2, ()) for index in range(40)]
    small, large = choose_shots(samples, 8, 3), choose_shots(samples, 16, 3)
    assert choose_shots(samples, 8, 3) == small
    assert choose_shots(samples, 8, 4) != small
    assert set(small) <= set(large)
    assert large == [sample for sample in samples if sample in large], "in the order of the data"
    assert choose_shots(samples, None, 3) == samples
    with pytest.raises(DataError, match="K = 41"):
        choose_shots(samples, 41, 0)
