"""What came out, in sentences."""

from __future__ import annotations

import pytest

from recalign.evaluation.document import Row, Verdict
from recalign.evaluation.sentences import headline, outcomes

from .test_tables import a_panel, a_row


def verdict(difference: float, low: float, high: float) -> dict[str, Verdict]:
    return {"auc": Verdict(prior="prior:p", difference=difference, interval=(low, high), p_value=0.01, beats=low > 0)}


def test_verdicts_in_words() -> None:
    rows = (
        a_row("prior:p", 0.7, "prior"),
        a_row("up", 0.75, verdicts=verdict(0.05, 0.01, 0.09)),
        a_row("level", 0.71, verdicts=verdict(0.01, -0.01, 0.03)),
        a_row("down", 0.5, verdicts=verdict(-0.2, -0.3, -0.1)),
        a_row("m", status="partial", reason="seeds"),
    )
    panel = a_panel(*rows)
    assert headline(panel) == "1 of 3 rows beats the best prior (p, AUC 0.700)."
    assert outcomes(panel) == [
        "Above it: up (+0.050, [+0.010, +0.090], p 0.010).",
        "Not distinguishable from it, 1: level (+0.010, [−0.010, +0.030], p 0.010).",
        "Below it, 1: down (−0.200, [−0.300, −0.100], p 0.010).",
        "1 row with fewer seeds than planned.",
    ]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ((), "No model was compared with a prior here."),
        ((a_row("m", 0.5, verdicts=verdict(-0.2, -0.3, -0.1)),), "The only row does not beat the best prior (p)."),
        ((a_row("m", 0.5, verdicts=verdict(0.2, 0.1, 0.3)),) * 2, "2 of 2 rows beat the best prior (p)."),
        ((a_row("m", 0.5, verdicts=verdict(0.0, -0.1, 0.3)),) * 2, "None of 2 rows beats the best prior (p)."),
    ],
)
def test_headlines(rows: tuple[Row, ...], expected: str) -> None:
    assert headline(a_panel(*rows)) == expected
