"""What became of the samples, and how often the teacher found the truth, next to chance."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from pydantic import BaseModel, ConfigDict
from scipy.special import ndtri

from recalign.cot.cases import CotQuestion
from recalign.llm.budget import cost
from recalign.llm.calls import Calls

MISS: Final = "truth not recommended"


@dataclass(frozen=True, slots=True)
class Rate:
    """A share in [0, 1] with its interval (see `clustered_rate`), and of how many users."""

    value: float
    low: float
    high: float
    users: int


def clustered_rate(hits: Sequence[bool], users: Sequence[str]) -> Rate | None:
    """Share of hits, one per sample, with Wilson's 95 % interval for clustered samples; None without samples.

    Samples of a user are not independent, so n is divided by the design effect: the variance of the share with users
    as the unit (linearised ratio, G/(G-1) corrected), over p(1-p)/n; never below 1. Kish, Survey Sampling (1965).
    """
    n = len(hits)
    if n == 0:
        return None
    _, groups = np.unique(np.asarray(users), return_inverse=True)
    values = np.asarray(hits, dtype=np.float64)
    share, count = float(values.mean()), int(groups.max()) + 1
    effect = 1.0
    if 0 < share < 1 and count > 1:
        residuals = np.bincount(groups, values - share)
        effect = max(1.0, float((residuals**2).sum()) / (n * share * (1 - share)) * count / (count - 1))
    low, high = _wilson(share, n / effect)
    return Rate(share, low, high, count)


def _wilson(share: float, n: float) -> tuple[float, float]:
    z = float(ndtri(0.975))
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


class TeachStatistics(BaseModel):
    """What came of teaching.

    Attributes:
        considered: Positive samples of the source.
        truth_not_in_set: Those skipped, because their candidate set lacks their truth.
        asked: Those that the teacher was asked about; considered = truth_not_in_set + asked.
        valid, hits: Those whose three answers are valid, and of these those whose truth was recommended.
        kept: Those that became data; asked = kept + the sum of `dropped` (reason → samples).
        unknown_entries: Entries of accepted answers that named no known item and were left out.
        hit_rate, hit_low, hit_high: hits / valid with its 95 % interval (`clustered_rate`); None where none is valid.
        chance: Hit rate of a random choice from the same candidate sets; 10/19 for full sets.
        above_chance: Whether the whole interval lies above `chance`.
        users: Users with a valid sample.
        calls, from_ledger: Calls sent in this run, and answers that were in the ledger already.
        failed_attempts: Reason → calls that failed and were tried again or given up.
        prompt_tokens, completion_tokens, cost: Spent through the ledger by all runs; no cost without prices.
        damaged: Rows of the ledger that were damaged, and asked for again.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    considered: int
    truth_not_in_set: int
    asked: int
    valid: int
    hits: int
    kept: int
    dropped: dict[str, int]
    unknown_entries: int
    hit_rate: float | None
    hit_low: float | None
    hit_high: float | None
    chance: float | None
    above_chance: bool
    users: int
    calls: int
    from_ledger: int
    failed_attempts: dict[str, int]
    prompt_tokens: int
    completion_tokens: int
    cost: float | None
    damaged: int

    def lines(self) -> list[str]:
        """For people."""
        lines = [
            f"source samples: {self.considered:,}; truth in the candidate set: {self.asked:,}",
            f"kept: {self.kept:,}" + "".join(f"; {reason}: {count:,}" for reason, count in self.dropped.items()),
        ]
        if self.hit_rate is not None and self.hit_low is not None and self.chance is not None:
            verdict = "above chance" if self.above_chance else "NOT above chance"
            interval = f"[{self.hit_low:.4f}, {self.hit_high:.4f}]"
            of = f"of {self.valid:,} valid samples ({self.users:,} users)"
            lines.append(f"hit rate: {self.hit_rate:.4f} {interval} {of}; chance {self.chance:.4f}: {verdict}")
        if self.prompt_tokens or self.completion_tokens:
            spent = f"spent: {self.prompt_tokens:,} prompt and {self.completion_tokens:,} answer tokens"
            lines.append(spent + (f", cost {self.cost:,.4f}" if self.cost is not None else ""))
            lines.append(f"calls: {self.calls:,}; answers from the ledger: {self.from_ledger:,}")
        if self.failed_attempts:
            listed = ", ".join(f"{count:,} × {reason}" for reason, count in self.failed_attempts.items())
            lines.append(f"failed attempts: {listed}")
        return lines


@dataclass(frozen=True, slots=True)
class TeacherOutcome:
    """What became of a sample: `reason` is empty where it is kept, `hit` None where answers are not valid."""

    user_id: str
    candidates: int
    hit: bool | None
    reason: str
    unknown: int = 0


def count_outcomes(
    outcomes: Sequence[TeacherOutcome], considered: int, recommend: int, calls: Calls[CotQuestion]
) -> TeachStatistics:
    """Count what became of `considered` samples of which `recommend` items each were asked of a teacher."""
    valid = [outcome for outcome in outcomes if outcome.hit is not None]
    rate = clustered_rate([bool(outcome.hit) for outcome in valid], [outcome.user_id for outcome in valid])
    chances = [min(1.0, recommend / outcome.candidates) for outcome in valid]
    chance = sum(chances) / len(chances) if chances else None
    dropped = Counter(outcome.reason for outcome in outcomes if outcome.reason)
    spent = calls.budget.spent
    return TeachStatistics(
        considered=considered,
        truth_not_in_set=considered - len(outcomes),
        asked=len(outcomes),
        valid=len(valid),
        hits=sum(bool(outcome.hit) for outcome in valid),
        kept=sum(not outcome.reason for outcome in outcomes),
        dropped=dict(sorted(dropped.items(), key=lambda entry: (-entry[1], entry[0]))),
        unknown_entries=sum(outcome.unknown for outcome in outcomes),
        hit_rate=rate.value if rate else None,
        hit_low=rate.low if rate else None,
        hit_high=rate.high if rate else None,
        chance=chance,
        above_chance=rate is not None and chance is not None and rate.low > chance,
        users=rate.users if rate else 0,
        calls=calls.counts.sent,
        from_ledger=calls.counts.cached,
        failed_attempts=dict(sorted(calls.failed.items())),
        prompt_tokens=spent.prompt_tokens,
        completion_tokens=spent.completion_tokens,
        cost=cost(spent, calls.config) if calls.ledger else None,
        damaged=calls.ledger.damaged if calls.ledger else 0,
    )
