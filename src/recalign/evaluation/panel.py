"""A panel from rows with scores: metrics, verdicts, comparisons. Where the scores come from is not known here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import polars as pl

from recalign.data.samples import SampleSet
from recalign.errors import DataError
from recalign.evaluation.comparisons import compare, judge
from recalign.evaluation.document import Learned, Panel, PanelFacts
from recalign.evaluation.rows import ScoredRow, TestSettings, measure_row


class SampleCounts(TypedDict):
    """Number of samples and users, and the share of liked samples in [0, 1]."""

    n: int
    n_users: int
    positive_share: float


def sample_counts(frame: pl.DataFrame) -> SampleCounts:
    """Counts of samples with `user_id` and `label`.

    Raises:
        DataError: There are none.
    """
    if frame.is_empty():
        raise DataError("samples to evaluate", found="none", expected="at least one")
    share = float(frame["label"].cast(pl.Float64).to_numpy().mean())
    return {"n": frame.height, "n_users": frame["user_id"].n_unique(), "positive_share": share}


def facts_of(data: SampleSet, split: str, frame: pl.DataFrame, learned: Learned) -> PanelFacts:
    """What a panel of one data set is about: the samples in `frame`, and what its priors learned from."""
    name = data.path.name
    fingerprints = (data.fingerprint,)
    return PanelFacts(
        name=name,
        title=name,
        data=name,
        split=split,
        fingerprints=fingerprints,
        learned=learned,
        **sample_counts(frame),
    )


def build_panel(
    facts: PanelFacts, rows: Sequence[ScoredRow], settings: TestSettings, pairs: Sequence[tuple[str, str]] = ()
) -> Panel:
    """Measure all rows, hold them against the best prior, and compare them in pairs.

    Args:
        facts: What the panel is about.
        rows: Rows without metrics, and their scores.
        settings: How they are tested.
        pairs: Names of models to compare; controlled rows are compared with their plain ones in any case.

    Raises:
        DataError: Rows were not scored on the same samples or candidate lists, or scores are not finite.
    """
    lists = {scored.scores.lists for scored in rows if scored.scores.lists}
    if len(lists) > 1:
        found = f"{len(lists)} sets of candidate lists"
        raise DataError("rankings to compare", found=found, expected="one that all models rank")
    measured = [ScoredRow(measure_row(scored.row, scored.scores, settings), scored.scores) for scored in rows]
    judged = judge(measured, settings)
    comparisons = compare(judged, pairs, settings)
    return Panel(**dict(facts), rows=tuple(scored.row for scored in judged), comparisons=comparisons)
