"""What a user did before the target: as ids (`HistoryEntry`), and as a template sees it (`HistoryText`)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One interaction before the target. `rating` is None where the source has none."""

    item_id: str
    liked: bool
    rating: float | None = None


@dataclass(frozen=True, slots=True)
class HistoryText:
    """The same with the item's text. `rating` is on the source's own scale, None where there is none."""

    text: str
    liked: bool
    rating: float | None = None
