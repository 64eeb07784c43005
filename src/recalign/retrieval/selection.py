"""`Selection`: which items may be recommended, and how those that are scored are chosen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from recalign.data.schema import HistoryEntry
from recalign.errors import ConfigError, DataError
from recalign.retrieval.base import EVERYTHING_UNSEEN, Filters, Retriever
from recalign.retrieval.stock import Stock
from recalign.terminal import printable

RETRIEVE: Final = 200  # candidates that an index hands to the scorer


class NothingToRecommend(DataError):
    """Nothing that may come back is left for this history."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What a recommender is asked for beside likes.

    Attributes:
        filters: What may come back; without an index, too.
        retrieve: How many candidates the index hands to the scorer. Without an index the whole catalogue is scored.
        diversity: From 0 (the order of the scores) to 1 (as unlike each other as possible); above 0 needs an index.
    """

    filters: Filters = EVERYTHING_UNSEEN
    retrieve: int = RETRIEVE
    diversity: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.diversity <= 1:
            raise ConfigError("diversity", found=str(self.diversity), expected="a number from 0 to 1")

    def items(
        self,
        stock: Stock,
        retriever: Retriever | None,
        history: Sequence[HistoryEntry],
        candidates: Iterable[str] | None = None,
    ) -> list[str]:
        """Ids to score: of `candidates`, of what the retriever finds, or else of the whole stock.

        With seen items go those of the very same text, which a language model could not tell apart.

        Raises:
            DataError: A history entry or candidate is not in the catalogue.
            NothingToRecommend: Nothing is left.
        """
        catalog = stock.catalog
        asked = list(dict.fromkeys(candidates or ()))
        for item_id in (*(entry.item_id for entry in history), *asked):
            if item_id not in catalog:
                thing = f"item id {printable(item_id)}"
                raise DataError(thing, found="no such item", expected="an id of the catalogue")
        if candidates is None and retriever is not None:
            asked = list(retriever.retrieve(history, self.retrieve, self.filters).item_ids)
        elif candidates is None:
            asked = list(catalog.ids)
        allowed = stock.allowed(self.filters, history)
        items = [item for item, place in zip(asked, stock.places(asked), strict=True) if allowed[place]]
        if self.filters.exclude_seen:
            texts = {catalog.text(entry.item_id) for entry in history}
            items = [item for item in items if catalog.text(item) not in texts]
        if not items:
            found = "no item besides those given"
            raise NothingToRecommend("the catalogue", found=found, expected="something to recommend")
        return items
