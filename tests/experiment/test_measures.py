"""Statistics of a panel on scores that are made here: Holm by hand, the best prior, pairs, what is undefined."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from recalign.errors import DataError
from recalign.experiment import measures
from recalign.experiment.measures import Rows, Scored, compare_rows, measured_row, verdicts
from recalign.experiment.study import Row
from recalign.metrics.significance import holm, paired_bootstrap

TESTED = measures.Tested(resamples=200)
USERS, EACH = 40, 4


def frame(signal: float, seed: int = 0, users: int = USERS) -> pl.DataFrame:
    """Scores of `users` with two likes and two dislikes each; `signal` separates the labels."""
    rng = np.random.default_rng(seed)
    labels = np.tile([1, 1, 0, 0], users)
    return pl.DataFrame(
        {
            "sample_id": [f"s{index:04}" for index in range(users * EACH)],
            "user_id": [f"u{index // EACH}" for index in range(users * EACH)],
            "label": labels,
            "score": signal * (2 * labels - 1) + rng.normal(size=users * EACH),
        },
        schema_overrides={"label": pl.Int8},
    )


def lists(values: list[float]) -> pl.DataFrame:
    """Values of candidate lists, as `candidate_values` gives them."""
    names = [f"s{index}" for index in range(len(values))]
    columns: dict[str, Any] = {"sample_id": names, "user_id": names, "label": [1] * len(values)}
    return pl.DataFrame(
        {**columns, **dict.fromkeys(("ndcg", "recall", "mrr"), values)}, schema_overrides={"label": pl.Int8}
    )


def rows(*entries: tuple[Row, Scored]) -> Rows:
    return [(measured_row(row, scored, TESTED), scored) for row, scored in entries]


def scored(*signals: float, log_odds: bool = True, seed: int = 0) -> Scored:
    return Scored([frame(signal, seed + place) for place, signal in enumerate(signals)], log_odds, [])


def prior(name: str) -> Row:
    return Row(model=name, kind="prior")


def tuned(name: str, **settings: Any) -> Row:
    return Row(model=name, kind="tuned", backbone="nano", **settings)


def test_verdicts_are_against_the_best_prior_and_adjusted_over_the_rows() -> None:
    found = verdicts(
        rows(
            (prior("prior:low"), scored(0.1)),
            (prior("prior:high"), scored(0.5, seed=5)),
            (tuned("Good"), scored(1.2, 1.1, seed=10)),
            (tuned("Same"), scored(0.5, seed=20)),
            (tuned("Bad"), scored(0.0, seed=30)),
        ),
        TESTED,
    )
    assert [row.verdict for row, _ in found[:2]] == [None, None]
    best = found[1][1].frames
    tests = [paired_bootstrap("auc", each.frames, best, n_resamples=200) for _, each in found[2:]]
    raw = [each.p_value for each in tests if each is not None and each.p_value is not None]
    assert len(raw) == 3
    # by hand: the smallest times 3, the next times 2, the last as it is, never below the one before, never above 1
    order = sorted(range(3), key=lambda place: raw[place])
    expected, running = [0.0] * 3, 0.0
    for factor, place in zip((3, 2, 1), order, strict=True):
        running = expected[place] = max(running, min(1.0, factor * raw[place]))
    judged = [row.verdict for row, _ in found[2:]]
    assert [each.p_value for each in judged if each] == pytest.approx(expected, abs=1e-6)
    assert [each.prior for each in judged if each] == ["prior:high"] * 3
    assert [each.beats for each in judged if each] == [True, False, False]
    for each, test in zip(judged, tests, strict=True):
        assert each is not None
        assert test is not None
        assert each.difference == pytest.approx(test.difference, abs=1e-6)


def test_holm_by_hand() -> None:
    # sorted: .01, .02, .03, .5 times 4, 3, 2, 1 = .04, .06, .06, .5
    assert holm([0.02, 0.5, 0.01, 0.03]) == pytest.approx([0.06, 0.5, 0.04, 0.06])
    assert holm([0.4, 0.9]) == pytest.approx([0.8, 0.9])
    assert holm([0.6, 0.9]) == [1.0, 1.0]


def test_the_best_prior_of_auc_need_not_be_that_of_ranking() -> None:
    first, second, model = scored(0.9), scored(0.2, seed=3), scored(0.9, seed=6)
    first.ranking, second.ranking = [lists([0.1, 0.2, 0.1, 0.2])], [lists([0.5, 0.4, 0.5, 0.4])]
    model.ranking = [lists([0.9, 0.8, 0.9, 0.8]), lists([0.7, 0.8, 0.7, 0.8])]
    found = verdicts(rows((prior("A"), first), (prior("B"), second), (tuned("M"), model)), TESTED)
    row = found[2][0]
    assert row.verdict is not None
    assert row.ranking_verdict is not None
    assert (row.verdict.prior, row.ranking_verdict.prior) == ("A", "B")
    assert row.ranking_verdict.difference == pytest.approx(0.8 - 0.45)
    assert row.ranking_verdict.beats
    assert row.metrics.ndcg is not None
    assert (row.metrics.ndcg.mean, row.metrics.ndcg.n) == (pytest.approx(0.8), 2)


def test_without_priors_or_scores_there_is_no_verdict() -> None:
    nothing = Scored([], True, [])
    assert [row.verdict for row, _ in verdicts(rows((tuned("M"), scored(1.0))), TESTED)] == [None]
    found = verdicts(rows((prior("A"), scored(0.5)), (tuned("M"), nothing)), TESTED)
    assert found[1][0].verdict is None
    assert found[1][0].metrics.auc is None
    assert compare_rows(rows((tuned("M"), nothing), (tuned("N"), scored(1.0))), [("M", "N")], TESTED) == []


def test_only_rows_of_one_place_are_compared() -> None:
    found = compare_rows(
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
    assert [(each.a, each.b) for each in found] == [
        ("M, nano, 16-shot", "N, nano, 16-shot"),
        ("M, nano, 64-shot", "B, 64-shot"),
        ("M, nano, 16-shot, masked-titles", "M, nano, 16-shot"),
    ]
    assert found[0].difference > 0.1
    assert found[0].p_value is not None
    assert found[0].p_value <= 3 * 2 / 201 + 1e-6


def test_a_prior_is_compared_with_every_row_of_a_model() -> None:
    models = (tuned("M", shots=16), scored(0.9)), (tuned("M", shots=64), scored(0.8, seed=1))
    found = compare_rows(rows((prior("prior:A"), scored(0.2)), *models), [("M", "prior:A")], TESTED)
    assert [(each.a, each.b) for each in found] == [("M, nano, 16-shot", "prior:A"), ("M, nano, 64-shot", "prior:A")]
    assert found[0].difference > 0.1


def test_means_are_over_seeds_and_intervals_hold_them() -> None:
    row, _ = rows((tuned("M"), scored(0.5, 0.8, 0.2)))[0]
    value = row.metrics.auc
    assert value is not None
    assert value.ci is not None
    assert value.ci[0] < value.mean < value.ci[1]
    assert (value.n, value.sd is not None) == (3, True)
    single, _ = rows((tuned("M"), scored(0.5)))[0]
    assert single.metrics.auc is not None
    assert single.metrics.auc.sd is None


def test_metrics_of_probabilities_need_probabilities() -> None:
    row, _ = rows((tuned("M"), scored(0.5, log_odds=False)))[0]
    assert (row.metrics.logloss, row.metrics.ece, row.reliability) == (None, None, ())
    row, _ = rows((tuned("M"), scored(0.5, 0.4)))[0]
    assert sum(each.count for each in row.reliability) == 2 * USERS * EACH, "bins are over all seeds"


def test_unseen_titles_are_their_own_column_and_may_be_none() -> None:
    some = frozenset(f"s{index:04}" for index in range(8))
    values = scored(3.0)
    assert measured_row(tuned("M"), values, measures.Tested(100, some)).metrics.unseen_auc is not None
    one_class = frozenset({"s0000", "s0001"})
    assert measured_row(tuned("M"), values, measures.Tested(100, one_class)).metrics.unseen_auc is None
    assert measured_row(tuned("M"), values, measures.Tested(100)).metrics.unseen_auc is None


def test_per_user_aucs_are_averaged_over_seeds_and_leave_out_users_of_one_label() -> None:
    first, second = frame(9.0, users=3), frame(-9.0, users=3).sample(fraction=1.0, shuffle=True, seed=1)
    one_label = pl.col("user_id") == "u1"
    first, second = (
        each.with_columns(pl.when(one_label).then(1).otherwise(pl.col("label")).cast(pl.Int8).alias("label"))
        for each in (first, second)
    )
    row = measured_row(tuned("M"), Scored([first, second], True, []), TESTED)
    assert row.user_auc == (0.5, 0.5), "1 with one seed, 0 with the other"


def test_rows_on_other_samples_are_refused() -> None:
    fewer = Scored([frame(0.5).head(8)], True, [])
    with pytest.raises(DataError, match="same sample ids"):
        verdicts(rows((prior("A"), scored(0.5)), (tuned("M"), fewer)), TESTED)
