"""What `prepare` can be asked for: `PrepareConfig`, and the datasets with their defaults. Reads no data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from recalign.artifacts import fingerprint
from recalign.data.feedback import FeedbackConfig, FeedbackKind
from recalign.data.sources import SourceOptions
from recalign.data.splitting import Order, Ratios, SplitConfig
from recalign.data.synthetic import SyntheticDomain
from recalign.errors import ConfigError
from recalign.prompting.domain import Domain

_BOOK_TEXT: Final = '"{title}"[ written by {author}]'


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset's defaults: what an item is called and how it reads, above which rating it is liked, the protocol."""

    noun: str | None
    like_above: float | None
    item_text: str = "{title}"
    protocol: str = "leave-one-out"


DATASETS: Final[dict[str, Dataset]] = {
    "movielens-100k": Dataset("movie", 3),
    "movielens": Dataset("movie", 3),
    "netflix": Dataset("movie", 3, "{title}[ ({year})]"),
    "bookcrossing": Dataset("book", 5, _BOOK_TEXT, "tallrec"),
    "amazon-books": Dataset("book", 3, _BOOK_TEXT),
    "table": Dataset(None, None),
    "synthetic": Dataset("movie", 3),
    "alpaca-json": Dataset(None, None, protocol="published"),
}
_SYNTHETIC_BOOKS: Final = Dataset("book", 3, _BOOK_TEXT)

_WORDS: Final = ("noun", "noun_plural", "verb", "past", "consumed", "yes", "no", "language")
_SOURCE: Final = ("columns", "item_columns", "separator", "encoding", "items")
_SYNTHETIC: Final = ("domain", "users", "ratings_per_user")
# What published files settle themselves.
_NOT_PUBLISHED: Final = (
    *("like_above", "feedback", "negatives", "negatives_in_history", "item_text", "window", "min_history", "order"),
    *_SOURCE,
    *_SYNTHETIC,
)


