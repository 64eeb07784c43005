"""What each finding of the audit means for who tunes and evaluates, in a sentence to read beside its numbers."""

from __future__ import annotations

from typing import Final

from recalign.data.schema import SPLITS

_MEANINGS: Final = {
    "cut-texts": "The model sees only the beginning of these titles.",
    "deciding-words": "A model may learn such a word instead of tastes: look at the items that have it.",
    "duplicate-histories": "If they are one person, test users are not new to the model.",
    "duplicate-targets": "They count twice in every metric.",
    "duplicate-titles": "A language model cannot tell such items apart; --item-text can add a year or a brand.",
    "empty-split": "Nothing can be measured on it; --split sets the proportions.",
    "few-users": "Differences between models may be chance: look at the intervals.",
    "hidden-characters": "Nothing to do, unless the titles look wrong to you.",
    "injection-titles": "Such a text could steer the answers of a model: look at the examples, and leave bad ones out.",
    "label-words": "Nothing to do as a rule; a title with the answer in it can sway a small model.",
    "minus-one-as-dislike": "If it means 'not rated', these labels are wrong.",
    "one-class": "More users, or another --split, may have both labels.",
    "placeholder-titles": "A language model reads these words as titles: leave such items out.",
    "prevalence-shift": "AUC does not depend on this share; LogLoss, ECE and what counts as likely do.",
    "target-in-history": "The history tells the answer of these questions: they are easier than new ones.",
    "target-seen": "A model that only remembers looks good here: compare on another split or protocol.",
    "ties": "Another order of these events gives other numbers.",
    "time-overlap": "A model may have learnt from what happened after a test question.",
    "truncated-prompts": "Raise max_length of the stage, or prepare with a shorter --max-history.",
    "untitled-items": "A language model knows nothing of these items.",
    "user-overlap": "Results tell how good a model is for users whose past it knows, not for new ones.",
    "users-unknown": "Intervals are over rows, and may be too narrow.",
    "zero-as-dislike": "If it means 'not rated', these labels are wrong.",
}


def meaning(code: str) -> str:
    """The sentence for a finding of this code. Splits in the code do not change it.

    Raises:
        KeyError: There is no such finding.
    """
    return _MEANINGS["-".join(part for part in code.split("-") if part not in SPLITS)]
