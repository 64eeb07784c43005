"""An endpoint in a results table: measured on what it answered, beside others on the same samples."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from recalign.baselines.in_context_config import InContextConfig
from recalign.baselines.priors import prior
from recalign.data.samples import HistoryEntry, Sample, SampleSet
from recalign.errors import ConfigError, DataError
from recalign.experiment.evaluation import compute_metrics
from recalign.experiment.in_context import EndpointEvaluation, evaluate_endpoint
from recalign.experiment.score_file import ScoreFile, score_split
from recalign.experiment.tables import results_table
from recalign.testing.data import write_sample_set
from recalign.testing.scripted_teacher import Reply, ScriptedTeacher

TITLES = {str(number): f"Title {number}" for number in range(8)}
LIKE_RATE = prior("like-rate")


@pytest.fixture
def data(tmp_path: Path) -> SampleSet:
    def sample(number: int) -> Sample:
        history = tuple(HistoryEntry(str(k), (number + k) % 3 == 0) for k in range(1 + number % 4))
        return Sample(f"s{number}", f"u{number % 7}", str(number % 8), number % 2, history)

    splits = {"train": [sample(number) for number in range(30, 36)], "test": [sample(number) for number in range(24)]}
    return write_sample_set(tmp_path / "data", TITLES, splits)


@pytest.fixture
def server() -> Iterator[ScriptedTeacher]:
    """Refuses the first question, answers "no" to the second and "yes" to all others."""
    with ScriptedTeacher([Reply.refused(), Reply.ok("No.")], default=Reply.ok("Yes.")) as running:
        yield running


def ask(
    data: SampleSet, server: ScriptedTeacher, ledger: Path, split: str = "test", **options: Any
) -> EndpointEvaluation:
    limit = options.pop("limit", None)
    config = InContextConfig(teacher="openai:m", base_url=server.base_url, concurrency=1, attempts=1, limit=limit)
    return evaluate_endpoint(data, split, config, ledger, [LIKE_RATE], resamples=20, **options)


def test_others_are_measured_on_the_answered_samples(data: SampleSet, server: ScriptedTeacher, tmp_path: Path) -> None:
    found = ask(data, server, tmp_path / "ledger", output=tmp_path / "scores.parquet", name="m")
    answered = [f"s{number}" for number in range(1, 24)]
    assert found.model.scores.frame["sample_id"].to_list() == answered
    assert ScoreFile.read(tmp_path / "scores.parquet").frame.equals(found.model.scores.frame)
    whole = score_split(LIKE_RATE, data, "test")
    by_hand = ScoreFile(whole.frame[1:], whole.log_odds, "test", data.fingerprint)
    assert found.others[0].metrics["auc"] == compute_metrics(by_hand, resamples=20)["auc"]
    assert found.others[0].metrics["n"] == 23
    right = sum((number != 1) == (number % 2 == 1) for number in range(1, 24)) / 23
    assert found.note.startswith(
        f"m: 24 samples asked, 23 answered ({right:.1%} as the user did), excluded: 1 refusal."
    )
    counts = found.as_json()
    assert (counts["asked"], counts["answered"], counts["excluded"]) == (24, 23, {"refusal": 1})
    table = results_table([found.model, *found.others], resamples=20)
    assert table.rows[0].verdict is not None
    assert table.rows[0].verdict.prior == "prior:like-rate"


def test_a_limit_draws_samples_by_seed_and_keeps_their_order(
    data: SampleSet, server: ScriptedTeacher, tmp_path: Path
) -> None:
    drawn = []
    for run, seed in enumerate((1, 1, 2)):
        found = ask(data, server, tmp_path / f"ledger{run}", limit=8, seed=seed, demonstrations=2)
        assert found.answers.asked == 8
        drawn.append([*found.model.scores.frame["sample_id"].to_list()])
        assert found.model.metrics["seed"] == seed
        order = [int(name[1:]) for name in drawn[-1]]
        assert order == sorted(order)
    assert set(drawn[0]) <= set(drawn[1])  # the first run's first question was refused
    assert drawn[1] != drawn[2]


def test_what_cannot_be_asked_is_told_before_anything_is_sent(
    data: SampleSet, server: ScriptedTeacher, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="split 'tset'"):
        ask(data, server, tmp_path / "ledger", split="tset")
    with pytest.raises(DataError, match="split 'valid' of the data; found no samples"):
        ask(data, server, tmp_path / "ledger", split="valid")
    with pytest.raises(DataError, match="at least K = 7"):
        ask(data, server, tmp_path / "ledger", demonstrations=7)
    assert server.requests == []
    assert not (tmp_path / "ledger").exists()


def tokens(share: float) -> Reply:
    shares = {"Yes": share, "No": 0.95 - share, "I": 0.05}
    said = max(("Yes", "No"), key=lambda label: shares[label])
    return Reply.tokens([(said, {token: math.log(each) for token, each in shares.items()}), (".", {".": 0.0})])


def test_probabilities_have_a_log_loss(data: SampleSet, tmp_path: Path) -> None:
    shares = [0.05 + 0.9 * (number / 24) for number in range(24)]
    alone = Reply.tokens([("No", {"No": -0.1, "I": -3.0})])
    with ScriptedTeacher([Reply.refused(), alone, *map(tokens, shares[2:])]) as server:
        found = ask(data, server, tmp_path / "ledger", output=tmp_path / "scores.parquet", name="m")
    assert found.model.metrics["logloss"] is not None
    assert found.model.metrics["label_mass"] == pytest.approx((22 * 0.95 + math.exp(-0.1)) / 23)
    assert found.model.metrics["reasons"]["temperature"] == "an endpoint is asked about one split"
    stored = ScoreFile.read(tmp_path / "scores.parquet")
    assert stored.log_odds
    odds = iter([None, -3.0 + 0.1, *(math.log(share) - math.log(0.95 - share) for share in shares[2:])])
    told = dict[tuple[object, ...], float | None]()  # by question: equal ones are asked once
    for sample in data.samples("test"):
        question = (sample.item_id, *sample.history)
        if question not in told:
            told[question] = next(odds)
    expected = [told[sample.item_id, *sample.history] for sample in data.samples("test")]
    assert len(told) < len(expected)
    assert stored.frame["score"].to_list() == pytest.approx(expected[1:])
    bound = "23 scored by the labels' probabilities (in 1 of them a bound: one label was not listed), 0 by the answer."
    assert bound in found.note
    counts = found.as_json()
    assert counts["scored_by"] == {"probability": 23, "answer": 0}
    assert counts["logprobs"] == {"requested": True, "usable": 23, "bounded": 1, "refused": None}


REFUSED = "HTTP 400 (This model does not support the 'logprobs' parameter.)"


@pytest.mark.parametrize(
    ("script", "default", "logprobs", "reason", "usable", "refused"),
    [
        ([], Reply.ok("No."), True, "no answer came with usable probabilities", 0, None),
        ([], tokens(0.3), False, "probabilities were not asked for", 0, None),
        (
            [tokens(0.6)],
            Reply.ok("No."),
            True,
            "1 came with usable probabilities, 23 without, and one AUC takes one kind",
            1,
            None,
        ),
        (
            [],
            Reply.logprobs_refused(Reply.ok("No.")),
            True,
            f"no answer came with usable probabilities; the endpoint refused them: {REFUSED}",
            0,
            REFUSED,
        ),
    ],
)
def test_a_fall_back_to_answers_is_told(
    data: SampleSet,
    tmp_path: Path,
    script: list[Reply],
    default: Reply,
    logprobs: bool,
    reason: str,
    usable: int,
    refused: str | None,
) -> None:
    with ScriptedTeacher(script, default=default) as server:
        found = ask(data, server, tmp_path / "ledger", logprobs=logprobs)
    assert f"0 scored by the labels' probabilities, 24 by the answer ({reason})." in found.note
    assert found.model.metrics["logloss"] is None
    counts = found.as_json()
    assert counts["scored_by"] == {"probability": 0, "answer": 24}
    assert counts["logprobs"] == {"requested": logprobs, "usable": usable, "bounded": 0, "refused": refused}
    assert set(found.model.scores.frame["score"]) <= {-1.0, 1.0}
