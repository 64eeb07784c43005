"""An endpoint in a results table: measured on what it answered, beside others on the same samples."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from recalign.baselines.config import InContextConfig
from recalign.baselines.priors import prior
from recalign.data.samples import HistoryEntry, Sample, SampleSet
from recalign.errors import ConfigError, DataError
from recalign.evaluation import sentences
from recalign.evaluation.document import Answered, Panel
from recalign.evaluation.in_context import evaluate_endpoint
from recalign.evaluation.score import score_split
from recalign.evaluation.score_file import ScoreFile
from recalign.metrics.classification import auc
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


def ask(data: SampleSet, server: ScriptedTeacher, ledger: Path, split: str = "test", **options: Any) -> Panel:
    limit = options.pop("limit", None)
    config = InContextConfig(teacher="openai:m", base_url=server.base_url, concurrency=1, attempts=1, limit=limit)
    return evaluate_endpoint(data, split, config, ledger, resamples=20, **options)


def answered(panel: Panel) -> Answered:
    assert panel.answered is not None
    return panel.answered


def test_priors_are_measured_on_the_answered_samples(data: SampleSet, server: ScriptedTeacher, tmp_path: Path) -> None:
    found = ask(data, server, tmp_path / "ledger", output=tmp_path / "scores.parquet", name="m")
    frame = ScoreFile.read(tmp_path / "scores.parquet").frame
    assert frame["sample_id"].to_list() == [f"s{number}" for number in range(1, 24)]
    model, *priors = found.rows
    assert (model.model, model.kind) == ("m", "in-context")
    by_hand = score_split(LIKE_RATE, data, "test").frame[1:]
    like_rate = next(row for row in priors if row.model == "prior:like-rate")
    assert like_rate.mean("auc") == pytest.approx(auc(by_hand["label"], by_hand["score"]), rel=1e-5)
    assert found.n == 23
    right = sum((number != 1) == (number % 2 == 1) for number in range(1, 24)) / 23
    counts = answered(found)
    assert sentences.answered(counts, found.n).startswith(
        f"24 samples asked, 23 answered ({right:.1%} as the user did), excluded: 1 refusal."
    )
    assert (counts.asked, counts.excluded) == (24, {"refusal": 1})
    assert model.verdicts["auc"].prior in {row.model for row in priors}


def test_a_limit_draws_samples_by_seed_and_keeps_their_order(
    data: SampleSet, server: ScriptedTeacher, tmp_path: Path
) -> None:
    drawn = []
    for run, seed in enumerate((1, 1, 2)):
        output = tmp_path / f"scores{run}"
        found = ask(data, server, tmp_path / f"ledger{run}", limit=8, seed=seed, demonstrations=2, output=output)
        assert answered(found).asked == 8
        frame = ScoreFile.read(output).frame
        drawn.append(frame["sample_id"].to_list())
        assert frame["seed"].unique().to_list() == [seed]
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
    model = found.rows[0]
    assert model.mean("logloss") is not None
    assert model.mean("label-mass") == pytest.approx((22 * 0.95 + math.exp(-0.1)) / 23, rel=1e-5)
    assert model.metrics["temperature"].reason == "an endpoint is asked about one split"
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
    assert bound in sentences.answered(answered(found), found.n)
    counts = answered(found)
    assert counts.by_probability == 23
    assert (counts.requested, counts.usable, counts.bounded, counts.refused) == (True, 23, 1, "")


REFUSED = "HTTP 400 (This model does not support the 'logprobs' parameter.)"


@pytest.mark.parametrize(
    ("script", "default", "logprobs", "reason", "usable", "refused"),
    [
        ([], Reply.ok("No."), True, "no answer came with usable probabilities", 0, ""),
        ([], tokens(0.3), False, "probabilities were not asked for", 0, ""),
        (
            [tokens(0.6)],
            Reply.ok("No."),
            True,
            "1 came with usable probabilities, 23 without, and one AUC takes one kind",
            1,
            "",
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
    refused: str,
) -> None:
    with ScriptedTeacher(script, default=default) as server:
        output = tmp_path / "scores"
        found = ask(data, server, tmp_path / "ledger", logprobs=logprobs, output=output)
    counts = answered(found)
    expected = f"0 scored by the labels' probabilities, 24 by the answer ({reason})."
    assert expected in sentences.answered(counts, found.n)
    assert found.rows[0].mean("logloss") is None
    assert counts.by_probability == 0
    assert (counts.requested, counts.usable, counts.bounded, counts.refused) == (logprobs, usable, 0, refused)
    assert set(ScoreFile.read(output).frame["score"]) <= {-1.0, 1.0}
