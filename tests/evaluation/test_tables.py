"""Tables: the same cells in 80 columns, as Markdown and for the page; what is dimmed, undefined or left out."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from recalign.data.schema import SCORES
from recalign.errors import DataError
from recalign.evaluation import tables
from recalign.evaluation.cells import Cell, Table, deviation, fixed, interval, p_value
from recalign.evaluation.document import Estimate, Panel, PanelFacts, Row, Unseen, Verdict
from recalign.evaluation.panel import build_panel, sample_counts
from recalign.evaluation.render import print_panel
from recalign.evaluation.rows import RowScores, ScoredRow, TestSettings
from recalign.evaluation.score import NOT_ALLOWED
from recalign.evaluation.score_file import ScoreFile


def score_file(
    model: str, signal: float, seed: int = 0, *, log_odds: bool = True, label: int | None = None
) -> ScoreFile:
    """A model whose scores separate the labels of 200 fixed samples of 40 users by `signal`."""
    labels = np.random.default_rng(7).integers(0, 2, 200) if label is None else np.full(200, label)
    noise = np.random.default_rng([seed, *model.encode()]).normal(size=200)
    columns = {
        "sample_id": [f"s{i}" for i in range(200)],
        "user_id": [f"u{i % 40}" for i in range(200)],
        "item_id": ["i"] * 200,
        "label": labels,
        "score": signal * (labels - 0.5) + noise,
        "model": [model] * 200,
        "seed": [seed] * 200,
    }
    return ScoreFile(pl.DataFrame(columns, schema=SCORES), log_odds, "test", "fingerprint")


def row(*seeds: ScoreFile) -> ScoredRow:
    name = seeds[0].frame["model"][0]
    kind = "prior" if name.startswith("prior:") else "other"
    numbers = tuple(range(len(seeds))) if kind == "other" else ()
    return ScoredRow(Row(model=name, kind=kind, seeds=numbers), RowScores.of([[file] for file in seeds]))


def panel(*rows: ScoredRow, resamples: int = 50) -> Panel:
    counts = sample_counts(rows[0].scores.samples[0])
    facts = PanelFacts(name="p", title="P", data="p", split="test", **counts)
    return build_panel(facts, rows, TestSettings(resamples))


def shown(found: Panel) -> str:
    console = Console(file=io.StringIO(), width=80, highlight=False)
    print_panel(console, found)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


@pytest.fixture(scope="module")
def found() -> Panel:
    return panel(
        row(score_file("strong", 3.0)),
        row(score_file("weak", 0.1)),
        row(score_file("prior:like-rate", 1.0)),
        row(score_file("prior:like-rate+item-mean", 0.8, log_odds=False)),
        resamples=200,
    )


def test_a_model_is_held_against_the_best_prior(found: Panel) -> None:
    strong, weak, first, second = (entry.verdicts.get("auc") for entry in found.rows)
    assert strong is not None
    assert weak is not None
    assert strong.beats
    assert not weak.beats
    assert strong.prior == weak.prior == "prior:like-rate"
    assert strong.interval is not None
    assert strong.interval[0] > 0
    assert first is second is None


def test_it_fits_into_80_columns_and_shows_every_figure(found: Panel) -> None:
    text = shown(found)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    assert "…" not in text
    for entry in found.rows:
        assert f"{entry.mean('auc'):.4f}" in text
        assert f"{entry.mean('labelled-ndcg'):.4f}" in text
    assert "prior:like-rate+item-mean" in text
    assert "yes" in text
    assert "no" in text
    assert "200 samples of 40 users" in text


def test_long_names_are_folded_not_cut() -> None:
    name = "a-model-with-a-name-of-more-than-forty-characters"
    text = shown(panel(row(score_file(name, 1.0)), row(score_file("prior:like-rate", 1.0)), resamples=20))
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    assert name in "".join(line.split(" ")[0] for line in text.splitlines())


def test_seeds_of_one_model_share_a_row_with_mean_and_sd() -> None:
    seeds = [score_file("model", 1.0, seed) for seed in range(3)]
    found = panel(row(*seeds), row(score_file("prior:like-rate", 0.2)))
    values = [panel(row(file), resamples=10).rows[0].mean("auc") for file in seeds]
    auc, prior = found.rows[0].metrics["auc"], found.rows[1].mean("auc")
    assert auc.n == 3
    assert auc.mean == pytest.approx(np.mean(values), abs=2e-6)  # type: ignore[arg-type]
    assert auc.sd == pytest.approx(np.std(values, ddof=1), abs=2e-6)  # type: ignore[arg-type]
    assert auc.mean is not None
    assert prior is not None
    assert found.rows[0].verdicts["auc"].difference == pytest.approx(auc.mean - prior, abs=2e-6)
    text = shown(found)
    assert f"{auc.mean:.4f}" in text
    assert f"±{auc.sd:.3f}" in text
    assert tables.results_table(found).rows[1].cells[2] == Cell(f"{auc.mean:.4f}", f"±{auc.sd:.3f}")
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    assert column(tables.results_table(found), "Seeds") == ["", "3"]


def test_the_terminal_has_all_rows_and_sentences(found: Panel) -> None:
    text = " ".join(shown(found).split())
    assert len(tables.results_table(found).rows) == len(found.rows)
    assert "Above it: strong (+" in text
    assert "the best prior (like-rate, AUC 0." in text
    assert "p < 0.001" in text or "p 0.0" in text
    assert "200 samples of 40 users" in text


def test_undefined_figures_are_dashes_with_a_reason() -> None:
    found = panel(row(score_file("m", 1.0, label=1, log_odds=False)), row(score_file("prior:like-rate", 1.0, label=1)))
    first = found.rows[0]
    assert first.mean("auc") is first.metrics["auc"].ci is first.mean("gauc") is None
    assert first.verdicts == {}
    assert "No column for AUC: every label is positive." in " ".join(shown(found).split())
    assert column(tables.results_table(found), "LogLoss")[1] == "–"
    text = " ".join(shown(found).split())
    assert "m: no LogLoss, ECE, Accuracy, Temperature," in text
    assert "because the scores are an order, not log-odds." in text


def test_without_priors_there_is_no_verdict() -> None:
    assert panel(row(score_file("m", 1.0)), resamples=10).rows[0].verdicts == {}


def test_further_metrics_are_told_below() -> None:
    text = " ".join(shown(panel(row(score_file("m", 1.0)), resamples=10)).split())
    assert "m: Accuracy 0." in text
    assert "no Temperature, LogLoss with temperature, ECE with temperature, because" in text


def test_names_from_strangers_are_inert() -> None:
    found = panel(row(score_file("[red]m\x1b[31m|x", 1.0)), row(score_file("prior:like-rate", 1.0)), resamples=10)
    assert "\x1b" not in shown(found)
    assert "[red]m|x" in shown(found)


def test_nothing_to_show_or_other_samples_are_errors() -> None:
    with pytest.raises(DataError, match="samples to evaluate"):
        sample_counts(score_file("m", 1.0).frame.head(0))
    other = score_file("prior:like-rate", 1.0)
    fewer = ScoreFile(other.frame.head(100), True, "test", "fingerprint")
    with pytest.raises(DataError, match="same sample ids"):
        panel(row(score_file("m", 1.0)), row(fewer))


def a_panel(*rows: Row, **more: Any) -> Panel:
    base = {"name": "p", "title": "P", "data": "d", "split": "test", "n": 10, "n_users": 5, "positive_share": 0.5}
    return Panel.model_validate({**base, **more, "rows": rows})


def a_row(model: str, auc: float | None = None, kind: str = "tuned", **more: Any) -> Row:
    metrics = {} if auc is None else {"auc": Estimate(mean=auc)}
    return Row.model_validate({"model": model, "kind": kind, "metrics": metrics, **more})


def column(table: Table, heading: str) -> list[str]:
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
    assert deviation(Estimate(mean=0.5, sd=0.0123)) == "±0.012"
    assert deviation(Estimate(mean=0.5)) == deviation(None) == ""
    assert [p_value(each) for each in (0.0001, 0.04, None)] == ["< 0.001", "0.040", "–"]


def test_priors_come_first_and_are_dimmed() -> None:
    table = tables.results_table(a_panel(a_row("m", 0.6), a_row("prior:p", 0.7, "prior"), a_row("n", 0.5)))
    assert column(table, "Model") == ["prior:p", "m", "n"]
    assert [each.dim for each in table.rows] == [True, False, False]


def test_what_is_undefined_everywhere_has_no_column_but_a_note() -> None:
    table = tables.results_table(a_panel(a_row("m", 0.6)))
    headings = [each.heading for each in table.columns]
    assert "GAUC" not in headings
    assert "Paper" not in headings
    assert any("No column for GAUC, NDCG@10 of labelled lists, LogLoss, ECE" in note for note in table.notes)


def test_what_is_undefined_somewhere_is_a_dash() -> None:
    rows = (a_row("m", 0.6, published={"auc": 0.55}), a_row("n"), a_row("k", status="not run", reason="no encoder"))
    table = tables.results_table(a_panel(*rows))
    assert column(table, "AUC") == ["0.6000", "–", "not run"]
    assert column(table, "Paper") == ["0.5500", "–", "–"]
    assert "k: no encoder" in table.notes


def test_one_line_for_the_same_reason_at_all_shots() -> None:
    rows = [a_row("m", status="not run", reason="no encoder", shots=k) for k in (16, 64)]
    assert "m, K = 16, 64: no encoder" in tables.results_table(a_panel(*rows)).notes


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
    assert [each.cells[-1].minor for each in table.rows] == ["−0.100", ""]


def test_a_metric_of_a_subset_stands_beside_the_same_metric_of_all_samples() -> None:
    metrics = {"auc": Estimate(mean=0.7), "unseen-auc": Estimate(mean=0.65)}
    found = a_panel(Row(model="m", kind="tuned", metrics=metrics), unseen=Unseen(count=3, data=("source",)))
    table = tables.controls_table(found)
    assert table is not None
    assert column(table, "Unseen titles") == ["0.6500"]
    assert table.rows[0].cells[-1].minor == "−0.050"
    assert table.notes == ("3 of 10 targets have a title that source never showed.",)
    assert "Unseen titles" not in [each.heading for each in tables.results_table(found).columns]


def test_there_is_no_table_of_nothing() -> None:
    found = a_panel(a_row("m", 0.6))
    assert tables.controls_table(found) is None
    assert tables.ranking_table(found) is None
    assert tables.comparisons_table(found) is None


@pytest.mark.parametrize(
    ("interval", "text", "tone"),
    [((0.1, 0.2), "yes", ""), ((-0.2, -0.1), "yes", ""), ((-0.1, 0.2), "not shown", "muted"), (None, "–", "")],
)
def test_a_difference_is_shown_where_its_interval_leaves_out_zero(
    interval: tuple[float, float] | None, text: str, tone: str
) -> None:
    compared = {"a": "m", "b": "n", "metric": "auc", "difference": 0.1, "interval": interval, "p_value": 0.5}
    table = tables.comparisons_table(a_panel(a_row("m", 0.6), comparisons=[compared]))
    assert table is not None
    assert (table.rows[0].cells[-1].text, table.rows[0].cells[-1].tone) == (text, tone)
    assert table.rows[0].cells[2].text == "AUC"


@pytest.mark.parametrize(
    ("ends", "beats", "tone"),
    [((0.1, 0.2), True, "good"), ((-0.2, -0.1), False, "bad"), ((-0.04, 0.06), False, "muted")],
)
def test_the_tone_of_a_verdict_is_its_outcome(ends: tuple[float, float], beats: bool, tone: str) -> None:
    verdict = Verdict(prior="prior:p", difference=0.1, interval=ends, p_value=0.01, beats=beats)
    table = tables.results_table(a_panel(a_row("m", 0.6, verdicts={"auc": verdict})))
    index = [each.heading for each in table.columns].index("Beats prior?")
    cell = table.rows[0].cells[index]
    assert (cell.text, cell.tone) == ("yes" if beats else "no", tone)


@pytest.mark.parametrize(
    ("ends", "text"),
    [((-0.04, 0.07), "too few"), ((-0.04, 0.06), "no"), ((0.01, 0.2), "yes"), ((-0.2, -0.01), "no"), (None, "too few")],
)
def test_what_few_samples_leave_open_is_no_verdict(ends: tuple[float, float] | None, text: str) -> None:
    beats = ends is not None and ends[0] > 0
    verdict = Verdict(prior="prior:p", difference=0.01, interval=ends, p_value=None, beats=beats)
    table = tables.results_table(a_panel(a_row("m", 0.6, verdicts={"auc": verdict})))
    assert column(table, "Beats prior?") == [text]
    assert any(note.startswith("Too few samples: ") for note in table.notes) == (text == "too few")


def test_terms_are_explained_where_they_are_shown(found: Panel) -> None:
    text = " ".join(shown(found).split())
    assert "AUC: 0.5 is guessing, 1 is perfect. " in text
    assert "ECE: their distance from what was liked, 0 is best" in text
    assert "Label mass: " not in text  # no language model


def test_a_temperature_that_was_not_to_be_is_no_remark() -> None:
    file = score_file("m", 1.0)
    unfitted = ScoreFile(file.frame, True, "test", "fingerprint", temperature=NOT_ALLOWED)
    assert "no Temperature" not in shown(panel(row(unfitted), resamples=10))
