"""Likes and dislikes in, ranked items out, each with a faithful explanation: for the CLI, for Python and for a server.

::

    recommender = recalign.Recommender.load("runs/movies")
    recommender.recommend(likes=["Heat (1995)"], dislikes=["Batman & Robin (1997)"], k=10)

Any `Scorer` will do: nothing here knows about prompts or weights. The user need not be one the model has seen. An
explanation is no prose: it is the change of an item's score when one entry of the history is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from recalign.data.catalog import ItemCatalog
from recalign.data.matching import Match, TitleIndex
from recalign.data.samples import CandidateList, HistoryEntry, SampleSet
from recalign.errors import ConfigError, DataError, ModelError
from recalign.models.config import Precision
from recalign.recommendation import UNSEEN_USER as UNSEEN_USER
from recalign.recommendation import Influence as Influence
from recalign.recommendation import Recommendation as Recommendation
from recalign.recommendation import leave_one_out, probability
from recalign.retrieval.diversity import diverse
from recalign.retrieval.index import Index
from recalign.retrieval.selection import Selection as Selection
from recalign.retrieval.stock import Stock
from recalign.scoring.base import Scorer, watched
from recalign.terminal import printable

if TYPE_CHECKING:
    from recalign.scoring.pairs import GeneratedPairs
    from recalign.tuning.model_artifact import SharedBackbones

Progress = Callable[[int, int], None]  # called with (items scored, items to score) now and then


class Recommender:
    """Ranks a catalogue for a history with any `Scorer`; keeps no state between calls."""

    def __init__(
        self, scorer: Scorer, catalog: ItemCatalog, *, index: Index | None = None, batch_items: int = 512
    ) -> None:
        """Combine a scorer and the catalogue that it can score.

        Args:
            scorer: Scores items for a history.
            catalog: The items to recommend from; also where titles are looked up.
            index: Chooses the items of this catalogue that are scored; without one all are.
            batch_items: How many items go into one call of the scorer. A smaller number only needs less memory.

        Raises:
            ConfigError: `batch_items` is below 1.
        """
        if batch_items < 1:
            raise ConfigError("batch_items", found=str(batch_items), expected="at least 1")
        self.scorer, self.catalog, self.index, self._batch_items = scorer, catalog, index, batch_items
        self._stock = Stock(catalog) if index is None else index.stock

    @classmethod
    def load(
        cls,
        run: str | Path,
        data: str | Path | None = None,
        *,
        index: str | Path | None = None,
        backbone: str | None = None,
        device: str = "auto",
        precision: Precision = "auto",
        shared: SharedBackbones | None = None,
        endpoint: str | None = None,
    ) -> Recommender:
        """Load a tuned model with its catalogue.

        Args:
            run: A model directory (the output of `recalign tune`, or one of the models of an experiment's run).
            data: A prepared data directory (`recalign prepare`) whose catalogue replaces the model's: new items.
            index: What `recalign index` wrote for the same catalogue.
            backbone: Path or hub id of the backbone, where it is no longer where the model says.
            device: "auto", "cpu" or "cuda".
            precision: The arithmetic to score in: "auto", "fp32", "bf16" or "int8" (`recalign.models.precision`).
            shared: Backbones that several models share in memory; by default this one has its own.
            endpoint: Where the model is served, such as ``vllm:http://127.0.0.1:8000``; by default it is loaded here.

        Raises:
            ArtifactError: A directory is missing, altered or of another kind, or the index of another catalogue.
            ConfigError: `run` is the run of an experiment with several models, or `endpoint` is none.
            ModelError: The backbone or the adapter cannot be loaded, or `precision` is not for it or its device.
        """
        from recalign.tuning.model_artifact import load_scorer, model_directory  # with torch; a prior does without

        directory = model_directory(Path(run))
        samples = None if data is None else SampleSet.load(Path(data))
        scorer = load_scorer(
            directory, samples, backbone=backbone, device=device, precision=precision, shared=shared, endpoint=endpoint
        )
        retriever = None if index is None else Index.load(Path(index))
        if retriever is not None:
            retriever.check(scorer.catalog, Path(str(index)), str(data or run))
        return cls(scorer, scorer.catalog, index=retriever)

    def match(self, title: str) -> Match:
        """Find the item that `title` (or an id) means; see `recalign.data.matching` for how forgiving this is.

        Raises:
            DataError: Nothing matches, or several items do.
        """
        return self.titles.match(title)

    @cached_property
    def titles(self) -> TitleIndex:
        """Where titles are looked up; made when it is first asked for."""
        return TitleIndex(self.catalog)

    def history(self, likes: Iterable[str] = (), dislikes: Iterable[str] = ()) -> tuple[HistoryEntry, ...]:
        """Turn titles or ids into a history (oldest first), for `rank`.

        Likes and dislikes are spread evenly over the history, each in the order given, so that a model with a short
        memory loses some of both. An item given twice counts once.

        Raises:
            DataError: A title is not found or ambiguous, an item is liked and disliked, or nothing is given at all.
        """
        liked = list(dict.fromkeys(self.match(title).item_id for title in likes))
        disliked = list(dict.fromkeys(self.match(title).item_id for title in dislikes))
        for item_id in liked:
            if item_id in disliked:
                title = printable(self.catalog.title(item_id))
                raise DataError(f'"{title}" (id {printable(item_id)})', found="it liked and disliked", expected="one")
        if not liked and not disliked:
            raise DataError("a recommendation", found="no likes and no dislikes", expected="at least one title")
        placed = [
            ((place + 0.5) / len(items), HistoryEntry(item_id, items is liked))
            for items in (liked, disliked)
            for place, item_id in enumerate(items)
        ]
        return tuple(entry for _, entry in sorted(placed, key=lambda pair: pair[0]))

    def recommend(
        self,
        likes: Iterable[str] = (),
        dislikes: Iterable[str] = (),
        k: int = 10,
        *,
        explain: bool = False,
        selection: Selection = Selection(),
        progress: Progress | None = None,
    ) -> list[Recommendation]:
        """Return the `k` best items for someone with these likes and dislikes (titles or ids), the best first.

        Raises what `history` and `rank` raise.
        """
        history = self.history(likes, dislikes)
        ranked = self.rank(history, k, selection=selection, progress=progress)
        return self.explain(history, ranked) if explain else ranked

    def rank(
        self,
        history: Sequence[HistoryEntry],
        k: int = 10,
        *,
        candidates: Iterable[str] | None = None,
        selection: Selection = Selection(),
        progress: Progress | None = None,
    ) -> list[Recommendation]:
        """Rank for a history (oldest first) `candidates` (ids), what the index finds, or else the whole catalogue.

        Items of the history are not recommended (unless `selection` wants them), nor others with the very same text.
        Equal scores are ordered by item id. Fewer than `k` are returned where there are no more.

        Raises:
            ConfigError: `k` is below 1, or diversity is asked for without an index.
            DataError: A history entry or candidate is not in the catalogue; or nothing is left to recommend.
            ModelError: The scorer gave a score that is not finite.
        """
        if k < 1:
            raise ConfigError("number of recommendations", found=str(k), expected="at least 1")
        if selection.diversity > 0 and self.index is None:
            raise ConfigError("diversity", found="no index", hint="Make one (recalign index) and name it with --index.")
        items = self.candidates(history, candidates, selection)
        return self.ranked(items, self._score_items(tuple(history), items, progress), k, selection.diversity)

    def ranked(
        self, items: Sequence[str], scores: Sequence[float] | NDArray[np.float64], k: int, diversity: float = 0.0
    ) -> list[Recommendation]:
        """The best `k` of `items`, whose scores are given: the second half of `rank`."""
        order = sorted(range(len(items)), key=lambda place: (-scores[place], items[place]))
        if diversity > 0 and self.index is not None:
            alike = self.index.similarity([items[place] for place in order])
            order = [order[place] for place in diverse(np.asarray(scores)[order], alike, k, diversity)]
        return [
            Recommendation(
                rank=rank,
                item_id=items[place],
                title=self.catalog.title(items[place]),
                score=float(scores[place]),
                probability=probability(float(scores[place])) if self.scorer.log_odds else None,
            )
            for rank, place in enumerate(order[:k], start=1)
        ]

    def explain(
        self, history: Sequence[HistoryEntry], ranked: Sequence[Recommendation], *, top: int | None = None
    ) -> list[Recommendation]:
        """Return `ranked` with the `top` strongest influences of each item (all by default), by leave-one-out.

        Each entry of `history`, which must be the one that `ranked` was made for, is left out once and the items are
        scored again: len(history) × len(ranked) scores.

        Raises:
            ModelError: The scorer gave a score that is not finite.
        """
        if not ranked:
            return []
        lists = leave_one_out(history, [item.item_id for item in ranked])
        per_call = max(1, self._batch_items // len(ranked))
        without: list[NDArray[np.float64]] = []
        for start in range(0, len(lists), per_call):
            part = lists[start : start + per_call]
            without.extend(self.checked(part, self.scorer.score(part).values))
        return self.explained(history, ranked, without, top=top)

    def explained(
        self,
        history: Sequence[HistoryEntry],
        ranked: Sequence[Recommendation],
        without: Sequence[NDArray[np.float64]],
        *,
        top: int | None = None,
    ) -> list[Recommendation]:
        """`ranked` with influences, from the scores of the lists of `leave_one_out`: the second half of `explain`."""
        scores = np.array(without).reshape(len(history), len(ranked)).T.tolist()  # by item, then by entry
        return [
            replace(item, influences=self._influences(history, item, of_item)[:top])
            for item, of_item in zip(ranked, scores, strict=True)
        ]

    def generate_pairs(self, history: Sequence[HistoryEntry], ranked: Sequence[Recommendation]) -> GeneratedPairs:
        """Let the model write pairs "watched → recommended" (TLRec), the best 19 of `ranked` being the candidates.

        They are what the model says, no measurement: that is `explain`. Raises what
        `recalign.scoring.pairs.generate_pairs` raises.
        """
        from recalign.scoring.pairs import generate_pairs  # loads torch

        return generate_pairs(self.scorer, self.catalog, history, [item.item_id for item in ranked])

    def _influences(
        self, history: Sequence[HistoryEntry], item: Recommendation, without: Sequence[float]
    ) -> tuple[Influence, ...]:
        influences = [
            Influence(entry.item_id, self.catalog.title(entry.item_id), entry.liked, item.score - score, score)
            for entry, score in zip(history, without, strict=True)
        ]
        return tuple(sorted(influences, key=lambda influence: -abs(influence.effect)))

    def candidates(
        self,
        history: Sequence[HistoryEntry],
        candidates: Iterable[str] | None = None,
        selection: Selection = Selection(),
    ) -> list[str]:
        """The ids that `rank` scores. Raises DataError as `rank`."""
        return selection.items(self._stock, self.index, history, candidates)

    def _score_items(
        self, history: tuple[HistoryEntry, ...], items: Sequence[str], progress: Progress | None
    ) -> NDArray[np.float64]:
        scores: list[NDArray[np.float64]] = []
        for start in range(0, len(items), self._batch_items):
            batch = tuple(items[start : start + self._batch_items])

            def tell(done: int, _total: int, before: int = start) -> None:
                if progress is not None:
                    progress(before + done, len(items))

            with watched(self.scorer, tell):
                asked = [CandidateList(UNSEEN_USER, history, batch)]
                scores.extend(self.checked(asked, self.scorer.score(asked).values))
            tell(len(batch), len(batch))
        return np.concatenate(scores)

    def checked(
        self, lists: Sequence[CandidateList], values: Sequence[NDArray[np.float64]]
    ) -> Sequence[NDArray[np.float64]]:
        """The scores of `lists`, all finite: a NaN would silently sort anywhere, so it is a ModelError."""
        for asked, scores in zip(lists, values, strict=True):
            for item_id, score in zip(asked.item_ids, scores, strict=True):
                if not np.isfinite(score):
                    thing = f"model {printable(self.scorer.name)}, item id {printable(item_id)}"
                    raise ModelError(thing, found=f"the score {score}", expected="a finite number")
        return values
