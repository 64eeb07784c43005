"""Log-odds of "liked" from the log probabilities of an answer's tokens, at the first token that decides.

At that token, the probabilities of all listed tokens with which the positive answer can begin are summed, likewise of
the negative one ("Yes", " yes", "YES", "Y"; case, spaces and marks around the words are ignored), and the score is the
difference of the logarithms. Where no listed token begins one of the answers, it is given the smallest listed log
probability: an upper bound of its likeliest token, which pulls the score towards 0. Such scores are marked as bounds.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from recalign.data.domain import Domain
from recalign.llm.base import UNTOLD, Completion, TokenLogprobs
from recalign.llm.reading import answer_start, without_thoughts

_WORD: Final = re.compile(r"[^\W_]+")
_LEAST: Final = 2  # listed tokens; one alone says nothing of what it was preferred to


@dataclass(frozen=True, slots=True)
class LabelOdds:
    """What the tokens of an answer say: log p(liked) - log p(not liked), and the listed probability of both in (0, 1].

    It is `bounded` where one answer was not among the listed tokens, so that `score` is a bound.
    """

    score: float
    mass: float
    bounded: bool


def words(text: str) -> list[str]:
    """The words of an answer, whatever their case and the marks around them."""
    return [word.casefold() for word in _WORD.findall(text)]


def label_odds(completion: Completion, domain: Domain, liked: bool) -> LabelOdds | None:
    """Log-odds of an answer that was read as `liked`; None where its tokens do not tell them.

    That is where they do not spell the text, where the place lists one token alone, and where the token that decides
    stands for the other label than the text.
    """
    told, label = completion.logprobs, words(domain.yes if liked else domain.no)
    start = _start(completion, told, len(label)) if told else None
    if told is None or start is None:
        return None
    labels = {True: " ".join(words(domain.yes)), False: " ".join(words(domain.no))}
    said, end = "", 0
    for place in told:
        end += len(place.token)
        if end <= start:
            continue
        decided = _label(said + place.token, labels)
        if decided is not None:
            return _odds(place, said, labels) if decided == liked else None
        said += place.token
    return None


def _odds(decisive: TokenLogprobs, said: str, labels: dict[bool, str]) -> LabelOdds | None:
    """The log-odds at one place; `said` is what of the answer stands before it."""
    listed = list(decisive.top)
    if decisive.token not in (token for token, _ in listed):  # sampled from below the list
        listed.append((decisive.token, decisive.logprob))
    listed = [(token, value) for token, value in listed if value > UNTOLD]
    sides: dict[bool, list[float]] = {True: [], False: []}
    for token, value in listed:
        label = _label(said + token, labels)
        if label is not None:
            sides[label].append(value)
    if len(listed) < _LEAST or not (sides[True] or sides[False]):
        return None
    lowest = min(value for _, value in listed)
    yes, no = (_log_sum(sides[label]) if sides[label] else lowest for label in (True, False))
    mass = sum(math.exp(value) for side in sides.values() for value in side)
    return LabelOdds(yes - no, min(mass, 1.0), not (sides[True] and sides[False]))


def _label(text: str, labels: dict[bool, str]) -> bool | None:
    """The one label that an answer which begins with `text` may still be or is; None for neither and for both."""
    begun = " ".join(words(text))
    if not begun:
        return None
    open_end = bool(_WORD.fullmatch(text[-1]))  # else its last word is complete: "N," is no beginning of "no"
    fits = [
        label
        for label, whole in labels.items()
        if begun == whole
        or begun.startswith(f"{whole} ")
        or whole.startswith(f"{begun} ")
        or (open_end and whole.startswith(begun))
    ]
    return fits[0] if len(fits) == 1 else None


def _start(completion: Completion, told: Sequence[TokenLogprobs], length: int) -> int | None:
    """Where in the tokens' text the answer's first word stands; None where the tokens spell something else.

    Servers may list tokens of thoughts that they do not show, or of their message format, or bytes of letters. So only
    the label itself is looked for after thoughts, and the whole text elsewhere.
    """
    spelled, answer = "".join(place.token for place in told), without_thoughts(completion.text).strip()
    said = list(_WORD.finditer(answer))
    if len(said) < length:
        return None
    rest = spelled[answer_start(spelled) :].lstrip()
    if rest.startswith(answer[: said[length - 1].end()]):
        return len(spelled) - len(rest) + said[0].start()
    place = spelled.rfind(answer)
    return None if place < 0 else place + said[0].start()


def _log_sum(values: Sequence[float]) -> float:
    highest = max(values)
    return highest + math.log(sum(math.exp(value - highest) for value in values))
