"""In-context learning through an endpoint: labels are read strictly, the rest is counted and left out."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from recalign.baselines.config import InContextConfig
from recalign.baselines.in_context_endpoint import EndpointAnswers, ask_endpoint, read_label
from recalign.data.domain import Domain
from recalign.data.samples import SampleSet, choose_shots
from recalign.data.schema import SCORES
from recalign.errors import TeacherError
from recalign.llm.base import Completion
from recalign.llm.endpoint import EndpointTeacher
from recalign.testing.scripted_teacher import Reply, ScriptedTeacher

ENGLISH, GERMAN = Domain(noun="movie"), Domain(language="de")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Yes.", True),
        ("no", False),
        ("**No.** The user prefers comedies, yes.", False),
        ('"Yes." because', True),
        ("<think>No idea. Yes?</think>\nNo.", False),
        ("Nothing speaks against it.", "off-schema"),
        ("Noah is a good film for them.", "off-schema"),
        ("The user will say Yes.", "off-schema"),
        ("I'm sorry, but I cannot say yes or no.", "refusal"),
        ("", "empty"),
        ("  \n", "empty"),
    ],
)
def test_the_first_word_decides(text: str, expected: bool | str) -> None:
    assert read_label(Completion(text), ENGLISH) == expected


def test_labels_are_those_of_the_domain() -> None:
    assert read_label(Completion("Ja, sicher."), GERMAN) is True
    assert read_label(Completion("Nein."), GERMAN) is False
    assert read_label(Completion("Yes."), GERMAN) not in (True, False)


def test_refusals_in_fields_of_their_own() -> None:
    assert read_label(Completion("Yes.", refusal="I must not."), ENGLISH) == "refusal"
    assert read_label(Completion("Yes.", finish_reason="content_filter"), ENGLISH) == "refusal"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Yes. The us", True),
        ("**No**, because", False),
        ("Yes", True),
        ("No strong preference is vis", "cut at the length limit"),
        ("Okay, they liked it, no", "cut at the length limit"),
        ("<think>No", "cut at the length limit"),
        ("They like it, so.</think>\n\nNo.", False),
    ],
)
def test_an_answer_that_was_cut_counts_where_it_has_decided(text: str, expected: bool | str) -> None:
    assert read_label(Completion(text, finish_reason="length"), ENGLISH) == expected


def test_thoughts_without_their_opening_tag_are_no_answer() -> None:
    assert read_label(Completion("No. Or rather, they like it.</think>\n\nYes."), ENGLISH) is True


def ask(
    data: SampleSet,
    server: ScriptedTeacher,
    ledger: Path,
    n: int = 6,
    shots: int = 0,
    logprobs: bool = True,
    told: list[str] | None = None,
    **options: Any,
) -> EndpointAnswers:
    settings = {"concurrency": 1, "attempts": 1, "max_tokens": 5, **options}
    config = InContextConfig(teacher="openai:m", base_url=server.base_url, **settings)
    teacher = EndpointTeacher("m", config, environment={})
    demonstrations = choose_shots(data.samples("train"), shots, 0)
    asking: dict[str, Any] = {"template": "tallrec", "logprobs": logprobs}
    asking["announce"] = (lambda line: None) if told is None else told.append
    return ask_endpoint(data.samples("test")[:n], data, teacher, config, ledger, demonstrations, **asking)


def test_answers_become_scores_and_the_rest_is_counted(data: SampleSet, tmp_path: Path) -> None:
    script = [Reply.ok("Yes."), Reply.refused(), Reply.ok("No."), Reply.ok("Perhaps they do."), Reply.error(500)]
    with ScriptedTeacher(script, default=Reply.ok("No.")) as server:
        found = ask(data, server, tmp_path / "ledger")
    samples = data.samples("test")[:6]
    assert found.frame.schema == SCORES
    assert found.frame["sample_id"].to_list() == [samples[n].sample_id for n in (0, 2, 5)]
    assert found.frame["score"].to_list() == [1.0, -1.0, -1.0]
    assert found.frame["label"].to_list() == [samples[n].label for n in (0, 2, 5)]
    assert found.asked == 6
    assert found.excluded == {"no answer": 1, "off-schema": 1, "refusal": 1}
    assert found.asked == found.frame.height + sum(found.excluded.values())


def test_prompts_are_those_of_the_template_and_hold_no_label_of_the_sample(data: SampleSet, tmp_path: Path) -> None:
    with ScriptedTeacher(default=Reply.ok("No.")) as server:
        ask(data, server, tmp_path / "zero", n=2)
        ask(data, server, tmp_path / "two", n=2, shots=2)
    zero, two = server.requests[0].prompt, server.requests[2].prompt
    assert zero.endswith("### Response:\n")
    assert two.endswith(zero)
    assert two.count("### Response:\n") == 3


def test_the_estimate_comes_before_the_first_call(data: SampleSet, tmp_path: Path) -> None:
    told: list[str] = []
    seen: list[tuple[int, int]] = []
    with ScriptedTeacher(default=Reply.ok("No.")) as server:
        teacher_config = InContextConfig(
            teacher="openai:m", base_url=server.base_url, max_tokens=5, price_in=1, price_out=1
        )

        def announce(line: str) -> None:
            assert server.requests == []
            told.append(line)

        def progress(done: int, total: int, facts: str) -> None:
            assert facts.endswith("tokens")
            seen.append((done, total))

        options: dict[str, Any] = {"template": "tallrec", "announce": announce, "progress": progress}
        teacher = EndpointTeacher("m", teacher_config, environment={})
        ask_endpoint(data.samples("test")[:4], data, teacher, teacher_config, tmp_path / "ledger", **options)
    assert told[0] == "4 samples, 4 calls"
    assert told[2] == "answers: about 20 tokens, at most 20"
    assert told[3].startswith("cost: about")
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_second_run_pays_for_nothing(data: SampleSet, tmp_path: Path) -> None:
    with ScriptedTeacher(default=Reply.ok("Yes.")) as server:
        first = ask(data, server, tmp_path / "ledger")
        second = ask(data, server, tmp_path / "ledger")
        assert len(server.requests) == 6
        ask(data, server, tmp_path / "ledger", shots=1)
        assert len(server.requests) == 12  # other demonstrations are other questions
    assert first.frame.equals(second.frame)
    assert first.spent == second.spent


@pytest.mark.parametrize("concurrency", [1, 4])
def test_the_order_does_not_depend_on_concurrency(data: SampleSet, tmp_path: Path, concurrency: int) -> None:
    def label(prompt: str) -> str:
        return "Yes." if len(prompt) % 2 else "No."

    with ScriptedTeacher(default=Reply.ok(label)) as server:
        found = ask(data, server, tmp_path / "ledger", n=20, concurrency=concurrency)
        prompts = sorted(len(request.prompt) for request in server.requests)
    assert found.frame["sample_id"].to_list() == [sample.sample_id for sample in data.samples("test")[:20]]
    assert (found.frame["score"] > 0).sum() == sum(length % 2 for length in prompts)


def test_a_teacher_that_is_gone_stops_the_run(data: SampleSet, tmp_path: Path) -> None:
    with ScriptedTeacher(default=Reply.error(500)) as server, pytest.raises(TeacherError, match="3 questions in a row"):
        ask(data, server, tmp_path / "ledger", n=20, failures=3)
    with ScriptedTeacher(default=Reply.error(401)) as server, pytest.raises(TeacherError, match="HTTP 401"):
        ask(data, server, tmp_path / "other")


def sure(share: float) -> Reply:
    """Yes with this probability, no with the rest but for 0.1; the likelier one is said."""
    shares = {"Yes": share, "No": 0.9 - share, "I": 0.1}
    said = max(("Yes", "No"), key=lambda label: shares[label])
    return Reply.tokens([(said, {token: math.log(each) for token, each in shares.items()}), (".", {".": 0.0})])


def odds(share: float) -> float:
    return math.log(share) - math.log(0.9 - share)


def test_probabilities_become_log_odds(data: SampleSet, tmp_path: Path) -> None:
    unlisted = Reply.tokens([("No", {"No": math.log(0.8), "Nope": math.log(0.1)})])
    off = Reply.tokens([("Perhaps", {"Perhaps": -0.1, "Yes": -3.0})])
    with ScriptedTeacher([sure(0.7), Reply.refused(), off, sure(0.2), unlisted, sure(0.6)]) as server:
        found = ask(data, server, tmp_path / "ledger")
        again = ask(data, server, tmp_path / "ledger")
        assert len(server.requests) == 6
    assert all(request.body["top_logprobs"] == 20 for request in server.requests)
    samples = data.samples("test")[:6]
    assert found.frame["sample_id"].to_list() == [samples[n].sample_id for n in (0, 3, 4, 5)]
    expected = [odds(0.7), odds(0.2), math.log(0.1) - math.log(0.8), odds(0.6)]
    assert found.frame["score"].to_list() == pytest.approx(expected)
    assert found.frame["label_mass"].to_list() == pytest.approx([0.9, 0.9, 0.8, 0.9])
    assert (found.log_odds, found.probabilities, found.bounded, found.refused) == (True, 4, 1, "")
    assert found.excluded == {"off-schema": 1, "refusal": 1}
    assert again.frame.equals(found.frame)


def test_scores_are_of_one_kind(data: SampleSet, tmp_path: Path) -> None:
    with ScriptedTeacher([sure(0.7), sure(0.2), Reply.ok("No.")], default=sure(0.8)) as server:
        found = ask(data, server, tmp_path / "ledger")
    assert found.frame["score"].to_list() == [1.0, -1.0, -1.0, 1.0, 1.0, 1.0]
    assert found.frame.schema == SCORES
    assert (found.log_odds, found.probabilities, found.requested, found.refused) == (False, 5, True, "")


def test_an_endpoint_that_ignores_the_parameter(data: SampleSet, tmp_path: Path) -> None:
    with ScriptedTeacher(default=Reply.ok("Yes.")) as server:
        found = ask(data, server, tmp_path / "ledger")
    assert (found.frame.height, found.log_odds, found.probabilities, found.refused) == (6, False, 0, "")


@pytest.mark.parametrize("concurrency", [1, 4])
def test_an_endpoint_that_refuses_the_parameter(data: SampleSet, tmp_path: Path, concurrency: int) -> None:
    told: list[str] = []
    with ScriptedTeacher(default=Reply.logprobs_refused(Reply.ok("Yes."), message="no\x1b[2J logprobs")) as server:
        found = ask(data, server, tmp_path / "ledger", n=12, told=told, concurrency=concurrency)
        refused = [request for request in server.requests if "logprobs" in request.body]
        assert 1 <= len(refused) <= concurrency, "later questions are asked without"
        assert len(server.requests) == 12 + len(refused)
        plain = ask(data, server, tmp_path / "ledger", n=12, logprobs=False, concurrency=concurrency)
        assert len(server.requests) == 12 + len(refused), "these answers are in the ledger as what they are"
    assert (found.frame.height, found.log_odds, found.probabilities) == (12, False, 0)
    assert found.refused.startswith("HTTP 400 (no")
    assert told[-1] == "no log probabilities: HTTP 400 (no logprobs); answers are parsed instead"
    assert sum("no log probabilities" in line for line in told) == 1
    assert plain.frame.equals(found.frame)
    assert plain.spent == found.spent
    assert (plain.requested, plain.refused) == (False, "")


def test_what_was_paid_for_is_not_asked_again_after_a_refusal(data: SampleSet, tmp_path: Path) -> None:
    with ScriptedTeacher([sure(0.7), sure(0.2)], default=Reply.logprobs_refused(Reply.ok("No."))) as server:
        first = ask(data, server, tmp_path / "ledger", n=5)
        assert len(server.requests) == 2 + 1 + 3
        told = [sample.sample_id for sample in data.samples("test")[:5]]
        reverse = [*reversed(data.samples("test")[:5])]
        config = InContextConfig(teacher="openai:m", base_url=server.base_url, max_tokens=5, concurrency=1)
        teacher = EndpointTeacher("m", config, environment={})
        second = ask_endpoint(reverse, data, teacher, config, tmp_path / "ledger", template="tallrec")
        assert len(server.requests) == 6 + 1, "refused once more, which costs nothing"
    assert first.probabilities == second.probabilities == 2
    assert second.frame["sample_id"].to_list() == told[::-1]
    assert second.frame["score"].to_list() == first.frame["score"].to_list()[::-1] == [-1.0, -1.0, -1.0, -1.0, 1.0]
    assert first.spent == second.spent


def test_no_probabilities_on_request(data: SampleSet, tmp_path: Path) -> None:
    with ScriptedTeacher(default=sure(0.7)) as server:
        found = ask(data, server, tmp_path / "ledger", logprobs=False)
        assert not any("logprobs" in request.body for request in server.requests)
        with_them = ask(data, server, tmp_path / "ledger")
        assert len(server.requests) == 12, "other calls than those without"
    assert found.frame["score"].to_list() == [1.0] * 6
    assert (found.log_odds, found.requested) == (False, False)
    assert with_them.frame["score"].to_list() == pytest.approx([odds(0.7)] * 6)


def test_a_request_that_is_wrong_without_the_parameter_too_ends_the_run(data: SampleSet, tmp_path: Path) -> None:
    wrong = Reply.error(400, "the prompt speaks of logprobs")
    with ScriptedTeacher(default=wrong) as server, pytest.raises(TeacherError, match="HTTP 400"):
        ask(data, server, tmp_path / "ledger")
