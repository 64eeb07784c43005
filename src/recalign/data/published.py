"""Samples that were published as text: a prompt taken apart, and what a file of such prompts comes to.

Which words a prompt consists of is up to its template (`recalign.prompting`); this package knows the parts alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import polars as pl

from recalign.data.domain import Domain
from recalign.data.parsing.accounting import FileAccount, RejectLedger


@dataclass(frozen=True, slots=True)
class Instruction:
    """The triple of instruction tuning; `output` is empty where the answer is what is asked for."""

    instruction: str
    input: str
    output: str


@dataclass(frozen=True, slots=True)
class ParsedSample:
    """A rendered prompt taken apart: (text, liked) per history item, target text, label (1, 0) and the words used."""

    history: tuple[tuple[str, bool], ...]
    target: str
    label: int
    domain: Domain


class SampleTemplate(Protocol):
    """A prompt template that can take its prompts apart (`recalign.prompting.template.PromptTemplate`)."""

    @property
    def name(self) -> str:
        """Name of the template."""

    @property
    def parses(self) -> bool:
        """Whether `parse` is possible."""

    def parse(self, instruction: Instruction) -> ParsedSample:
        """Take a prompt apart. Raises DataError where it is not in the template's form."""


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """One parsed row: its number in the file (from 1), (item id, liked) per history item, target and label (1, 0)."""

    row: int
    history: tuple[tuple[str, bool], ...]
    item_id: str
    label: int


@dataclass(frozen=True)
class PublishedSamples:
    """A parsed file.

    Attributes:
        samples: Rows in the order of the file.
        items: `schema.ITEMS` and `text`, one row per distinct item text, in order of first appearance.
        domain: The words of the file ("movie", "like", "Yes.", "No."), completed by those that were given.
        accounts: One account. Its unit is the row in a JSON array, and the physical line in JSON Lines.
        rejects: Rows (their number as `line`) that could not be parsed.
    """

    samples: tuple[PublishedRow, ...]
    items: pl.DataFrame
    domain: Domain
    accounts: tuple[FileAccount, ...]
    rejects: RejectLedger
