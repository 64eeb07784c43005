"""Verdicts and paired comparisons: Holm by hand, the best prior, pairs, what is undefined. P-values come from here."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from recalign.errors import DataError
from recalign.evaluation.document import Difference, Estimate, PanelFacts, Row, Verdict
from recalign.evaluation.metric import Metric, Observed, Value, comparing, deciding
from recalign.evaluation.panel import best_prior, build_panel, compare, judge, sample_counts
from recalign.evaluation.rows import RowScores, ScoredRow
from recalign.metrics.ranking import as_frame
from recalign.metrics.significance import paired_bootstrap

from .made_up import TESTED, frame, lists, prior, rows, sampled, scored, tuned


def verdicts(scored_rows: Sequence[ScoredRow], metric: str = "auc") -> list[Verdict | None]:
    return [each.row.verdicts.get(metric) for each in judge(scored_rows, TESTED)]


def test_verdicts_are_against_the_best_prior_and_adjusted_over_the_rows() -> None:
    entries = rows(
        (prior("prior:low"), scored(0.1)),
        (prior("prior:high"), scored(0.5, seed=5)),
        (tuned("Good"), scored(1.2, 1.1, seed=10)),
        (tuned("Same"), scored(0.5, seed=20)),
        (tuned("Bad"), scored(0.0, seed=30)),
    )
    first, second, *judged = verdicts(entries)
    assert first is second is None
    best = entries[1].scores.samples
    tests = [paired_bootstrap("auc", each.scores.samples, best, n_resamples=200) for each in entries[2:]]
    raw = [each.p_value for each in tests if each is not None and each.p_value is not None]
    assert len(raw) == 3
    # by hand: the smallest times 3, the next times 2, the last as it is, never below the one before, never above 1
    order = sorted(range(3), key=lambda place: raw[place])
    expected, running = [0.0] * 3, 0.0
    for factor, place in zip((3, 2, 1), order, strict=True):
        running = expected[place] = max(running, min(1.0, factor * raw[place]))
    assert [each.p_value for each in judged if each] == pytest.approx(expected, abs=1e-6)
    assert [each.prior for each in judged if each] == ["prior:high"] * 3
    assert [each.beats for each in judged if each] == [True, False, False]
    for each, test in zip(judged, tests, strict=True):
        assert each is not None
        assert test is not None
        assert each.difference == pytest.approx(test.difference, abs=1e-6)


def test_a_second_row_doubles_the_smallest_p_value() -> None:
    like_rate, strong = (prior("prior:like-rate"), scored(0.5)), (tuned("strong"), scored(1.5, seed=1))
    (_, alone), (_, together, _) = (
        verdicts(rows(like_rate, strong)), verdicts(rows(like_rate, strong, (tuned("weak"), scored(0.4, seed=2)))),
    )  # fmt: skip
    assert alone is not None
    assert together is not None
    assert alone.p_value is not None
    assert together.p_value == pytest.approx(2 * alone.p_value, rel=1e-4)


def test_the_best_prior_of_auc_need_not_be_that_of_ranking() -> None:
    entries = rows(
        (prior("A"), scored(0.9, ranking=[lists([0.1, 0.2, 0.1, 0.2])])),
        (prior("B"), scored(0.2, seed=3, ranking=[lists([0.5, 0.4, 0.5, 0.4])])),
        (tuned("M"), scored(0.9, seed=6, ranking=[lists([0.9, 0.8, 0.9, 0.8]), lists([0.7, 0.8, 0.7, 0.8])])),
    )
    by_auc, by_ndcg = verdicts(entries)[2], verdicts(entries, "ndcg")[2]
    assert by_auc is not None
    assert by_ndcg is not None
    assert (by_auc.prior, by_ndcg.prior) == ("A", "B")
    assert by_ndcg.difference == pytest.approx(0.8 - 0.45)
    assert by_ndcg.beats
    ndcg = entries[2].row.metrics["ndcg"]
    assert (ndcg.mean, ndcg.n) == (pytest.approx(0.8), 2)


def test_the_best_prior_is_a_plain_one_with_a_value_and_the_first_of_equals() -> None:
    def with_auc(model: str, value: float | None, **more: str) -> Row:
        return Row.model_validate({"model": model, "kind": "prior", "metrics": {"auc": Estimate(mean=value)}, **more})

    table = [
        with_auc("none", None), with_auc("low", 0.4), with_auc("high", 0.6), with_auc("equal", 0.6),
        with_auc("controlled", 0.9, control="masked-titles"), with_auc("model", 0.9, kind="tuned"),
    ]  # fmt: skip
    names = [best_prior(table, "auc"), best_prior(table, "auc", higher_is_better=False)]
    assert [row.model for row in names if row] == ["high", "low"]
    assert best_prior(table, "gauc") is None


@pytest.mark.parametrize(
    ("interval", "outcome"),
    [((0.1, 0.2), "above"), ((-0.2, -0.1), "below"), ((-0.1, 0.2), "open"), ((0.0, 0.2), "open"), ((-0.2, 0.0), "open"),
     (None, "open")],
)  # fmt: skip
def test_an_outcome_is_where_the_whole_interval_lies(interval: tuple[float, float] | None, outcome: str) -> None:
    assert Difference(difference=0.1, interval=interval).outcome == outcome


def _distance(observed: Observed) -> Value:
    """Mean distance of the score from the label: the lower, the better."""
    frame = observed.frame
    values = (frame["score"] - frame["label"]).abs()
    return Value(float(values.mean()), lists=as_frame(frame["sample_id"], frame["user_id"], values))  # type: ignore[arg-type]


def test_where_lower_is_better_a_row_beats_the_prior_from_below(monkeypatch: pytest.MonkeyPatch) -> None:
    metric = Metric("Distance", "Distance.", _distance, statistic="mean", decides=True, higher_is_better=False)
    monkeypatch.setattr("recalign.evaluation.panel.deciding", lambda: [("distance", metric)])
    monkeypatch.setattr("recalign.evaluation.rows.ordered_metrics", lambda: [("distance", metric)])
    near, far = scored(0.6), scored(6.0)
    entries = rows((prior("far"), far), (prior("middle"), scored(2.0)), (tuned("near"), near), (tuned("far"), far))
    _, _, good, bad = verdicts(entries, "distance")
    assert good is not None
    assert bad is not None
    assert (good.prior, good.outcome, good.beats, good.standing) == ("middle", "below", True, "better")
    assert (bad.prior, bad.outcome, bad.beats, bad.standing) == ("middle", "above", False, "worse")


def test_without_priors_or_scores_there_is_no_verdict() -> None:
    assert verdicts(rows((tuned("M"), scored(1.0)))) == [None]
    entries = rows((prior("A"), scored(0.5)), (tuned("M"), RowScores()))
    assert verdicts(entries)[1] is None
    assert entries[1].row.metrics == {}
    assert compare(rows((tuned("M"), RowScores()), (tuned("N"), scored(1.0))), [("M", "N")], TESTED) == ()


def test_only_rows_of_one_place_are_compared() -> None:
    found = compare(
        rows(
            (tuned("M", shots=16), scored(1.0)),
            (tuned("M", shots=64), scored(1.0, seed=1)),
            (tuned("N", shots=16), scored(0.2, seed=2)),
            (Row(model="N", kind="tuned", backbone="other", shots=16), scored(0.2, seed=3)),
            (Row(model="B", kind="baseline", shots=64), scored(0.2, seed=4)),
            (tuned("M", shots=16, control="masked-titles"), scored(0.5, seed=5)),
            (tuned("N", shots=64, control="masked-titles"), scored(0.5, seed=6)),
        ),
        [("M", "N"), ("M", "B")],
        TESTED,
    )
    assert [(each.a, each.b) for each in found if each.metric == "auc"] == [
        ("M, nano, 16-shot", "N, nano, 16-shot"),
        ("M, nano, 64-shot", "B, 64-shot"),
        ("N, nano, 16-shot", "N, other, 16-shot"),  # the same model on two backbones, without being named
        ("M, nano, 16-shot, masked-titles", "M, nano, 16-shot"),
    ]
    assert found[0].difference > 0.1
    assert found[0].p_value is not None
    assert found[0].p_value <= len(found) * 2 / 201 + 1e-6
    assert len(found) == 8, "also within users"


def test_a_prior_is_compared_with_every_row_of_a_model() -> None:
    models = (tuned("M", shots=16), scored(0.9)), (tuned("M", shots=64), scored(0.8, seed=1))
    found = compare(rows((prior("prior:A"), scored(0.2)), *models), [("M", "prior:A")], TESTED)
    pairs = [("M, nano, 16-shot", "prior:A"), ("M, nano, 64-shot", "prior:A")]
    assert [(each.a, each.b) for each in found if each.metric == "auc"] == pairs
    assert [(each.a, each.b) for each in found if each.metric == "gauc"] == pairs
    assert found[0].difference > 0.1


def test_p_values_of_comparisons_are_adjusted_over_all_of_the_panel() -> None:
    entries = rows((prior("A"), scored(0.2)), (prior("B"), scored(0.1, seed=9)), (tuned("M"), scored(1.5, seed=1)))
    alone, _ = compare(entries, [("M", "A")], TESTED)
    both = compare(entries, [("M", "A"), ("M", "B")], TESTED)
    assert alone.p_value is not None
    assert both[0].p_value == pytest.approx(2 * alone.p_value, rel=1e-4)


def test_rows_on_other_samples_are_refused() -> None:
    fewer = RowScores((sampled(frame(0.5).head(8)),), log_odds=True)
    with pytest.raises(DataError, match="same sample ids"):
        judge(rows((prior("A"), scored(0.5)), (tuned("M"), fewer)), TESTED)


def test_a_model_without_shots_is_compared_with_every_number_of_shots() -> None:
    entries = rows((tuned("Z"), scored(0.4)), (tuned("M", shots=16), scored(0.9)), (tuned("M", shots=64), scored(1.2)))
    found = compare(entries, [("M", "Z")], TESTED)
    assert {(each.a, each.b) for each in found} == {("M, nano, 16-shot", "Z, nano"), ("M, nano, 64-shot", "Z, nano")}
    with_shots = rows(
        (tuned("Z"), scored(0.4)), (tuned("Z", shots=16), scored(0.5)), (tuned("M", shots=16), scored(0.9))
    )
    found = compare(with_shots, [("M", "Z")], TESTED)
    assert {(each.a, each.b) for each in found} == {("M, nano, 16-shot", "Z, nano, 16-shot")}


@pytest.mark.parametrize("names", [("prior:P", "M", "N"), ("M", "N")])
def test_progress_counts_every_row_and_test_and_ends(names: tuple[str, ...]) -> None:
    entries = [
        ScoredRow(prior(name) if name.startswith("prior:") else tuned(name), scored(0.5, seed=place))
        for place, name in enumerate(names)
    ]
    counts = sample_counts(frame(1.0))
    facts, heard = PanelFacts(name="p", title="P", data="p", split="test", **counts), list[tuple[int, int]]()
    panel = build_panel(facts, entries, TESTED, [("M", "N")], lambda *done: heard.append(done))
    assert len(panel.comparisons) == 2  # by AUC and by GAUC; nothing was ranked
    (total,) = {total for _, total in heard}
    told = [done for done, _ in heard]
    assert told == sorted(told)
    assert told[: len(entries)] == list(range(1, len(entries) + 1))
    assert told[-1] == total == len(entries) + 2 * len(deciding()) + len(comparing())
