"""Trained baselines keep the promises of a scorer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from recalign.baselines.artifact import load_baseline, train_baseline
from recalign.baselines.config import BaselineConfig
from recalign.baselines.network import SequenceScorer
from recalign.baselines.networks import BASELINES
from recalign.data.samples import CandidateList, HistoryEntry, SampleSet
from recalign.errors import DataError
from recalign.testing.contracts import ScorerContract

SMALL = {"embedding": 8, "feedback": 4, "width": 16, "layers": 2, "max_steps": 20, "weight_decays": (1e-5,)}


@pytest.fixture(scope="module", params=BASELINES.names())
def scorer(
    request: pytest.FixtureRequest, data: SampleSet, encoder: Path, tmp_path_factory: pytest.TempPathFactory
) -> SequenceScorer:
    config = BaselineConfig.model_validate({"model": request.param, "item_scale": 0.5, **SMALL})
    output = tmp_path_factory.mktemp("scorer") / request.param
    train_baseline(data, config, output, text_encoder=str(encoder) if config.text else None)
    return load_baseline(output, data)


class TestSequenceScorer(ScorerContract):
    @pytest.fixture
    def lists(self, data: SampleSet) -> list[CandidateList]:
        histories = [sample.history for sample in data.samples("test")[:6]]
        long = tuple(HistoryEntry(f"i{n % 20}", n % 3 == 0) for n in range(25))
        items = [("i1", "i19", "i7"), ("i2",), ("i3", "i4"), ("i19",), ("i5", "i6", "i1", "i0"), ("i8",)]
        lists = [CandidateList(f"u{n}", history, items[n]) for n, history in enumerate(histories)]
        return [*lists, CandidateList("empty", (), ("i1", "i19")), CandidateList("long", long, ("i2", "i3"))]

    def test_candidates_and_histories_matter(self, scorer: SequenceScorer, lists: Sequence[CandidateList]) -> None:
        scores = scorer.score(lists).values
        assert len(set(scores[0].tolist())) == 3
        alike = [CandidateList("u", each.history, ("i1",)) for each in lists]
        assert len(set(scorer.score(alike).flat().tolist())) > 4

    def test_only_the_newest_entries_count(self, scorer: SequenceScorer, lists: Sequence[CandidateList]) -> None:
        long = lists[-1]
        cut = CandidateList("u", long.history[-10:], long.item_ids)
        found, expected = (scorer.score([asked]).values[0] for asked in (cut, long))
        assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()

    def test_an_item_outside_of_the_catalogue_is_an_error(self, scorer: SequenceScorer) -> None:
        with pytest.raises(DataError, match="'nowhere' is not in the catalogue"):
            scorer.score([CandidateList("u", (), ("nowhere",))])

    def test_many_lists_and_items_come_in_parts(
        self, scorer: SequenceScorer, lists: Sequence[CandidateList], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        expected = scorer.score(lists)
        monkeypatch.setattr("recalign.baselines.network._LISTS", 3)
        monkeypatch.setattr("recalign.baselines.network._ITEMS", 2)
        self.check_equal_scores(scorer.score(lists), expected, "in parts")
