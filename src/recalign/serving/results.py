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
    """What somebody liked and disliked, oldest first."""

    name: str
    entries: tuple[ShownEntry, ...]


class ShownItem(BaseModel):
    """A recommended item; `effects` has the influence of each entry of the history, in the order of the history."""

    item_id: str
    title: str
    score: float
    probability: float | None
    effects: tuple[float, ...]


class ShownList(BaseModel):
    """Recommended items, the best first, and which neighbours their scores do not tell apart (`near_ties`)."""

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
    """A history (oldest first, no item twice) and what the page calls it."""

    name: str
    entries: tuple[HistoryEntry, ...]


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
        DataError: No item is left to recommend.
        ModelError: A scorer gave a score that is not finite.
    """
    _check_catalogues(models, histories)
    lists: dict[str, tuple[ShownList, ...]] = {}
    for name, model in models.items():
        of_model: list[ShownList] = []
        for history in histories:
            ranked = model.explain(history.entries, model.rank(history.entries, k))
            items = tuple(_shown(item, history.entries) for item in ranked)
            of_model.append(ShownList(items=items, near_ties=near_ties(ranked)))
            progress(len(lists) * len(histories) + len(of_model), len(models) * len(histories))
        lists[name] = tuple(of_model)
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
    found: dict[tuple[tuple[str, bool], ...], tuple[HistoryEntry, ...]] = {}
    for place in generator(0, "page", "users").permutation(len(ids)):
        entries = tuple({entry.item_id: entry for entry in samples[ids[place]].history}.values())
        if entries:
            # A page finds its answers by the likes and the dislikes, so it has one of two that are alike in these.
            pairs = [(entry.item_id, entry.liked) for entry in entries]
            found.setdefault(tuple(sorted(pairs, key=lambda pair: not pair[1])), entries)
        if len(found) == users:
            break
    if not found:
        raise DataError(f"data {data.path}", found="no test user with a history", expected="at least one")
    return [NamedHistory(f"user {number}", entries) for number, entries in enumerate(found.values(), start=1)]


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
    return ShownHistory(name=history.name, entries=tuple(entries))


def _shown(item: Recommendation, history: Sequence[HistoryEntry]) -> ShownItem:
    effects = {influence.item_id: influence.effect for influence in item.influences}
    return ShownItem(
        item_id=item.item_id,
        title=item.title,
        score=round(item.score, DECIMALS),
        probability=None if item.probability is None else round(item.probability, DECIMALS),
        effects=tuple(round(effects[entry.item_id], DECIMALS) for entry in history),
    )
