"""What a model learns of titles beside its weights: how its training data liked each (`TitleKnowledge`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import polars as pl

from recalign.data.catalog import ItemCatalog
from recalign.data.facts import FactFinder
from recalign.data.knowledge import TitleKnowledge
from recalign.data.like_rule import LikeRule
from recalign.data.samples import HistoryEntry, Sample, SampleSet
from recalign.seeding import generator
from recalign.tuning.config import SamplingConfig
from recalign.tuning.sources import UserSequence, lay_out, user_sequences

RULE_EVENTS: Final = 100_000  # more make the few weights of a rule no better
_LAYOUT: Final = SamplingConfig(targets_per_history=16, random_fraction=0.0, short_fraction=0.0)


def count_titles(parts: Sequence[tuple[SampleSet, pl.DataFrame]]) -> TitleKnowledge | None:
    """Count the training events of data sets, given with the rows of their train split that may be read.

    None where no users are known apart: those of published samples are not, so nobody could be left out.
    """
    counted = [(data.catalog, user_sequences(rows)) for data, rows in parts if data.tells_users_apart]
    if not counted:
        return None
    users = ((catalog, user.user_id, user.entries) for catalog, sequences in counted for user in sequences)
    return _with_rule(TitleKnowledge.count(users), counted)


def _with_rule(
    knowledge: TitleKnowledge, parts: Sequence[tuple[ItemCatalog, Sequence[UserSequence]]]
) -> TitleKnowledge:
    """The knowledge with the rule that the training events themselves follow, each after those before it."""
    features, likes = [], []
    for catalog, users in parts:
        finder, room = FactFinder(catalog, knowledge), RULE_EVENTS // len(parts)
        for index in generator(0, "like-rule").permutation(len(users)):
            for block in lay_out(users[index], _LAYOUT, generator(0, "like-rule", users[index].user_id)):
                features.append(finder.features(block.asked()))
                likes += [float(target.liked) for target in block.targets]
                room -= len(block.targets)
            if room <= 0:
                break
    rule = LikeRule.fit(np.concatenate(features), np.array(likes)) if features else None
    return replace(knowledge, rule=rule)


def count_shots(parts: Sequence[tuple[SampleSet, Sequence[Sample]]]) -> TitleKnowledge:
    """Count what K samples tell: each target, and all that is known of its user from before. Each event counts once."""
    users: dict[tuple[int, str], dict[str, HistoryEntry]] = {}
    for place, (data, samples) in enumerate(parts):
        for sample in samples if data.tells_users_apart else ():
            events = users.setdefault((place, sample.user_id), {})
            for entry in (*sample.past, HistoryEntry(sample.item_id, bool(sample.label))):
                events.setdefault(entry.item_id, entry)
    return TitleKnowledge.count(
        (parts[place][0].catalog, user_id, events.values()) for (place, user_id), events in users.items()
    )
