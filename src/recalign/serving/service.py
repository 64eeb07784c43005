"""What a server does, without HTTP: requests in, responses out, all scoring through the one model thread."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from recalign.answer import METHOD
from recalign.data.matching import Match
from recalign.data.samples import CandidateList, HistoryEntry
from recalign.errors import ConfigError, DataError
from recalign.recommendation import UNSEEN_USER, Influence, Recommendation, leave_one_out, near_ties
from recalign.recommender import Recommender
from recalign.retrieval.base import Filters
from recalign.retrieval.selection import RETRIEVE, Selection
from recalign.serving import schemas
from recalign.serving.queue import DeadlinePassed, Values
from recalign.serving.search import TitleSearch
from recalign.serving.store import Event, EventStore
from recalign.serving.worker import ModelThread

HISTORY: Final = 50  # how many of a user's last items are the history


class UnknownModel(Exception):
    """A request names a model that is not served."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request's model and history, and by when it must be answered."""

    name: str
    model: Recommender
    likes: tuple[Match, ...]
    dislikes: tuple[Match, ...]
    history: tuple[HistoryEntry, ...]
    deadline: float


class Service:
    """Answers requests with one or more models. Safe to use from one event loop."""

    def __init__(
        self,
        models: Mapping[str, Recommender],
        thread: ModelThread,
        *,
        store: EventStore | None = None,
        timeout: float = 10.0,
        retrieve: int = RETRIEVE,
    ) -> None:
        """Prepare to answer.

        Args:
            models: By name; the first answers where a request names none.
            thread: Scores for all of them, under the same names.
            store: Where events are kept.
            timeout: Seconds for one request, at most.
            retrieve: Candidates that the index of a model hands to it; a model without an index scores the catalogue.

        Raises:
            ConfigError: There is no model.
        """
        if not models:
            raise ConfigError("models to serve", found="none", expected="at least one")
        self._models, self._thread, self._store, self._timeout = dict(models), thread, store, timeout
        self._retrieve = retrieve
        # Now, so that the first request does not wait for it; once for all models of one catalogue.
        catalogs = {id(model.titles): model.catalog for model in models.values()}
        searches = {titles: TitleSearch(catalog) for titles, catalog in catalogs.items()}
        self._searches = {name: searches[id(model.titles)] for name, model in models.items()}

    @property
    def names(self) -> list[str]:
        """The models, the default first."""
        return list(self._models)

    async def recommend(self, request: schemas.RecommendRequest) -> schemas.RecommendResponse:
        """The best items of the catalogue, or of what the index finds, for a history."""
        asked = await self._asked(request, request.likes)
        selection = Selection(Filters.parse(request.only, request.without), self._retrieve)
        items = await asyncio.to_thread(asked.model.candidates, asked.history, selection=selection)
        try:
            (scores,) = await self._score(asked, [CandidateList(UNSEEN_USER, asked.history, tuple(items))])
        except DeadlinePassed as error:
            if asked.model.index is not None or len(items) <= self._retrieve:
                raise
            hint = f"With --index the model scores {self._retrieve} items instead of {len(items)}"
            raise DeadlinePassed(f"{error}. {hint}: make one with recalign index") from error
        ranked = asked.model.ranked(items, scores, request.k)
        return schemas.RecommendResponse(
            model=asked.name,
            likes=_matched(asked.likes),
            dislikes=_matched(asked.dislikes),
            items=[schemas.Ranked(rank=item.rank, **_scored(item).model_dump()) for item in ranked],
            near_ties=near_ties(ranked),
        )

    async def score(self, request: schemas.ScoreRequest) -> schemas.ScoreResponse:
        """The scores of given items, in their order."""
        asked = await self._asked(request, request.likes)
        items = await self._score_items(asked, request.items)
        return schemas.ScoreResponse(model=asked.name, scores=[_scored(item) for item in items])

    async def rerank(self, request: schemas.RerankRequest) -> schemas.RerankResponse:
        """Documents by score; what is equal keeps its order."""
        asked = await self._asked(request, request.liked)
        texts = [document if isinstance(document, str) else document.text for document in request.documents]
        items = await self._score_items(asked, texts)
        order = sorted(range(len(items)), key=lambda place: -items[place].score)[: request.top_n]
        results = [
            schemas.RerankResult(
                index=place,
                relevance_score=_relevance(items[place]),
                document=schemas.Document(text=texts[place]) if request.return_documents else None,
            )
            for place in order
        ]
        return schemas.RerankResponse(model=asked.name, results=results)

    async def explain(self, request: schemas.ExplainRequest) -> schemas.ExplainResponse:
        """What each entry of the history does to the score of each item."""
        asked = await self._asked(request, request.likes)
        items = await self._score_items(asked, request.items)
        without = await self._score(asked, leave_one_out(asked.history, [item.item_id for item in items]))
        explained = asked.model.explained(asked.history, items, without, top=request.top)
        answers = [
            schemas.Explained(
                **_scored(item).model_dump(), influences=[_influence(influence) for influence in item.influences]
            )
            for item in explained
        ]
        return schemas.ExplainResponse(model=asked.name, influence=METHOD, items=answers)

    async def items(self, query: str, limit: int, model: str | None) -> schemas.ItemsResponse:
        """Items whose titles have a word that begins as `query` does."""
        name = self._name(model)
        ids = await asyncio.to_thread(self._searches[name].find, query, limit)
        catalog = self._models[name].catalog
        return schemas.ItemsResponse(
            items=[schemas.Item(item_id=item_id, title=catalog.title(item_id)) for item_id in ids]
        )

    async def append(self, request: schemas.EventsRequest) -> schemas.EventsResponse:
        """Store events. Their items need not be in a catalogue: it may be older than they are."""
        events = [Event(event.key, event.user, event.item, event.kind, event.value) for event in request.events]
        return schemas.EventsResponse(stored=await asyncio.to_thread(self._events.append, events))

    async def forget(self, user: str) -> schemas.ForgottenResponse:
        """Delete a user's events."""
        return schemas.ForgottenResponse(deleted=await asyncio.to_thread(self._events.forget, user))

    @property
    def _events(self) -> EventStore:
        if self._store is None:
            raise DataError("this server", found="no store of events", expected="one", hint="Start it with --store")
        return self._store

    async def _asked(self, request: schemas.Asking, likes: Sequence[str]) -> _Asked:
        self._thread.check()  # matching titles takes time, which a full server does not have
        deadline = self._thread.clock() + min(request.timeout or self._timeout, self._timeout)
        name = self._name(request.model)
        model = self._models[name]
        if request.user is not None:
            history = await asyncio.to_thread(self._history_of, model, request.user)
            return _Asked(name, model, (), (), history, deadline)
        # Matching a mistyped title looks at all titles, so it has no place in the event loop.
        liked, disliked = await asyncio.to_thread(self._match, model, [likes, request.dislikes], deadline)
        history = model.history(*([f"id:{match.item_id}" for match in matches] for matches in (liked, disliked)))
        return _Asked(name, model, liked, disliked, history, deadline)

    def _match(self, model: Recommender, groups: Sequence[Sequence[str]], deadline: float) -> list[tuple[Match, ...]]:
        """What titles mean, for each group of them. A thousand mistyped ones take a while, so it keeps the deadline."""

        def match(title: str) -> Match:
            if self._thread.clock() >= deadline:
                raise DeadlinePassed("the deadline passed while titles were looked up")
            return model.match(title)

        return [tuple(match(title) for title in titles) for titles in groups]

    def _name(self, asked: str | None) -> str:
        if asked is not None and asked not in self._models:
            raise UnknownModel(f"the model is not served; there are: {', '.join(self._models)}")
        return asked or next(iter(self._models))

    def _history_of(self, model: Recommender, user: str) -> tuple[HistoryEntry, ...]:
        known = [entry for entry in self._events.history(user, HISTORY) if entry.item_id in model.catalog]
        if not known:
            raise DataError("the user", found="no event about an item of the catalogue", expected="at least one")
        return tuple(known)

    async def _score_items(self, asked: _Asked, titles: Sequence[str]) -> list[Recommendation]:
        (matches,) = await asyncio.to_thread(self._match, asked.model, [titles], asked.deadline)
        items = tuple(match.item_id for match in matches)
        (scores,) = await self._score(asked, [CandidateList(UNSEEN_USER, asked.history, items)])
        return [asked.model.ranked([item], [score], 1)[0] for item, score in zip(items, scores, strict=True)]

    async def _score(self, asked: _Asked, lists: Sequence[CandidateList]) -> Values:
        """Have the model thread score. Leaving here early, for whatever reason, takes the work out of its queue."""
        future = self._thread.submit(asked.name, lists, asked.deadline)
        try:
            async with asyncio.timeout(asked.deadline - self._thread.clock()) as limit:
                values = await asyncio.wrap_future(future)
        except TimeoutError as error:
            if limit.expired():
                raise DeadlinePassed("the deadline passed before it was scored") from error
            raise
        return tuple(asked.model.checked(lists, values))


def _matched(matches: Sequence[Match]) -> list[schemas.Matched]:
    return [
        schemas.Matched(query=match.query, item_id=match.item_id, title=match.title, match=match.how)
        for match in matches
    ]


def _scored(item: Recommendation) -> schemas.Scored:
    return schemas.Scored(item_id=item.item_id, title=item.title, score=item.score, probability=item.probability)


def _relevance(item: Recommendation) -> float:
    return item.score if item.probability is None else item.probability


def _influence(influence: Influence) -> schemas.Influence:
    return schemas.Influence(
        item_id=influence.item_id,
        title=influence.title,
        liked=influence.liked,
        effect=influence.effect,
        score_without=influence.score_without,
    )
