"""The K samples of a K-shot run, the same for every model that is given the same seed."""

from __future__ import annotations

from collections.abc import Sequence

from recalign.data.samples import Sample
from recalign.errors import DataError
from recalign.seeding import generator


def choose_shots(samples: Sequence[Sample], shots: int | None, seed: int) -> list[Sample]:
    """The K samples of a K-shot run, by seed; in the order of the data. A larger K contains a smaller one.

    Raises:
        DataError: There are fewer than K samples.
    """
    if shots is None:
        return list(samples)
    if shots > len(samples):
        raise DataError("K-shot training", found=f"{len(samples)} training samples", expected=f"at least K = {shots}")
    chosen = generator(seed, "k-shot").permutation(len(samples))[:shots]
    return [samples[index] for index in sorted(chosen)]
