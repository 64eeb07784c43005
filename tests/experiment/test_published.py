"""The papers' numbers, against some that were read off the papers apart from the module."""

from __future__ import annotations

import pytest

from recalign.baselines.networks import BASELINES
from recalign.experiment.published import SHOTS, published


@pytest.mark.parametrize(
    ("paper", "panel", "model", "shots", "expected"),
    [
        ("tallrec-table2", "movie", "TALLRec", 16, {"auc": 0.6724}),
        ("tallrec-table2", "movie", "TALLRec", 256, {"auc": 0.7198}),
        ("tallrec-table2", "book", "TALLRec", 64, {"auc": 0.6039}),
        ("tallrec-table2", "movie", "GRU4Rec", 16, {"auc": 0.4907}),
        ("tallrec-table2", "movie", "Caser", 256, {"auc": 0.5420}),
        ("tlrec-table1", "movie", "TLRec", 16, {"auc": 0.7262, "ndcg": 0.6038}),
        ("tlrec-table1", "book", "TLRec", 256, {"auc": 0.6592, "ndcg": 0.5997}),
    ],
)
def test_spot_checks(paper: str, panel: str, model: str, shots: int, expected: dict[str, float]) -> None:
    assert published(paper, panel, model, shots) == expected


@pytest.mark.parametrize(
    ("paper", "panel", "model", "shots"),
    [
        ("", "movie", "TALLRec", 16),
        ("tallrec-fig3", "movie", "TALLRec", 16),
        ("tallrec-table2", "movie-loo", "TALLRec", 16),
        ("tallrec-table2", "movie", "TLRec", 16),
        ("tallrec-table2", "movie", "TALLRec", 32),
        ("tallrec-table2", "movie", "TALLRec", None),
        ("tlrec-table1", "movie", "GRU4Rec", 16),
    ],
)
def test_a_cell_that_no_table_has_is_empty(paper: str, panel: str, model: str, shots: int | None) -> None:
    assert published(paper, panel, model, shots) == {}


def test_both_papers_print_the_same_numbers_of_what_both_show() -> None:
    """TLRec took TALLRec's AUCs and those of its baselines over."""
    other = set()
    for panel in ("movie", "book"):
        for model in (*(plugin.title for _, plugin in BASELINES.all()), "TALLRec"):
            for shots in SHOTS:
                one, two = (published(paper, panel, model, shots) for paper in ("tallrec-table2", "tlrec-table1"))
                assert 0.45 < one["auc"] < 0.75
                if two and two["auc"] != one["auc"]:
                    other.add((panel, model, shots))
    assert other == set()
