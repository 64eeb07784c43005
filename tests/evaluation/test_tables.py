"""Tables: 80 columns, priors marked, the verdict, seeds, Markdown."""

from __future__ import annotations

import io

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from recalign.data.schema import SCORES
from recalign.errors import DataError
from recalign.experiment.evaluation import Evaluation, compute_metrics
from recalign.experiment.score_file import ScoreFile
from recalign.experiment.tables import ResultsTable, results_table


def evaluation(
    model: str, signal: float, seed: int = 0, *, log_odds: bool = True, label: int | None = None
) -> Evaluation:
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
    scores = ScoreFile(pl.DataFrame(columns, schema=SCORES), log_odds, "test", "fingerprint")
    return Evaluation(scores, compute_metrics(scores, resamples=50))


def shown(table: ResultsTable, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    console.print(table.rich())
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


@pytest.fixture(scope="module")
def table() -> ResultsTable:
    return results_table(
        [
            evaluation("strong", 3.0),
            evaluation("weak", 0.1),
            evaluation("prior:like-rate", 1.0),
            evaluation("prior:like-rate+item-mean", 0.8, log_odds=False),
        ],
        notes=["A note."],
        resamples=200,
    )


def test_a_model_is_held_against_the_best_prior(table: ResultsTable) -> None:
    strong, weak, first, second = table.rows
    assert strong.verdict is not None
    assert weak.verdict is not None
    assert strong.verdict.beats
    assert not weak.verdict.beats
    assert strong.verdict.prior == weak.verdict.prior == "prior:like-rate"
    assert strong.verdict.interval is not None
    assert strong.verdict.interval.low > 0
    assert first.verdict is second.verdict is None
    assert first.is_prior
    assert not strong.is_prior


def test_p_values_are_corrected_for_the_number_of_models(table: ResultsTable) -> None:
    alone = results_table([evaluation("strong", 3.0), evaluation("prior:like-rate", 1.0)], resamples=200)
    assert table.rows[0].verdict is not None
    assert alone.rows[0].verdict is not None
    assert table.rows[0].verdict.p_value == pytest.approx(2 * alone.rows[0].verdict.p_value)  # type: ignore[operator]


def test_it_fits_into_80_columns_and_shows_every_figure(table: ResultsTable) -> None:
    text = shown(table)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    assert "…" not in text
    for row in table.rows:
        assert row.auc is not None
        assert f"{row.auc.mean:.4f}" in text
        assert row.labelled_ndcg is not None
        assert f"{row.labelled_ndcg.mean:.4f}" in text
    assert "prior:like-rate+item-mean" in text
    assert "yes" in text
    assert "no" in text
    assert "200 samples of 40 users" in text


def test_long_names_are_folded_not_cut() -> None:
    name = "a-model-with-a-name-of-more-than-forty-characters"
    text = shown(results_table([evaluation(name, 1.0), evaluation("prior:like-rate", 1.0)], resamples=20))
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    assert name in "".join(line.split(" ")[0] for line in text.splitlines())


def test_seeds_of_one_model_share_a_row_with_mean_and_sd() -> None:
    seeds = [evaluation("model", 1.0, seed) for seed in range(3)]
    table = results_table([*seeds, evaluation("prior:like-rate", 0.2)], resamples=50)
    values = [each.metrics["auc"] for each in seeds]
    row = table.rows[0]
    assert row.seeds == 3
    assert row.auc is not None
    assert row.auc.mean == pytest.approx(np.mean(values))
    assert row.auc.sd == pytest.approx(np.std(values, ddof=1))
    assert row.verdict is not None
    assert row.verdict.difference == pytest.approx(np.mean(values) - table.rows[1].auc.mean)  # type: ignore[union-attr]
    text = shown(table)
    assert f"{row.auc.mean:.4f}" in text
    assert f"±{row.auc.sd:.3f}" in text
    assert f"| {row.auc.mean:.4f} ±{row.auc.sd:.3f} |" in table.markdown()
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    assert "(3 seeds)" in text


def test_markdown_has_all_rows_and_sentences(table: ResultsTable) -> None:
    text = table.markdown()
    lines = text.splitlines()
    assert lines[0].count("|") == lines[1].count("|") == 9
    assert all(line.count("|") == 9 for line in lines[:6])
    assert "strong: AUC +" in text
    assert "against prior:like-rate" in text
    assert "p < 0.001" in text or "p 0.0" in text
    assert "A note." in text
    assert "200 samples of 40 users" in text


def test_undefined_figures_are_dashes() -> None:
    table = results_table([evaluation("m", 1.0, label=1, log_odds=False), evaluation("prior:like-rate", 1.0, label=1)])
    assert table.rows[0].auc is table.rows[0].auc_interval is table.rows[0].gauc is table.rows[0].verdict is None
    assert shown(table).count("–") >= 6


def test_without_priors_there_is_no_verdict() -> None:
    assert results_table([evaluation("m", 1.0)], resamples=10).rows[0].verdict is None


def test_names_from_strangers_are_inert() -> None:
    table = results_table([evaluation("[red]m\x1b[31m|x", 1.0), evaluation("prior:like-rate", 1.0)], resamples=10)
    assert "\x1b" not in shown(table)
    assert "[red]m|x" in shown(table)
    assert r"[red]m\|x" in table.markdown()


def test_nothing_to_show_or_other_samples_are_errors() -> None:
    with pytest.raises(DataError, match="no evaluations"):
        results_table([])
    other = evaluation("prior:like-rate", 1.0)
    fewer = ScoreFile(other.scores.frame.head(100), True, "test", "fingerprint")
    with pytest.raises(DataError, match="same sample ids"):
        results_table([evaluation("m", 1.0), Evaluation(fewer, compute_metrics(fewer, resamples=10))])
