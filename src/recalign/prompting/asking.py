"""What it takes to ask about items of one data set: encoder, catalogue and, for a template that states them, facts.

Tuning, validation and scoring all ask through `DomainPrompts.encode`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from recalign.data.catalog import ItemCatalog
from recalign.data.facts import FactFinder, Facts
from recalign.data.knowledge import TitleKnowledge
from recalign.data.samples import CandidateList
from recalign.prompting.encoding import EncodedPrompt, PromptEncoder
from recalign.prompting.prompts import HistoryText


@dataclass(frozen=True, slots=True)
class AskedTexts:
    """Candidate lists as the encoder takes them: per item of each list a history, a target and its facts."""

    histories: list[Sequence[HistoryText]]
    targets: list[str]
    facts: list[Facts | None]


@dataclass(frozen=True, slots=True)
class DomainPrompts:
    """Turns candidate lists into prompts.

    Attributes:
        encoder: The one encoding path, with the template.
        catalog: Texts of the items that histories and candidates name.
        finder: Finds what the template states beside them; None where it states nothing.
    """

    encoder: PromptEncoder
    catalog: ItemCatalog
    finder: FactFinder | None = None

    @classmethod
    def over(cls, encoder: PromptEncoder, catalog: ItemCatalog, knowledge: TitleKnowledge | None) -> DomainPrompts:
        """Prompts about the items of a catalogue, with what is known of titles where the template states facts."""
        finder = FactFinder(catalog, knowledge) if encoder.template.states_facts else None
        return cls(encoder, catalog, finder)

    def without_titles(self, rng: np.random.Generator) -> DomainPrompts:
        """The same prompts about items that have drawn numbers for titles, and neither genres nor years."""
        noun, frame = self.encoder.domain.noun, self.catalog.frame
        numbered = [f"{noun} {number}" for number in rng.permutation(len(frame))]
        untold = [pl.lit(None, frame.schema[name]).alias(name) for name in ("title", "year", "author", "genres")]
        catalog = ItemCatalog(frame.with_columns(*untold, pl.Series("text", numbered, pl.String)))
        return self.over(self.encoder, catalog, self.finder.knowledge if self.finder else None)

    def texts(self, lists: Sequence[CandidateList]) -> AskedTexts:
        """What is asked, as text. Raises DataError where an item is not in the catalogue."""
        asked = AskedTexts([], [], [])
        for candidates in lists:
            asked.histories.extend([self.catalog.with_texts(candidates.history)] * len(candidates.item_ids))
            asked.targets.extend(self.catalog.text(item_id) for item_id in candidates.item_ids)
            asked.facts.extend(self.finder.of(candidates) if self.finder else [None] * len(candidates.item_ids))
        return asked

    def encode(self, lists: Sequence[CandidateList], labels: Sequence[int | None] | None = None) -> list[EncodedPrompt]:
        """One prompt per item of each list, in their order; with `labels`, one for each, also the answers.

        Raises:
            DataError: An item is not in the catalogue, or its text does not fit into a prompt.
        """
        asked = self.texts(lists)
        return self.encoder.encode_many(asked.histories, asked.targets, labels, asked.facts)
