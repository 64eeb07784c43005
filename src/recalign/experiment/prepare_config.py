"""What `prepare` can be asked for (`PrepareConfig`); the dataset's record says the rest. Reads no data."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Final, Self

from pydantic import Field, field_validator, model_validator

from recalign.artifacts import fingerprint
from recalign.data.domain import Domain
from recalign.data.feedback import FeedbackConfig, FeedbackKind
from recalign.data.parsing.times import TimeUnit
from recalign.data.reader import Defaults, RatingsGenerator, Reader, SamplesReader
from recalign.data.readers import READERS
from recalign.data.source import ColumnNames, SourceOptions
from recalign.data.splitting import SplitConfig
from recalign.settings import validated

# What finished samples settle themselves.
_OF_RATINGS: Final = (
    *("like_above", "feedback", "negatives", "negatives_in_history"),
    *("item_text", "max_history", "min_history", "order", "order_seed", "holdout", "test_users"),
)
_VERSION: Final = 2  # raised where equal settings give other data than before, so that stored results are not theirs

# Names in the fingerprint of a request, by which stored results know their data.
_STORED: Final = {"max_history": "window", "max_rendered": "max_samples", "catalogue": "domain"}


def _as_table(path: str) -> str:
    return f"recalign prepare table --input {shlex.quote(path)}"


class PrepareConfig(SplitConfig):
    """Everything that decides a prepared directory. None means the default of the dataset or of the protocol."""

    dataset: str = Field(description="What is read: one of recalign.data.readers.")
    input: Path | None = Field(None, description="Folder or file; not for synthetic.")
    output: Path | None = Field(None, description="Where the prepared directory appears.")
    overwrite: bool = Field(False, description="Replace a prepared directory.")
    protocol: str = Field(
        "", description="tallrec, temporal, leave-one-out, leave-n-out, explicit-only; published for alpaca-json."
    )
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
    consumed: str | None = Field(None, description="What the user has done with an item: watched, read, seen.")
    yes: str | None = Field(None, description="The positive answer.")
    no: str | None = Field(None, description="The negative answer.")
    language: str | None = Field(None, description="Language tag.")

    columns: dict[str, str] = Field(default_factory=dict, description="table: our column name -> theirs.")
    item_columns: dict[str, str] = Field(default_factory=dict, description="table: the same for the items file.")
    header: ColumnNames | None = Field(None, description="table: column names of a ratings file without a header.")
    item_header: ColumnNames | None = Field(None, description="table: the same for the items file.")
    separator: str | None = Field(None, description="table: column separator.")
    encoding: str | None = Field(None, description="table: text encoding.")
    time_unit: TimeUnit | None = Field(None, description="table: unit of times that are numbers; auto: by their size.")
    items: int | Path | None = Field(None, description="Items file; for synthetic the number of items.")

    bare_answers: bool = Field(False, description='alpaca-json: take answers without full stop ("Yes" for "Yes.").')

    max_rendered: int | None = Field(None, ge=1, description="Most rows of the .jsonl files; samples.parquet has all.")

    catalogue: str | None = Field(None, description="synthetic: movies or books.")
    users: int | None = Field(None, ge=1, description="synthetic: number of users.")
    ratings_per_user: int | None = Field(None, ge=2, description="synthetic: mean number of ratings per user.")

    @classmethod
    def build(cls, **values: object) -> PrepareConfig:
        """Validate values (None: not given). Raises ConfigError with every problem in one line."""
        given = {name: value for name, value in values.items() if value is not None}
        return validated(cls, given, "settings of the prepared data")

    @model_validator(mode="before")
    @classmethod
    def _default_protocol(cls, values: object) -> object:
        if isinstance(values, dict) and isinstance(dataset := values.get("dataset"), str):
            if dataset not in READERS.names() and Path(dataset).exists():
                raise ValueError(f"a path, {dataset}, where the kind of data is named; a table: {_as_table(dataset)}")
            reader = READERS.find(READERS.validate(dataset))
            return {**values, "protocol": values.get("protocol") or reader.defaults.protocol}
        return values

    @field_validator("split", mode="before")
    @classmethod
    def _ratios(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        parts = value.split(":")
        if len(parts) != 3 or not all(part.isdecimal() for part in parts):
            raise ValueError(f"found {value!r}; expected three whole numbers such as 8:1:1")
        return tuple(int(part) for part in parts)

    @field_validator("input")
    @classmethod
    def _standard_input(cls, value: Path | None) -> Path | None:
        return Path("/dev/stdin") if value == Path("-") else value

    @field_validator("items", mode="before")
    @classmethod
    def _number(cls, value: object) -> object:
        return int(value) if isinstance(value, str) and value.isdecimal() else value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        reader = self.reader
        foreign = SourceOptions.model_fields.keys() - reader.options - {"seed"}
        if isinstance(reader, SamplesReader):
            foreign |= set(_OF_RATINGS)
            if self.protocol not in ("published", "tallrec"):
                raise ValueError(f"dataset {self.dataset} has fixed samples, found {self.protocol}")
        if isinstance(reader, RatingsGenerator):
            foreign.add("input")
        elif self.input is None:
            raise ValueError(f"dataset {self.dataset} needs an input path")
        given = {name for name in self.model_fields_set if getattr(self, name) not in (None, False, {})}
        if "items" in given and isinstance(self.items, int) != isinstance(reader, RatingsGenerator):
            raise ValueError("items is a number for dataset synthetic, and a file for all others")
        if wrong := sorted(given & foreign):
            raise ValueError(f"dataset {self.dataset} has no use for {', '.join(wrong)}")
        if self.catalogue is not None and self.catalogue not in reader.catalogues:
            raise ValueError(f"found catalogue {self.catalogue!r}; expected {' or '.join(reader.catalogues)}")
        self.source_options()  # these raise ValueError
        if not isinstance(reader, SamplesReader):
            self.feedback_config()
        return self

    @property
    def reader(self) -> Reader:
        """The dataset's record."""
        return READERS.find(self.dataset)

    @property
    def defaults(self) -> Defaults:
        """The dataset's defaults."""
        return self.reader.catalogues.get(self.catalogue or "", self.reader.defaults)

    @property
    def template_name(self) -> str:
        """The prompt template of the renderings: for the published protocols that of the published files."""
        published = self.protocol.startswith("tallrec") or isinstance(self.reader, SamplesReader)
        return self.template or ("tallrec" if published else "default")

    @property
    def request(self) -> str:
        """Fingerprint of all settings but where the result goes; two equal requests of equal input give equal data."""
        return fingerprint(self.stored(exclude={"output", "overwrite"}))

    def stored(self, *, exclude: set[str]) -> dict[str, object]:
        """The settings that are not at their default, but these, under the names that enter fingerprints.

        So a new option changes no fingerprint. What changes all data raises `_VERSION`.
        """
        settings = self.model_dump(mode="json", exclude=exclude, exclude_defaults=True)
        return {"version": _VERSION, **{_STORED.get(name, name): value for name, value in settings.items()}}

    def words(self) -> dict[str, str]:
        """The words of the domain that were given."""
        return {name: value for name in Domain.model_fields if (value := getattr(self, name)) is not None}

    def domain_words(self) -> Domain:
        """The words given, the dataset's noun (it is English), and the language's. Raises ConfigError for a bad one."""
        words = self.words()
        if self.defaults.noun and words.get("language", "en").lower().startswith("en"):
            words = {"noun": self.defaults.noun, **words}
        return validated(Domain, words, "words of the prompts")

    def feedback_config(self) -> FeedbackConfig:
        """What counts as liked. Raises ValueError (of pydantic) where the settings contradict each other."""
        kind = self.feedback or ("binary" if "liked" in self.columns else "explicit")
        like_above = self.like_above
        if kind == "explicit" and like_above is None:
            like_above = self.defaults.like_above
        if self.negatives is not None and kind != "implicit":
            raise ValueError(f"negatives is for implicit feedback, and the feedback is {kind}")
        drawn = {} if self.negatives is None else {"negatives": self.negatives}
        return FeedbackConfig(kind=kind, like_above=like_above, negatives_in_history=self.negatives_in_history, **drawn)

    def source_options(self) -> SourceOptions:
        """How the reader reads. Raises ValueError (of pydantic) for unknown columns."""
        heeded = self.reader.options & set(type(self).model_fields)
        return SourceOptions(**{name: getattr(self, name) for name in heeded})
