"""Numbers and names as a reader sees them: fixed digits, a real minus sign, a dash for what is undefined."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

from recalign.baselines.priors import PREFIX
from recalign.evaluation.document import Ends, Estimate, Row

UNDEFINED: Final = "–"


def finite(value: float | None) -> float | None:
    """`value`, or None where it is not a finite number: such a value is undefined, too."""
    return value if value is not None and math.isfinite(value) else None


def fixed(value: float | None, digits: int, *, signed: bool = False) -> str:
    """`value` with `digits` decimals; `signed` shows a plus. Zero has no sign."""
    value = finite(value)
    if value is None:
        return UNDEFINED
    text = f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}"
    if float(text) == 0.0:
        text = text.lstrip("+-")
    return text.replace("-", "−")


def deviation(estimate: Estimate | None) -> str:
    """The sd over seeds as ``±0.012``; empty where there is none."""
    sd = None if estimate is None or finite(estimate.mean) is None else finite(estimate.sd)
    return "" if sd is None else f"±{sd:.3f}"


def ends(pair: Ends | None) -> Ends | None:
    """Both ends of an interval, None unless both are finite."""
    return pair if pair is not None and all(math.isfinite(end) for end in pair) else None


def interval(pair: Ends | None, *, signed: bool = False, digits: int = 3) -> str:
    """An interval as ``[0.610, 0.730]``."""
    known = ends(pair)
    if known is None:
        return UNDEFINED
    return f"[{fixed(known[0], digits, signed=signed)}, {fixed(known[1], digits, signed=signed)}]"


def p_value(value: float | None) -> str:
    """A p-value, small ones as a bound."""
    value = finite(value)
    return UNDEFINED if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def plural(count: int, noun: str) -> str:
    """``1 user``, ``1,000 users``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def prior_name(name: str) -> str:
    """A prior's name in a sentence: without the prefix that the command line needs."""
    return name.removeprefix(PREFIX)


def short_title(row: Row, *, backbone: bool, shots: bool = True) -> str:
    """What a figure or sentence calls a row: its model, and backbone and shots where they distinguish rows."""
    parts = [prior_name(row.model) if row.kind == "prior" else row.model]
    parts += [row.backbone] if backbone and row.backbone else []
    parts += [f"{row.shots}-shot"] if shots and row.shots is not None else []
    return ", ".join(parts)


def several_backbones(rows: Iterable[Row]) -> bool:
    """Whether the backbone distinguishes rows."""
    return len({row.backbone for row in rows if row.backbone}) > 1
