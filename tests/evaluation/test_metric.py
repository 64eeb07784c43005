"""The metric table: every record is complete, and a metric of another package needs no other line of code."""

from __future__ import annotations

import importlib.metadata
import io
import math

import polars as pl
import pytest
from rich.console import Console

from recalign.evaluation import metric as module
from recalign.evaluation.document import PanelFacts
from recalign.evaluation.metric import METRICS, Metric, Observed, Value, deciding, ordered_metrics
from recalign.evaluation.panel import build_panel, sample_counts
from recalign.evaluation.render import print_panel
from recalign.experiment.results import Figure, Results
from recalign.report.exports import csv_tables

from .made_up import TESTED, frame, sampled, scored, tuned
from .made_up import rows as scored_rows

BUILT_IN = {
    *("auc", "unseen-auc", "gauc", "labelled-ndcg", "logloss", "ece", "accuracy", "temperature"),
    *("logloss-calibrated", "ece-calibrated", "label-mass", "ndcg", "recall", "mrr"),
}


def test_the_built_in_metrics_are_there_and_say_what_they_are() -> None:
    assert set(METRICS.names()) == BUILT_IN
    positions = [metric.position for _, metric in METRICS.all()]
    assert len(set(positions)) == len(positions), "their order is not left to chance"
    for _, metric in METRICS.all():
        assert metric.meaning.endswith(".")
        assert len(metric.heading) <= 9 or not metric.column
        assert metric.statistic is not None or not metric.decides
    assert len({metric.title for _, metric in METRICS.all()}) == len(BUILT_IN)
    assert [name for name, _ in deciding()] == ["auc", "ndcg"]
    assert [name for name, _ in deciding("candidates")] == ["ndcg"]


def test_values_by_hand() -> None:
    observed = Observed(
        pl.DataFrame(
            {
                "user_id": ["u", "u", "v", "v"], "label": [1, 0, 0, 0], "score": [2.0, -2.0, 2.0, -2.0],
                "label_mass": [0.5, 0.7, 0.9, 0.1], "temperature": [2.0] * 4,
            },
        )
    )  # fmt: skip

    def value(name: str, of: Observed = observed) -> float | None:
        found = METRICS.find(name).value(of)
        return None if found is None else found.value

    assert value("auc") == value("unseen-auc") == 2.5 / 3  # the liked item ties with one disliked item and beats two
    gauc, ndcg = METRICS.find("gauc").value(observed), METRICS.find("labelled-ndcg").value(observed)
    assert gauc is not None
    assert ndcg is not None
    assert (gauc.value, gauc.counts) == (1.0, {"users": 1})
    assert (ndcg.value, ndcg.counts) == (1.0, {"users": 1, "excluded": 1})
    assert value("accuracy") == 0.75
    assert value("logloss") == pytest.approx((3 * math.log1p(math.exp(-2)) + math.log1p(math.exp(2))) / 4)
    p, half = 1 / (1 + math.exp(-2)), 1 / (1 + math.exp(-1))
    assert value("ece") == pytest.approx((abs(2 * p - 1) + 2 * (1 - p)) / 4)
    assert value("temperature") == 2.0
    assert value("logloss-calibrated") == pytest.approx((3 * math.log1p(math.exp(-1)) + math.log1p(math.exp(1))) / 4)
    assert value("ece-calibrated") == pytest.approx((abs(2 * half - 1) + 2 * (1 - half)) / 4)
    assert value("label-mass") == pytest.approx(0.55)
    assert value("label-mass", Observed(observed.frame.drop("label_mass"))) is None
    bare = Observed(observed.frame.with_columns(temperature=pl.lit(None, pl.Float64)), "nobody asked")
    for name in ("temperature", "logloss-calibrated", "ece-calibrated"):
        assert METRICS.find(name).value(bare) == Value(None, "nobody asked")


def test_values_over_lists_by_hand() -> None:
    lists = pl.DataFrame(
        {"sample_id": ["a", "b"], "user_id": ["u", "v"], "ndcg": [1.0, 0.5], "recall": [1.0, 0.0], "mrr": [0.2, 0.4]}
    )
    found = {name: METRICS.find(name).value(Observed(lists)) for name in ("ndcg", "recall", "mrr")}
    assert {name: value.value for name, value in found.items() if value} == {
        "ndcg": 0.75, "recall": 0.5, "mrr": pytest.approx(0.3),
    }  # fmt: skip


def _liked_rank(observed: Observed) -> Value:
    """Share of the liked samples that are among the first half."""
    ranked = observed.frame.sort("score", descending=True).head(observed.frame.height // 2)
    return Value(float(ranked["label"].sum() / observed.frame["label"].sum()))


LIKED_FIRST = Metric("LikedTop", "Share of the liked samples among the first half.", _liked_rank, position=15)


@pytest.fixture
def third_party(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = importlib.metadata.EntryPoint("liked-first", f"{__name__}:LIKED_FIRST", "recalign.metrics")
    monkeypatch.setattr(type(entry), "load", lambda self: LIKED_FIRST)
    monkeypatch.setattr(
        importlib.metadata, "entry_points", lambda group: [entry] if group == "recalign.metrics" else []
    )


@pytest.mark.usefixtures("third_party")
def test_a_metric_of_another_package_is_in_rows_tables_csv_json_and_figures() -> None:
    assert [name for name, _ in ordered_metrics()][1] == "liked-first"
    facts = PanelFacts(name="p", title="P", data="p", split="test", **sample_counts(frame(1.0)))
    found = build_panel(facts, scored_rows((tuned("M"), scored(1.0, 0.8))), TESTED)
    estimate = found.rows[0].metrics["liked-first"]
    expected = [_liked_rank(Observed(sampled(frame(signal, seed)))).value for seed, signal in enumerate((1.0, 0.8))]
    assert estimate.mean == pytest.approx(sum(value or 0.0 for value in expected) / 2, abs=1e-6)
    console = Console(file=io.StringIO(), width=80)
    print_panel(console, found)
    assert f"{estimate.mean:.4f}" in console.file.getvalue()  # type: ignore[attr-defined]
    assert "LikedTop" in console.file.getvalue()  # type: ignore[attr-defined]
    assert '"liked-first"' in found.model_dump_json()
    results = Results(name="r", title="R", panels=(found,))
    assert b"liked-first_mean" in csv_tables(results)["p-results.csv"]
    assert Figure(kind="bars", title="x", panel="p", metric="liked-first", models=("M",)).metric == "liked-first"


def test_a_figure_of_an_unknown_metric_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown metric 'nope', expected accuracy, auc"):
        Figure(kind="bars", title="x", panel="p", metric="nope", models=("M",))


def test_the_group_is_open_by_its_name() -> None:
    assert (METRICS.name, METRICS.package, METRICS.record) == ("metrics", "recalign.evaluation.metrics", Metric)
    assert module.__doc__
