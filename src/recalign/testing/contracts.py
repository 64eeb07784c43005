"""What every `Scorer` must keep to, as a test class to inherit from.

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

from recalign.data.samples import CandidateList
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
