"""What every `Scorer` and every `Retriever` must keep to, as test classes to inherit from.

::

    class TestMyScorer(ScorerContract):
        @pytest.fixture
        def scorer(self):
            return MyScorer(...)

        @pytest.fixture
        def lists(self):                    # at least three lists, one of them with three different items or more
            return [CandidateList("u1", history, ("a", "b", "c")), ...]

Values must agree to `tolerance` (1e-5, which fp32 keeps; loosen it for half precision). Imports no pytest, so that it
can be used with any runner that passes fixtures by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from recalign.data.catalog import ItemCatalog
from recalign.data.samples import CandidateList, HistoryEntry
from recalign.errors import ConfigError
from recalign.retrieval.base import Filters, Retriever
from recalign.scoring.base import Scorer, Scores


class ScorerContract:
    """Inherit, and define the fixtures `scorer` and `lists`."""

    tolerance: float = 1e-5

    def check_close(self, found: NDArray[np.float64], expected: NDArray[np.float64], what: str) -> None:
        """Compare two arrays of scores to `tolerance`, with a message that says which promise is broken."""
        assert found.shape == expected.shape, f"{what}: shape {found.shape}, expected {expected.shape}"
        worst = float(np.max(np.abs(found - expected), initial=0.0))
        assert worst <= self.tolerance, f"{what}: scores differ by {worst:.3g}, allowed {self.tolerance:.3g}"

    def check_equal_scores(self, found: Scores, expected: Scores, what: str) -> None:
        """Compare `Scores` list by list, label masses included."""
        assert len(found.values) == len(expected.values), f"{what}: {len(found.values)} arrays"
        for ours, theirs in zip(found.values, expected.values, strict=True):
            self.check_close(ours, theirs, what)
        assert (found.label_mass is None) == (expected.label_mass is None), f"{what}: label_mass comes and goes"
        if found.label_mass is not None and expected.label_mass is not None:
            for ours, theirs in zip(found.label_mass, expected.label_mass, strict=True):
                self.check_close(ours, theirs, f"{what} (label_mass)")

    def test_the_lists_are_enough_to_tell(self, lists: Sequence[CandidateList]) -> None:
        assert len(lists) >= 3, "give the contract at least three lists"
        assert max(len(set(asked.item_ids)) for asked in lists) >= 3, "one list must have three different items or more"
        assert len({len(asked.history) for asked in lists}) >= 2, "histories must differ in length"

    def test_it_is_a_scorer(self, scorer: Scorer) -> None:
        assert isinstance(scorer, Scorer), "name, log_odds and score(lists) are needed"
        assert isinstance(scorer.name, str), "name must be text"
        assert scorer.name, "name must not be empty"
        assert isinstance(scorer.log_odds, bool), "log_odds must be True or False"

    def test_shapes_and_finite_values(self, scorer: Scorer, lists: Sequence[CandidateList]) -> None:
        scores = scorer.score(lists)
        assert len(scores.values) == len(lists), f"{len(scores.values)} arrays for {len(lists)} lists"
        for values, asked in zip(scores.values, lists, strict=True):
            assert values.shape == (len(asked.item_ids),), f"shape {values.shape} for {len(asked.item_ids)} items"
            assert values.dtype == np.float64, f"dtype {values.dtype}, expected float64"
            assert np.isfinite(values).all(), f"values that are not finite: {values}"

    def test_label_mass_is_a_probability(self, scorer: Scorer, lists: Sequence[CandidateList]) -> None:
        scores = scorer.score(lists)
        if scores.label_mass is None:
            return
        assert len(scores.label_mass) == len(lists), "label_mass must be shaped like the values"
        for mass, values in zip(scores.label_mass, scores.values, strict=True):
            assert mass.shape == values.shape, "label_mass must be shaped like the values"
            assert ((mass >= 0) & (mass <= 1 + self.tolerance)).all(), f"label_mass outside [0, 1]: {mass}"

    def test_nothing_in_nothing_out(self, scorer: Scorer, lists: Sequence[CandidateList]) -> None:
        assert scorer.score([]).values == (), "no lists must give no arrays"
        nothing_asked = [replace(lists[0], item_ids=()), lists[1]]
        scores = scorer.score(nothing_asked).values
        assert [len(values) for values in scores] == [0, len(lists[1].item_ids)], "a list without items has no scores"

    def test_other_lists_do_not_matter(self, scorer: Scorer, lists: Sequence[CandidateList]) -> None:
        together = scorer.score(lists)
        for index, asked in enumerate(lists):
            alone = scorer.score([asked])
            self.check_close(alone.values[0], together.values[index], f"list {index} alone and among the others")

    def test_order_of_lists_does_not_matter(self, scorer: Scorer, lists: Sequence[CandidateList]) -> None:
        forward, backward = scorer.score(lists), scorer.score(list(reversed(lists)))
        for index, values in enumerate(forward.values):
            self.check_close(backward.values[len(lists) - 1 - index], values, f"list {index} in reversed order")

    def test_order_of_items_does_not_matter(self, scorer: Scorer, lists: Sequence[CandidateList]) -> None:
        forward = scorer.score(lists)
        backward = scorer.score([replace(asked, item_ids=asked.item_ids[::-1]) for asked in lists])
        for index, values in enumerate(forward.values):
            self.check_close(backward.values[index][::-1], values, f"items of list {index} in reversed order")

    def test_other_items_do_not_matter(self, scorer: Scorer, lists: Sequence[CandidateList]) -> None:
        together = scorer.score(lists)
        singles = [replace(asked, item_ids=(item,)) for asked in lists for item in asked.item_ids]
        self.check_close(scorer.score(singles).flat(), together.flat(), "items alone and within their list")

    def test_equal_items_get_equal_scores(self, scorer: Scorer, lists: Sequence[CandidateList]) -> None:
        twice = scorer.score([replace(asked, item_ids=asked.item_ids * 2) for asked in lists])
        for index, values in enumerate(twice.values):
            once = len(lists[index].item_ids)
            self.check_close(values[once:], values[:once], f"items of list {index} asked twice")

    def test_scoring_changes_nothing(self, scorer: Scorer, lists: Sequence[CandidateList]) -> None:
        before = scorer.score(lists)
        scorer.score(list(reversed(lists)))
        scorer.score(lists[:1])
        self.check_equal_scores(scorer.score(lists), before, "the same call again")


class RetrieverContract:
    """What every `Retriever` must keep to. Inherit, and define the fixtures `retriever`, `catalog` and `histories`.

    At least two histories are needed, one of them with three items that can be retrieved for it.
    """

    def test_the_histories_are_enough_to_tell(
        self, retriever: Retriever, histories: Sequence[Sequence[HistoryEntry]]
    ) -> None:
        assert len(histories) >= 2, "give the contract at least two histories"
        found = max(len(retriever.retrieve(history, 3).item_ids) for history in histories)
        assert found == 3, "one history must have three candidates or more"

    def test_it_is_a_retriever(self, retriever: Retriever) -> None:
        assert isinstance(retriever, Retriever), "name and retrieve(history, k, filters) are needed"
        assert isinstance(retriever.name, str), "name must be text"
        assert retriever.name, "name must not be empty"

    def test_items_of_the_catalogue_once_each_best_first(
        self, retriever: Retriever, catalog: ItemCatalog, histories: Sequence[Sequence[HistoryEntry]]
    ) -> None:
        for history in histories:
            found = retriever.retrieve(history, len(catalog))
            assert len(set(found.item_ids)) == len(found.item_ids), "an item comes back once"
            assert all(item in catalog for item in found.item_ids), "candidates must be items of the catalogue"
            assert found.scores.shape == (len(found.item_ids),), "one score per candidate"
            assert found.scores.dtype == np.float64, f"dtype {found.scores.dtype}, expected float64"
            assert np.isfinite(found.scores).all(), "scores must be finite"
            assert (np.diff(found.scores) <= 0).all(), "the best must come first"

    def test_k_says_only_where_the_list_ends(
        self, retriever: Retriever, catalog: ItemCatalog, histories: Sequence[Sequence[HistoryEntry]]
    ) -> None:
        for history in histories:
            all_of_them = retriever.retrieve(history, len(catalog)).item_ids
            for k in (1, 2, 3):
                assert retriever.retrieve(history, k).item_ids == all_of_them[:k], (
                    f"the best {k} are others than before"
                )

    def test_a_count_below_one_is_refused(
        self, retriever: Retriever, histories: Sequence[Sequence[HistoryEntry]]
    ) -> None:
        refused = False
        try:
            retriever.retrieve(histories[0], 0)
        except ConfigError:
            refused = True
        assert refused, "k = 0 must raise ConfigError"

    def test_what_is_filtered_never_comes_back(
        self, retriever: Retriever, catalog: ItemCatalog, histories: Sequence[Sequence[HistoryEntry]]
    ) -> None:
        for history in histories:
            found = retriever.retrieve(history, len(catalog)).item_ids
            assert not set(found) & {entry.item_id for entry in history}, "items of the history come back"
            without = frozenset(found[::2])
            rest = retriever.retrieve(history, len(catalog), Filters(without=without)).item_ids
            assert not set(rest) & without, "items that were asked to stay away come back"
            assert set(rest) == set(found) - without, "a filter takes others away, or brings some in"
            only = frozenset({("item_id", item) for item in found[:2]})
            if only:
                kept = retriever.retrieve(history, len(catalog), Filters(only=only)).item_ids
                assert set(kept) == set(found[:2]), "a filter on a column lets others through"

    def test_retrieving_changes_nothing(
        self, retriever: Retriever, histories: Sequence[Sequence[HistoryEntry]]
    ) -> None:
        first = [retriever.retrieve(history, 5) for history in histories]
        again = [retriever.retrieve(history, 5) for history in reversed(histories)]
        for before, after in zip(first, reversed(again), strict=True):
            assert before.item_ids == after.item_ids, "the same question has another answer"

    def test_an_item_that_is_gone_counts_for_nothing(
        self, retriever: Retriever, histories: Sequence[Sequence[HistoryEntry]]
    ) -> None:
        for history in histories:
            before = retriever.retrieve(history, 5).item_ids
            gone = HistoryEntry("no item of any catalogue", True)
            assert retriever.retrieve([gone, *history], 5).item_ids == before, "an unknown item changes the answer"
