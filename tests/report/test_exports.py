"""CSV: every number of the results, unrounded; and names of files."""

from __future__ import annotations

import csv
import io

from recalign.evaluation.document import Estimate, Panel, Row
from recalign.evaluation.metric import METRICS
from recalign.evaluation.tables import results_table
from recalign.experiment.results import Results
from recalign.report.exports import csv_tables, slugs
from recalign.report.write import missing_table


def test_slugs_are_different_and_harmless() -> None:
    assert slugs(["A b", "a-b", "../..", "", "Ä"]) == ["a-b", "a-b-2", "unnamed", "unnamed-2", "unnamed-3"]


def test_controlled_rows_are_in_no_other_table(results: Results) -> None:
    panel = results.panels[0]
    plain = sum(not row.control for row in panel.rows)
    assert len(results_table(panel).rows) == plain < len(panel.rows)


def test_there_is_no_table_of_nothing() -> None:
    assert missing_table(()) is None


def read(table: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(table.decode())))


def number(text: str) -> float | None:
    return float(text) if text else None


def test_csv_holds_the_numbers_of_the_json_unrounded(results: Results) -> None:
    for panel in results.panels:
        lines = read(csv_tables(results)[f"{panel.name}-results.csv"])
        assert len(lines) == len(panel.rows)
        for line, row in zip(lines, panel.rows, strict=True):
            assert (line["model"], line["shots"]) == (row.model, "" if row.shots is None else str(row.shots))
            for name in METRICS.names():
                estimate = row.metrics.get(name)
                assert number(line[f"{name}_mean"]) == (estimate.mean if estimate else None)
                assert number(line[f"{name}_sd"]) == (estimate.sd if estimate else None)
                assert number(line[f"{name}_ci_low"]) == (estimate.ci[0] if estimate and estimate.ci else None)
            assert number(line["published_auc"]) == row.published.get("auc")
            for name in ("auc", "ndcg"):
                verdict = row.verdicts.get(name)
                assert number(line[f"verdict_{name}_difference"]) == (verdict.difference if verdict else None)


def test_csv_has_the_data_behind_the_figures(results: Results) -> None:
    found = csv_tables(results)
    panel = results.panels[0]
    users = [value for row in panel.rows for value in row.user_auc]
    assert [float(line["auc"]) for line in read(found["movie-users.csv"])] == users
    bins = [each.count for row in panel.rows for each in row.reliability]
    assert [int(line["count"]) for line in read(found["movie-reliability.csv"])] == bins
    losses = [each.loss for row in panel.rows for curve in row.training for each in curve.points]
    assert [float(line["loss"]) for line in read(found["movie-training.csv"])] == losses
    assert [line["reason"] for line in read(found["missing.csv"])] == [each.reason for each in results.missing]


def test_spreadsheets_are_given_no_formulas() -> None:
    row = Row(model="=HYPERLINK(1)", kind="tuned", metrics={"auc": Estimate(mean=-0.5)})
    panel = Panel(name="p", title="P", data="d", split="test", n=10, n_users=5, positive_share=0.5, rows=(row,))
    (line,) = read(csv_tables(Results(name="x", title="x", panels=(panel,)))["p-results.csv"])
    assert line["model"] == "'=HYPERLINK(1)"
    assert line["auc_mean"] == "-0.5"
