"""Tables, sentences and CSV: what stands where, what is dimmed, what is undefined."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from recalign.experiment.study import Measured, Metrics, Panel, Row, Study, Verdict
from recalign.report import tables
from recalign.report.exports import csv_tables
from recalign.report.formats import deviation, fixed, interval, p_value, slugs
from recalign.report.summary import summarise


def a_panel(*rows: Row, **more: Any) -> Panel:
    base = {"name": "p", "title": "P", "data": "d", "split": "test", "n": 10, "n_users": 5, "positive_share": 0.5}
    return Panel.model_validate({**base, "gauc_users": 2, **more, "rows": rows})


def a_row(model: str, auc: float | None = None, kind: str = "tuned", **more: Any) -> Row:
    measured = None if auc is None else Measured(mean=auc)
    return Row.model_validate({"model": model, "kind": kind, "metrics": Metrics(auc=measured), **more})


def verdict(difference: float, low: float, high: float) -> Verdict:
    return Verdict(prior="prior:p", difference=difference, interval=(low, high), p_value=0.01, beats=low > 0)


def column(table: tables.Table, heading: str) -> list[str]:
    index = [each.heading for each in table.columns].index(heading)
    return [row.cells[index].text for row in table.rows]


@pytest.mark.parametrize(
    ("value", "signed", "text"),
    [(0.12345, False, "0.123"), (-0.5, False, "−0.500"), (0.5, True, "+0.500"), (-0.0001, True, "0.000"),
     (0.0, True, "0.000"), (None, False, "–"), (float("nan"), False, "–"), (float("inf"), True, "–")],
)  # fmt: skip
def test_numbers(value: float | None, signed: bool, text: str) -> None:
    assert fixed(value, 3, signed=signed) == text


def test_intervals_deviations_p_values() -> None:
    assert interval((-0.01, 0.02), signed=True) == "[−0.010, +0.020]"
    assert interval((float("nan"), 1.0)) == interval(None) == "–"
    assert deviation(Measured(mean=0.5, sd=0.0123)) == "±0.012"
    assert deviation(Measured(mean=0.5)) == deviation(None) == ""
    assert [p_value(each) for each in (0.0001, 0.04, None)] == ["< 0.001", "0.040", "–"]


def test_slugs_are_different_and_harmless() -> None:
    assert slugs(["A b", "a-b", "../..", "", "Ä"]) == ["a-b", "a-b-2", "unnamed", "unnamed-2", "unnamed-3"]


def test_priors_come_first_and_are_dimmed() -> None:
    table = tables.results_table(a_panel(a_row("m", 0.6), a_row("prior:p", 0.7, "prior"), a_row("n", 0.5)))
    assert column(table, "Model") == ["prior:p", "m", "n"]
    assert [row.dim for row in table.rows] == [True, False, False]


def test_what_is_undefined_everywhere_has_no_column_but_a_note() -> None:
    table = tables.results_table(a_panel(a_row("m", 0.6)))
    headings = [each.heading for each in table.columns]
    assert "GAUC" not in headings
    assert "Paper" not in headings
    assert any("No column for GAUC, LogLoss, ECE" in note for note in table.notes)


def test_what_is_undefined_somewhere_is_a_dash() -> None:
    rows = (a_row("m", 0.6, published={"auc": 0.55}), a_row("n"), a_row("k", status="not run", reason="no encoder"))
    table = tables.results_table(a_panel(*rows))
    assert column(table, "AUC") == ["0.6000", "–", "not run"]
    assert column(table, "Paper") == ["0.5500", "–", "–"]
    assert "k: no encoder" in table.notes


def test_one_line_for_the_same_reason_at_all_shots() -> None:
    rows = [a_row("m", status="not run", reason="no encoder", shots=k) for k in (16, 64)]
    assert "m, K = 16, 64: no encoder" in tables.results_table(a_panel(*rows)).notes


def test_refused_questions_are_told() -> None:
    table = tables.results_table(a_panel(a_row("m", 0.6, "in-context", refused=1234)))
    assert "m: 1,234 questions without an answer, left out." in table.notes


def test_controls_stand_beside_the_plain_row() -> None:
    rows = (
        a_row("m", 0.7, shots=64),
        a_row("m", 0.6, shots=64, control="foreign-history"),
        a_row("other", 0.5),
        a_row("only", 0.4, control="foreign-history"),
    )
    table = tables.controls_table(a_panel(*rows))
    assert table is not None
    assert column(table, "Model") == ["m", "only"]
    assert column(table, "As it is") == ["0.7000", "–"]
    assert column(table, "Foreign history") == ["0.6000", "0.4000"]
    assert [row.cells[-1].minor for row in table.rows] == ["−0.100", ""]


def test_controlled_rows_are_in_no_other_table(study: Study) -> None:
    panel = study.panels[0]
    plain = sum(not row.control for row in panel.rows)
    assert len(tables.results_table(panel).rows) == plain < len(panel.rows)


def test_there_is_no_table_of_nothing() -> None:
    panel = a_panel(a_row("m", 0.6))
    assert tables.controls_table(panel) is None
    assert tables.ranking_table(panel) is None
    assert tables.comparisons_table(panel) is None
    assert tables.missing_table(()) is None


def test_verdicts_in_words() -> None:
    rows = (
        a_row("prior:p", 0.7, "prior"),
        a_row("up", 0.75, verdict=verdict(0.05, 0.01, 0.09)),
        a_row("level", 0.71, verdict=verdict(0.01, -0.01, 0.03)),
        a_row("down", 0.5, verdict=verdict(-0.2, -0.3, -0.1)),
        a_row("m", status="partial", reason="seeds"),
    )
    found = summarise(a_panel(*rows))
    assert found.headline == "1 of 3 rows beats the best prior (p, AUC 0.700)."
    assert found.sentences == (
        "Above it: up (+0.050, [+0.010, +0.090], p 0.010).",
        "Not to be told apart from it, 1: level (+0.010, [−0.010, +0.030]).",
        "Below it, 1: down (−0.200, [−0.300, −0.100]).",
        "1 row with fewer seeds than planned.",
    )


@pytest.mark.parametrize(
    ("rows", "headline"),
    [
        ((), "No model was compared with a prior here."),
        ((a_row("m", 0.5, verdict=verdict(-0.2, -0.3, -0.1)),), "The only row does not beat the best prior (p)."),
        ((a_row("m", 0.5, verdict=verdict(0.2, 0.1, 0.3)),) * 2, "2 of 2 rows beat the best prior (p)."),
        ((a_row("m", 0.5, verdict=verdict(0.0, -0.1, 0.3)),) * 2, "None of 2 rows beats the best prior (p)."),
    ],
)
def test_headlines(rows: tuple[Row, ...], headline: str) -> None:
    assert summarise(a_panel(*rows)).headline == headline


def read(table: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(table.decode())))


def number(text: str) -> float | None:
    return float(text) if text else None


def test_csv_holds_the_numbers_of_the_json_unrounded(study: Study) -> None:
    for panel in study.panels:
        lines = read(csv_tables(study)[f"{panel.name}-results.csv"])
        assert len(lines) == len(panel.rows)
        for line, row in zip(lines, panel.rows, strict=True):
            assert (line["model"], line["shots"]) == (row.model, "" if row.shots is None else str(row.shots))
            for name in Metrics.model_fields:
                measured = getattr(row.metrics, name)
                assert number(line[f"{name}_mean"]) == (measured.mean if measured else None)
                assert number(line[f"{name}_sd"]) == (measured.sd if measured else None)
                assert number(line[f"{name}_ci_low"]) == (measured.ci[0] if measured and measured.ci else None)
            assert number(line["published_auc"]) == row.published.get("auc")
            assert number(line["verdict_difference"]) == (row.verdict.difference if row.verdict else None)


def test_csv_has_the_data_behind_the_figures(study: Study) -> None:
    found = csv_tables(study)
    panel = study.panels[0]
    users = [value for row in panel.rows for value in row.user_auc]
    assert [float(line["auc"]) for line in read(found["movie-users.csv"])] == users
    bins = [each.count for row in panel.rows for each in row.reliability]
    assert [int(line["count"]) for line in read(found["movie-reliability.csv"])] == bins
    losses = [each.loss for row in panel.rows for curve in row.training for each in curve.points]
    assert [float(line["loss"]) for line in read(found["movie-training.csv"])] == losses
    assert [line["reason"] for line in read(found["missing.csv"])] == [each.reason for each in study.missing]


def test_spreadsheets_are_given_no_formulas() -> None:
    panel = a_panel(a_row("=HYPERLINK(1)", -0.5))
    (line,) = read(csv_tables(Study(name="x", title="x", panels=(panel,)))["p-results.csv"])
    assert line["model"] == "'=HYPERLINK(1)"
    assert line["auc_mean"] == "-0.5"
