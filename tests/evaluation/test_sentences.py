"""What came out, in sentences."""

from __future__ import annotations

import pytest

from recalign.evaluation.document import Row, Verdict
from recalign.evaluation.sentences import headline, model_verdict, outcomes
from recalign.evaluation.verdicts import ModelVerdict, more_samples

from .test_tables import a_panel, a_row

P = "the best prior, like-rate (the share of liked titles)"


def verdict(difference: float, low: float, high: float) -> dict[str, Verdict]:
    return {"auc": Verdict(prior="prior:p", difference=difference, interval=(low, high), p_value=0.01, beats=low > 0)}


def test_verdicts_in_words() -> None:
    rows = (
        a_row("prior:p", 0.7, "prior"),
        a_row("up", 0.75, verdicts=verdict(0.05, 0.01, 0.09)),
        a_row("level", 0.71, verdicts=verdict(0.01, -0.01, 0.03)),
        a_row("wide", 0.7, verdicts=verdict(0.01, -0.2, 0.2)),
        a_row("down", 0.5, verdicts=verdict(-0.2, -0.3, -0.1)),
        a_row("m", status="partial", reason="seeds"),
    )
    panel = a_panel(*rows)
    assert headline(panel) == "1 of 4 rows beats the best prior (p, AUC 0.700)."
    assert outcomes(panel) == [
        "Above it: up (+0.050, [+0.010, +0.090], p 0.010).",
        "Not distinguishable from it, 1: level (+0.010, [−0.010, +0.030], p 0.010).",
        "Too few samples to judge this row: wide (+0.010, [−0.200, +0.200], p 0.010).",
        "Below it, 1: down (−0.200, [−0.300, −0.100], p 0.010).",
        "1 row with fewer seeds than planned.",
    ]


def test_too_few_samples_name_their_rows_and_a_way_to_more() -> None:
    wide = [a_row(name, 0.7, verdicts=verdict(0.01, -0.2, 0.2)) for name in ("a", "b")]
    panel = a_panel(a_row("prior:p", 0.7, "prior"), *wide)
    assert outcomes(panel)[0].startswith("Too few samples to judge these 2 rows: a (+0.010, ")
    assert "--protocol leave-n-out --holdout 10" in more_samples(panel, "leave-one-out")
    assert more_samples(panel, "leave-n-out") == ""
    enough = a_panel(a_row("prior:p", 0.7, "prior"), a_row("level", 0.71, verdicts=verdict(0.01, -0.01, 0.03)))
    assert more_samples(enough, "leave-one-out") == ""


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ((), "No model was compared with a prior here."),
        ((a_row("m", 0.5, verdicts=verdict(-0.2, -0.3, -0.1)),), "m does not beat the best prior (p)."),
        (
            (a_row("m", 0.5, verdicts=verdict(0.0, -0.1, 0.3)),),
            "Too few samples to judge whether m beats the best prior (p).",
        ),
        ((a_row("m", 0.5, verdicts=verdict(0.2, 0.1, 0.3)),) * 2, "2 of 2 rows beat the best prior (p)."),
        ((a_row("m", 0.5, verdicts=verdict(0.0, -0.1, 0.3)),) * 2, "None of 2 rows beats the best prior (p)."),
    ],
)
def test_headlines(rows: tuple[Row, ...], expected: str) -> None:
    assert headline(a_panel(*rows)) == expected


@pytest.mark.parametrize(
    ("users", "ends", "expected"),
    [
        (60, (-0.01, 0.03), f"On 60 test users this model (AUC 0.71) cannot be told apart from {P}, which has 0.70."),
        (60, (0.01, 0.03), f"On 60 test users this model (AUC 0.71) beats {P}, which has 0.70."),
        (60, (-0.03, -0.01), f"On 60 test users this model (AUC 0.71) is worse than {P}, which has 0.70."),
        (60, (-0.1, 0.1), f"60 test users are too few to judge this model: it has AUC 0.71, and {P}, has 0.70."),
        (1, None, f"1 test user is too few to judge this model: it has AUC 0.71, and {P}, has 0.70."),
    ],
)  # fmt: skip
def test_one_model_in_one_sentence(users: int, ends: tuple[float, float] | None, expected: str) -> None:
    beats = ends is not None and ends[0] > 0
    verdict = Verdict(prior="prior:like-rate", difference=0.01, interval=ends, beats=beats)
    known = ModelVerdict(
        time="", data="f", data_name="d", users=users, metric="AUC", value=0.712, prior_value=0.7, verdict=verdict
    )
    assert model_verdict(known) == expected
