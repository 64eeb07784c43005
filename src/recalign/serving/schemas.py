"""What requests and responses look like; every length and count has a limit.

Requests are strict: no text is read as a number, and a key that is not known is an error. `/v1/rerank` alone ignores
unknown keys, because clients of Cohere and Jina send settings of theirs.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from recalign.data.audit import AuditReport

MAX_TITLES: Final = 200
MAX_ITEMS: Final = 1000
MAX_FILTERS: Final = 20
MAX_EXPLAINED: Final = 20

# One line of a catalogue or of a person; NUL is in neither, and some stores cannot hold it.
_TEXT: Final = r"^[^\x00]*$"
Title = Annotated[str, StringConstraints(min_length=1, max_length=500, pattern=_TEXT)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=_TEXT)]
Titles = Annotated[list[Title], Field(max_length=MAX_TITLES)]


class Strict(BaseModel):
    """A request."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class Asking(Strict):
    """What all requests to a model share: the model, the history, and the time there is for an answer."""

    model: Name | None = Field(None, description="One of the served models; the first by default.")
    likes: Titles = Field(default=[], description="Titles or ids (id:...), oldest first.")
    dislikes: Titles = Field(default=[], description="Titles or ids (id:...), oldest first.")
    user: Name | None = Field(None, description="Take the history from this user's events (needs --store).")
    timeout: float | None = Field(None, gt=0, le=600, description="Seconds until 504; never more than the server's.")

    @model_validator(mode="after")
    def _one_history(self) -> Asking:
        if self.user is not None and (self.likes or self.dislikes):
            raise ValueError("give likes and dislikes, or a user; not both")
        return self


class RecommendRequest(Asking):
    """Ask for the best items of the catalogue."""

    k: int = Field(10, ge=1, le=100, description="How many items.")
    only: list[Title] = Field([], max_length=MAX_FILTERS, description="Filters COLUMN=VALUE, such as genres=Comedy.")
    without: list[Title] = Field([], max_length=MAX_ITEMS, description="Ids of items that must not come back.")


class ScoreRequest(Asking):
    """Ask for the scores of items."""

    items: Annotated[list[Title], Field(min_length=1, max_length=MAX_ITEMS)] = Field(description="Titles or ids.")


class ExplainRequest(Asking):
    """Ask what each entry of the history does to the score of each item."""

    items: Annotated[list[Title], Field(min_length=1, max_length=MAX_EXPLAINED)] = Field(description="Titles or ids.")
    top: int | None = Field(None, ge=1, description="Only the strongest influences of each item.")


class Document(BaseModel):
    """A document as Cohere and Jina know them; its text is a title or an id."""

    model_config = ConfigDict(strict=True, extra="ignore")

    text: Title


class RerankRequest(Asking):
    """The shape of Cohere's and Jina's rerank requests: `query` holds liked titles, one on each line."""

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)

    query: Annotated[str, StringConstraints(max_length=20_000, pattern=_TEXT)] = ""
    documents: Annotated[list[Title | Document], Field(min_length=1, max_length=MAX_ITEMS)]
    top_n: int | None = Field(None, ge=1)
    return_documents: bool = False

    @property
    def liked(self) -> list[str]:
        """The titles of `query`, then `likes`."""
        return [line.strip() for line in self.query.splitlines() if line.strip()] + self.likes

    @model_validator(mode="after")
    def _few_lines(self) -> RerankRequest:
        if len(self.liked) > MAX_TITLES:
            raise ValueError(f"query and likes have at most {MAX_TITLES} titles")
        if self.user is not None and self.liked:
            raise ValueError("give a query, or a user; not both")
        return self


class Matched(BaseModel):
    """What a title was taken for."""

    query: str
    item_id: str
    title: str
    match: str


class Scored(BaseModel):
    """An item with its score; `probability` only where scores are log-odds."""

    item_id: str
    title: str
    score: float
    probability: float | None


class Ranked(Scored):
    """A recommended item."""

    rank: int


class RecommendResponse(BaseModel):
    """The best items, and what the titles that were given were taken for."""

    model: str
    likes: list[Matched]
    dislikes: list[Matched]
    items: list[Ranked]
    near_ties: str = Field(description="Which neighbours their scores do not tell apart, in words; or nothing.")


class ScoreResponse(BaseModel):
    """Scores in the order of the request."""

    model: str
    scores: list[Scored]


class Influence(BaseModel):
    """What one entry of the history does to an item's score: with it minus without it."""

    item_id: str
    title: str
    liked: bool
    effect: float
    score_without: float


class Explained(Scored):
    """An item with the influences on it, the strongest first."""

    influences: list[Influence]


class ExplainResponse(BaseModel):
    """Explained items in the order of the request; `influence` says how they were measured."""

    model: str
    influence: str
    items: list[Explained]


class RerankResult(BaseModel):
    """One document; `relevance_score` is the probability, or the score where scores are no log-odds."""

    index: int
    relevance_score: float
    document: Document | None = None


class RerankResponse(BaseModel):
    """Documents, the best first."""

    model: str
    results: list[RerankResult]


class Item(BaseModel):
    """An item of the catalogue."""

    item_id: str
    title: str


class ItemsResponse(BaseModel):
    """Items whose titles have a word that begins as asked."""

    items: list[Item]


class EventRequest(Strict):
    """Something that a user did. The same `key` again is the same event, and is stored once."""

    user: Name
    item: Name = Field(description="Id of the item.")
    kind: Literal["like", "dislike", "rating"]
    value: float | None = Field(None, description="Of a rating.")
    key: Name = Field(description="Idempotency key: unique for each event.")

    @model_validator(mode="after")
    def _value_of_a_rating(self) -> EventRequest:
        if (self.kind == "rating") != (self.value is not None):
            raise ValueError("a rating has a value, and nothing else has one")
        return self


class EventsRequest(Strict):
    """Events to store, all or none."""

    events: Annotated[list[EventRequest], Field(min_length=1, max_length=MAX_ITEMS)]


class EventsResponse(BaseModel):
    """How many events were new."""

    stored: int


class ForgottenResponse(BaseModel):
    """How many events of the user were deleted."""

    deleted: int


class AuditResponse(AuditReport):
    """What about the data can mislead, as `recalign audit` says it."""

    data: str | None = Field(description="Name of the data; null where the server was given none.")


class ToldVerdict(BaseModel):
    """Whether a model beats what needs no learning, in a sentence; where nobody evaluated it, how to come by one."""

    evaluated: bool
    text: str
    prior: str | None = Field(None, description="The prior that it was measured against; null where nobody has.")


class VerdictsResponse(BaseModel):
    """What evaluations say of the models, by name. Priors have no verdict: models are measured against them."""

    verdicts: dict[str, ToldVerdict]


class Problem(BaseModel):
    """Why there is no answer, in one line."""

    error: str
