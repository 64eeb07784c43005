"""Results that a page shows without a server: lists and reasons for some histories, from each model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel

from recalign.data.catalog import ItemCatalog
from recalign.data.samples import HistoryEntry, SampleSet
from recalign.errors import ConfigError, DataError
from recalign.recommendation import Recommendation, near_ties
from recalign.recommender import Recommender
from recalign.retrieval.selection import NothingToRecommend
from recalign.seeding import generator
from recalign.serving.schemas import AuditResponse, ToldVerdict

DECIMALS: Final = 6  # as many as the page shows
NAMING_USERS: Final = frozenset({"user-overlap"})  # findings whose examples are ids of users


class ShownEntry(BaseModel):
    """An entry of a history."""

    item_id: str
    title: str
    liked: bool


class ShownHistory(BaseModel):
    """What somebody liked and disliked, oldest first; `note` says of how much more it is the end, "" where of none."""

    name: str
    entries: tuple[ShownEntry, ...]
    note: str = ""


class ShownItem(BaseModel):
    """A recommended item; `effects` has the influence of each entry of the history, in the order of the history."""

    item_id: str
    title: str
    score: float
    probability: float | None
    effects: tuple[float, ...]


class ShownList(BaseModel):
    """Recommended items, the best first, and which neighbours their scores do not tell apart (`near_ties`).

    There are none for somebody who met the whole catalogue.
    """

    items: tuple[ShownItem, ...]
    near_ties: str


class Results(BaseModel):
    """All that a page shows.

    Attributes:
        lists: The list of each model for each history.
        verdicts: By the name of a model, see `told_verdicts`; priors have none.
    """

    histories: tuple[ShownHistory, ...]
    lists: dict[str, tuple[ShownList, ...]]
    audit: AuditResponse
    verdicts: dict[str, ToldVerdict] = {}


@dataclass(frozen=True, slots=True)
class NamedHistory:
    """A history (oldest first, no item twice) and what the page calls it.

    Attributes:
        earlier: What the person met before the history. It is not shown, and not recommended either.
        note: See `ShownHistory`.
    """

    name: str
    entries: tuple[HistoryEntry, ...]
    earlier: tuple[HistoryEntry, ...] = ()
    note: str = ""


def compute_results(
    models: Mapping[str, Recommender],
    histories: Sequence[NamedHistory],
    audit: AuditResponse,
    *,
    k: int = 10,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Results:
    """Rank and explain the `k` best items for each history with each model, all of one catalogue.

    `progress` hears how many lists are done, of how many.

    Raises:
        ConfigError: `k` is below 1, or a model does not know an item of the histories under the same title.
        DataError: No item is left to recommend to anybody.
        ModelError: A scorer gave a score that is not finite.
    """
    _check_catalogues(models, histories)
    lists: dict[str, tuple[ShownList, ...]] = {}
    for name, model in models.items():
        of_model: list[ShownList] = []
        for history in histories:
            of_model.append(_shown_list(model, history, k))
            progress(len(lists) * len(histories) + len(of_model), len(models) * len(histories))
        lists[name] = tuple(of_model)
    if not any(shown.items for of_model in lists.values() for shown in of_model):
        raise DataError("the catalogue", found="no item that these people have not met", expected="some to recommend")
    catalog = next(iter(models.values())).catalog
    shown = tuple(_shown_history(history, catalog) for history in histories)
    return Results(histories=shown, lists=lists, audit=_anonymous(audit))


def user_histories(data: SampleSet, users: int) -> list[NamedHistory]:
    """Histories of test targets, one of each user, of as many users as are asked for where there are so many.

    Users are drawn with a fixed seed, and numbered: no id of theirs is shown.

    Raises:
        DataError: No test user has a history.
    """
    samples = {sample.user_id: sample for sample in data.samples("test")}  # the last of each user
    ids = sorted(samples)
    found: dict[tuple[tuple[str, bool], ...], NamedHistory] = {}
    for place in generator(0, "page", "users").permutation(len(ids)):
        sample = samples[ids[place]]
        entries = tuple({entry.item_id: entry for entry in sample.history}.values())
        if entries:
            # A page finds its answers by the likes and the dislikes, so it has one of two that are alike in these.
            pairs = [(entry.item_id, entry.liked) for entry in entries]
            key = tuple(sorted(pairs, key=lambda pair: not pair[1]))
            # Dislikes of implicit feedback are drawn: nobody met those items.
            earlier, shown = (
                tuple(entry for entry in part if entry.liked or not data.implicit)
                for part in (sample.earlier, sample.history)
            )
            found.setdefault(key, NamedHistory(f"user {len(found) + 1}", entries, earlier, _end_of(shown, earlier)))
        if len(found) == users:
            break
    if not found:
        raise DataError(f"data {data.path}", found="no test user with a history", expected="at least one")
    return list(found.values())


def _end_of(history: Sequence[HistoryEntry], earlier: Sequence[HistoryEntry]) -> str:
    """Of how many events a history shows the last, as a sentence; "" where there are no others."""
    if not earlier:
        return ""
    past = (*earlier, *history)
    kind = "events" if any(entry.rating is None for entry in past) else "ratings"
    return f"The last {len(history)} of {len(past)} {kind}. None of the {len(past)} is recommended."


def _anonymous(audit: AuditResponse) -> AuditResponse:
    """The audit without ids of users: a page goes to people who may not see them."""
    findings = (
        finding.model_copy(update={"examples": ()}) if finding.code in NAMING_USERS else finding
        for finding in audit.findings
    )
    return AuditResponse(data=audit.data, findings=tuple(findings))


def _check_catalogues(models: Mapping[str, Recommender], histories: Sequence[NamedHistory]) -> None:
    first, catalog = next((name, model.catalog) for name, model in models.items())
    items = {entry.item_id for history in histories for entry in history.entries}
    for name, model in models.items():
        other = model.catalog
        if any(item not in other or other.title(item) != catalog.title(item) for item in items):
            hint = "Make a page for each, or give one catalogue to all: --data DIR"
            raise ConfigError(f"model {name}", found=f"another catalogue than that of {first}", hint=hint)


def _shown_history(history: NamedHistory, catalog: ItemCatalog) -> ShownHistory:
    entries = (
        ShownEntry(item_id=entry.item_id, title=catalog.title(entry.item_id), liked=entry.liked)
        for entry in history.entries
    )
    return ShownHistory(name=history.name, entries=tuple(entries), note=history.note)


def _shown_list(model: Recommender, history: NamedHistory, k: int) -> ShownList:
    try:
        unmet = model.candidates((*history.earlier, *history.entries))
    except NothingToRecommend:
        return ShownList(items=(), near_ties="")  # the page says that no item is left
    ranked = model.explain(history.entries, model.rank(history.entries, k, candidates=unmet))
    items = tuple(_shown(item, history.entries) for item in ranked)
    return ShownList(items=items, near_ties=near_ties(ranked))


def _shown(item: Recommendation, history: Sequence[HistoryEntry]) -> ShownItem:
    effects = {influence.item_id: influence.effect for influence in item.influences}
    return ShownItem(
        item_id=item.item_id,
        title=item.title,
        score=round(item.score, DECIMALS),
        probability=None if item.probability is None else round(item.probability, DECIMALS),
        effects=tuple(round(effects[entry.item_id], DECIMALS) for entry in history),
    )
