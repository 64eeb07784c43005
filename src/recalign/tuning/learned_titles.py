"""What a model learns of titles beside its weights: how its training data liked each (`TitleKnowledge`)."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from recalign.data.knowledge import TitleKnowledge
from recalign.data.samples import SampleSet
from recalign.tuning.sources import user_sequences


def count_titles(parts: Sequence[tuple[SampleSet, pl.DataFrame]]) -> TitleKnowledge | None:
    """Count the training events of data sets, given with the rows of their train split that may be read.

    None where no users are known apart: those of published samples are not, so nobody could be left out.
    """
    counted = [(data, rows) for data, rows in parts if data.tells_users_apart]
    if not counted:
        return None
    users = ((data.catalog, user.user_id, user.entries) for data, rows in counted for user in user_sequences(rows))
    return TitleKnowledge.count(users)