class PrepareConfig(BaseModel):
    """Everything that decides a prepared directory. None means the default of the dataset or of the protocol."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str = Field(description="A key of DATASETS.")
    input: Path | None = Field(None, description="Folder or file; not for synthetic.")
    output: Path | None = Field(None, description="Where the prepared directory appears.")
    overwrite: bool = Field(False, description="Replace a prepared directory.")
    protocol: str = Field("", description="tallrec, temporal, leave-one-out, explicit-only; published for alpaca-json.")
    template: str | None = Field(None, description="Prompt template: a shipped name or a TOML path.")

    feedback: FeedbackKind | None = Field(None, description="explicit, binary or implicit.")
    like_above: float | None = Field(None, allow_inf_nan=False, description="Ratings above this are likes.")
    negatives: int | None = Field(None, description="Sampled negatives per implicit event.")
    negatives_in_history: bool = Field(False, description="Show earlier sampled negatives in histories.")

    item_text: str | None = Field(None, description="Template over catalogue columns.")
    noun: str | None = Field(None, description="What one item is called.")
    noun_plural: str | None = Field(None, description="What several items are called.")
    verb: str | None = Field(None, description="What the question asks.")
    past: str | None = Field(None, description="Past participle of the verb.")
    consumed: str | None = Field(None, description="What the user did with an item: watched, read, bought.")
    yes: str | None = Field(None, description="The positive answer.")
    no: str | None = Field(None, description="The negative answer.")
    language: str | None = Field(None, description="Language tag.")

    columns: dict[str, str] = Field(default_factory=dict, description="table: our column name -> theirs.")
    item_columns: dict[str, str] = Field(default_factory=dict, description="table: the same for the items file.")
    separator: str | None = Field(None, description="table: column separator.")
    encoding: str | None = Field(None, description="table: text encoding.")
    items: int | Path | None = Field(None, description="Items file; for synthetic the number of items.")

    window: int = Field(10, ge=1, description="Longest history.")
    min_history: int | None = Field(None, ge=1, description="Interactions that a target needs before it.")
    order: Order | None = Field(None, description="time, file or shuffle.")
    split: Ratios | None = Field(None, description="Proportions of train, valid and test: '8:1:1'.")
    folds: int | None = Field(None, ge=3, description="User-wise cross-validation instead of split: groups of users.")
    fold: int = Field(0, ge=0, description="With folds: the group that is test; the next one is valid.")
    seed: int = Field(0, ge=0, description="Root of all randomness.")
    max_samples: int | None = Field(None, ge=1, description="Most samples in the JSONL renderings.")

    domain: SyntheticDomain | None = Field(None, description="synthetic: movies or books.")
    users: int | None = Field(None, ge=1, description="synthetic: number of users.")
    ratings_per_user: int | None = Field(None, ge=2, description="synthetic: mean number of ratings per user.")

    @classmethod
    def build(cls, **values: Any) -> PrepareConfig:
        """Validate values (None: not given). Raises ConfigError with every problem in one line."""
        try:
            return cls.model_validate({key: value for key, value in values.items() if value is not None})
        except ValidationError as error:
            raise ConfigError("; ".join(_problem(each) for each in error.errors())) from None

    @model_validator(mode="before")
    @classmethod
    def _default_protocol(cls, values: Any) -> Any:
        if isinstance(values, dict) and not values.get("protocol") and values.get("dataset") in DATASETS:
            return {**values, "protocol": DATASETS[values["dataset"]].protocol}
        return values

    @field_validator("dataset")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in DATASETS:
            raise ValueError(f"found {value!r}; expected {', '.join(DATASETS)}")
        return value

    @field_validator("split", mode="before")
    @classmethod
    def _ratios(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        parts = value.split(":")
        if len(parts) != 3 or not all(part.isdecimal() for part in parts):
            raise ValueError(f"found {value!r}; expected three whole numbers such as 8:1:1")
        return tuple(int(part) for part in parts)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        given = {name for name in self.model_fields_set if getattr(self, name) not in (None, False, {})}
        published = self.dataset == "alpaca-json"
        foreign: tuple[str, ...] = _NOT_PUBLISHED if published else _SYNTHETIC
        if self.dataset == "synthetic":
            foreign = ("input", *(name for name in _SOURCE if name != "items"))
        elif self.input is None:
            raise ValueError(f"dataset {self.dataset} needs an input path")
        if wrong := sorted(given.intersection(foreign)):
            raise ValueError(f"dataset {self.dataset} has no use for {', '.join(wrong)}")
        if isinstance(self.items, int) != (self.dataset == "synthetic") and self.items is not None:
            raise ValueError("items is a number for dataset synthetic, and a file for all others")
        if published and self.protocol not in ("published", "tallrec"):
            raise ValueError(f"dataset alpaca-json has fixed samples, found {self.protocol}")
        self._check_folds()
        self.split_config()  # these raise ValueError
        self.source_options()
        if not published:
            self.feedback_config()
        return self

    @property
    def defaults(self) -> Dataset:
        """The dataset's defaults."""
        return _SYNTHETIC_BOOKS if self.domain == "books" else DATASETS[self.dataset]

    @property
    def published(self) -> bool:
        """Whether the source holds finished samples instead of ratings."""
        return self.dataset == "alpaca-json"

    @property
    def template_name(self) -> str:
        """The prompt template of the renderings: for the published protocols that of the published files."""
        return self.template or ("tallrec" if self.protocol.startswith("tallrec") or self.published else "default")

    @property
    def request(self) -> str:
        """Fingerprint of all settings but where the result goes; two equal requests of equal input give equal data."""
        unsaid = {"output", "overwrite"}
        if self.folds is None:
            unsaid |= {"folds", "fold"}  # a request without folds is what it was before there were any
        return fingerprint(self.model_dump(mode="json", exclude=unsaid))

    def _check_folds(self) -> None:
        if self.folds is None and self.fold:
            raise ValueError(f"found fold {self.fold} without folds")
        if self.folds is not None and self.split is not None:
            raise ValueError("folds and split exclude each other: folds cut all users into equal groups")
        if self.folds is not None and self.fold >= self.folds:
            raise ValueError(f"found fold {self.fold} of {self.folds} folds; expected 0 to {self.folds - 1}")

    def words(self) -> dict[str, str]:
        """The words of the domain that were given."""
        return {name: value for name in _WORDS if (value := getattr(self, name)) is not None}

    def domain_words(self) -> Domain:
        """The domain: the words given, the dataset's noun (it is English), and what the language provides.

        Raises:
            ConfigError: a word is not usable.
        """
        words = self.words()
        if self.defaults.noun and words.get("language", "en").lower().startswith("en"):
            words = {"noun": self.defaults.noun, **words}
        try:
            return Domain(**words)
        except ValidationError as error:
            raise ConfigError("; ".join(each["msg"] for each in error.errors())) from None

    def feedback_config(self) -> FeedbackConfig:
        """What counts as liked. Raises ValueError (of pydantic) where the settings contradict each other."""
        kind = self.feedback or ("binary" if "liked" in self.columns else "explicit")
        like_above = self.like_above
        if kind == "explicit" and like_above is None:
            like_above = self.defaults.like_above
        values: dict[str, Any] = {"kind": kind, "like_above": like_above}
        if self.negatives is not None:
            if kind != "implicit":
                raise ValueError(f"negatives is for implicit feedback, and the feedback is {kind}")
            values["negatives"] = self.negatives
        return FeedbackConfig(**values, negatives_in_history=self.negatives_in_history)

    def split_config(self) -> SplitConfig:
        """The protocol's parameters. Raises ValueError (of pydantic) for impossible ones."""
        return SplitConfig(
            window=self.window,
            min_history=self.min_history,
            order=self.order,
            ratios=self.split,
            folds=self.folds,
            fold=self.fold,
            seed=self.seed,
        )

    def source_options(self) -> SourceOptions:
        """How the reader reads. Raises ValueError (of pydantic) for unknown columns."""
        items = self.items if isinstance(self.items, Path) else None
        return SourceOptions(
            columns=self.columns,
            item_columns=self.item_columns,
            separator=self.separator,
            encoding=self.encoding,
            items=items,
        )


def _problem(error: Any) -> str:
    """A validation error as "field: what is wrong, found value"."""
    message = ": ".join((*map(str, error["loc"]), str(error["msg"]).removeprefix("Value error, ")))
    return message if error["type"] == "value_error" else f"{message}, found {error['input']!r}"
