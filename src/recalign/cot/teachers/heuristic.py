"""``heuristic``: the embedded teacher. It needs no network and no model: it counts, and says what it counted.

* Step 1: genres, authors, decades and title words of the liked items (`recalign.cot.preferences`).
* Step 2: the liked items by affinity: how alike they are to the other items of the history.
* Step 3: candidates by their similarity to the history, Σ_h w_h s(h, c), where liked items weigh 1 and disliked ones
  0.3; each is paired with the featured item that it is most alike.

s is the damped cosine of who met both, leaving out all that the user at hand ever did (`recalign.cot.similarity`),
plus a little for genres and authors, which decides where nobody met both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np

from recalign.cot.cases import Case, CotQuestion
from recalign.cot.config import TeachConfig
from recalign.cot.preferences import PreferenceWriter
from recalign.cot.similarity import UNKNOWN, Float, Int, ItemSimilarity
from recalign.cot.teachers import TeacherPlugin
from recalign.data.samples import SampleSet
from recalign.llm.base import Completion
from recalign.prompting.rendering import quoted
from recalign.prompting.titles import clean_title

_VERSION: Final = 1
_DISLIKED: Final = 0.3  # what a disliked item still says of what its user looks at
_CONTENT: Final = 0.05
_CHUNK: Final = 4096  # cases whose similarities are held at once

_Choice = tuple[tuple[int, ...], tuple[tuple[int, int], ...]]  # featured places; (history place, candidate place)


class HeuristicTeacher:
    """Answers from statistics of the source's own interactions."""

    ledgered = False
    max_concurrency = None
    name = "heuristic"

    def __init__(self, samples: SampleSet, config: TeachConfig) -> None:
        """Count what the split of `config` shows. Raises ConfigError without sentences in the domain's language."""
        self._config, self._catalog, self._fingerprint = config, samples.catalog, samples.fingerprint
        self._writer = PreferenceWriter(samples.catalog, samples.domain)
        self._similarity = ItemSimilarity(samples, config.split, seed=config.seed)
        self._choices: dict[Case, _Choice] = {}

    @property
    def settings(self) -> Mapping[str, object]:
        """Version of the method, and the data that its statistics come from."""
        return {"version": _VERSION, "data": self._fingerprint, "split": self._config.split, "seed": self._config.seed}

    def prepare(self, cases: Sequence[Case]) -> None:
        """Compute all answers at once, which is much faster than singly. The answers are the same."""
        for start in range(0, len(cases), _CHUNK):
            chunk = cases[start : start + _CHUNK]
            self._choices.update(zip(chunk, self._choose(chunk), strict=True))

    async def close(self) -> None:
        """Nothing to close."""

    async def complete(self, question: CotQuestion) -> Completion:
        """Answer; never fails."""
        case = question.case
        if question.step == 1:
            return Completion(self._writer.write(case.history))
        featured, pairs = self._choices.get(case) or self._choose([case])[0]
        history = [self._text(entry.item_id) for entry in case.history]
        if question.step == 2:
            return Completion(_numbered(history[place] for place in featured))
        candidates = [self._text(item) for item in case.candidates]
        return Completion(_numbered(f"{history[watched]} - {candidates[place]}" for watched, place in pairs))

    def _text(self, item_id: str) -> str:
        return quoted(clean_title(self._catalog.text(item_id)))

    def _choose(self, cases: Sequence[Case]) -> list[_Choice]:
        users = [case.user_id for case in cases]
        history = self._padded([[entry.item_id for entry in case.history] for case in cases])
        candidates = self._padded([case.candidates for case in cases])
        weights = np.zeros(history.shape, dtype=np.float32)
        for row, case in enumerate(cases):
            weights[row, : len(case.history)] = [1.0 if entry.liked else _DISLIKED for entry in case.history]
        both = np.concatenate([history, candidates], axis=1)
        alike = self._similarity.met_by_others(users, history, both)
        alike += _CONTENT * self._similarity.content(history, both)
        within, across = alike[:, :, : history.shape[1]], alike[:, :, history.shape[1] :]
        return [self._choice(case, weights[row], within[row], across[row]) for row, case in enumerate(cases)]

    def _padded(self, lists: Sequence[Sequence[str]]) -> Int:
        width = max(1, max(len(ids) for ids in lists))
        codes = np.full((len(lists), width), UNKNOWN, dtype=np.int64)
        for row, ids in enumerate(lists):
            codes[row, : len(ids)] = self._similarity.codes(ids)
        return codes

    def _choice(self, case: Case, weights: Float, within: Float, across: Float) -> _Choice:
        """Featured items and pairs of one case; ties go to the newer history item and the earlier candidate."""
        n_history, n_candidates = len(case.history), len(case.candidates)
        within = within[:n_history, :n_history] * (1 - np.eye(n_history, dtype=np.float32))
        affinity = within @ weights[:n_history]
        liked = [place for place, entry in enumerate(case.history) if entry.liked]
        eligible = liked or list(range(n_history))
        featured = sorted(eligible, key=lambda place: (-float(affinity[place]), -place))[: self._config.featured]
        across = across[:n_history, :n_candidates]
        ranked = np.argsort(-(weights[:n_history] @ across), kind="stable")[: self._config.recommend]
        partners = np.argmax(across[featured], axis=0) if featured else []
        return tuple(featured), tuple((featured[partners[place]], int(place)) for place in ranked)


def _numbered(lines: Iterable[str]) -> str:
    return "\n".join(f"{number}. {line}" for number, line in enumerate(lines, start=1))


PLUGIN = TeacherPlugin(make=lambda samples, config, model: HeuristicTeacher(samples, config))
