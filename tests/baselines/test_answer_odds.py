"""Log-odds from the tokens of an answer, against values computed by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest

from recalign.baselines.answer_odds import label_odds
from recalign.data.domain import Domain
from recalign.llm.base import Completion, TokenLogprobs

ENGLISH, GERMAN = Domain(noun="movie"), Domain(language="de")
LIKELY = {"Yes": 0.5, " yes": 0.1, "Y": 0.05, "No": 0.2, "**No": 0.04, "Nothing": 0.03, "Perhaps": 0.02}
SCORE = math.log(0.65) - math.log(0.24)


def token(text: str, likely: Mapping[str, float] | None = None) -> TokenLogprobs:
    """A token and the probabilities of what might stand there; alone, it was certain."""
    logs = {other: math.log(share) for other, share in (likely or {text: 1.0}).items()}
    return TokenLogprobs(text, logs.get(text, -9999.0), tuple(logs.items()))


def completion(*tokens: TokenLogprobs, text: str | None = None) -> Completion:
    return Completion("".join(each.token for each in tokens) if text is None else text, logprobs=tokens)


@pytest.mark.parametrize(
    "tokens",
    [
        [token("Yes", LIKELY), token(".")],
        [token('"'), token("Yes", LIKELY), token('"')],
        [token("\n\n"), token("Y", LIKELY), token("es")],
        [token("<think>"), token("No. Yes?"), token("</think>"), token("\n"), token("Yes", LIKELY)],
        [token("Yes", LIKELY), token(", No"), token(".")],
    ],
)
def test_the_first_token_that_decides_is_read(tokens: list[TokenLogprobs]) -> None:
    odds = label_odds(completion(*tokens), ENGLISH, True)
    assert odds is not None
    assert odds.score == pytest.approx(SCORE)
    assert odds.mass == pytest.approx(0.89)
    assert not odds.bounded


@pytest.mark.parametrize(
    "before",
    [
        [token("They"), token(" like it."), token("</think>"), token("\n\n")],
        [token("<think>"), token("No."), token("</think>")],
        [token("<|final|>")],
    ],
)
def test_tokens_that_the_text_does_not_show(before: list[TokenLogprobs]) -> None:
    tokens = [*before, token("Yes", LIKELY), token("."), token("<|end|>")]
    odds = label_odds(completion(*tokens, text="Yes."), ENGLISH, True)
    assert odds is not None
    assert odds.score == pytest.approx(SCORE)


def test_letters_behind_the_answer_may_be_told_as_bytes() -> None:
    tokens = [token("Yes", LIKELY), token(" 👍".encode().decode("latin-1"))]
    assert label_odds(completion(*tokens, text="Yes 👍"), ENGLISH, True) is not None
    hidden = [token("Hm.</think>"), *tokens]
    assert label_odds(completion(*hidden, text="Yes 👍"), ENGLISH, True) is not None


def test_the_negative_answer_and_other_languages() -> None:
    tokens = [token("Ne", {"Ne": 0.6, "Ja": 0.3, "Ne\xa0": 0.1}), token("in.")]
    odds = label_odds(completion(*tokens), GERMAN, False)
    assert odds is not None
    assert odds.score == pytest.approx(math.log(0.3) - math.log(0.6)), "a word that ended as 'Ne' is no beginning"


def test_answers_of_several_words_are_decided_where_they_differ() -> None:
    domain = Domain(yes="Would like.", no="Would not like.")
    tokens = [token("Would", {"Would": 0.9, "No": 0.1}), token(" like", {" like": 0.7, " not": 0.2, " never": 0.1})]
    odds = label_odds(completion(*tokens, token(".")), domain, True)
    assert odds is not None
    assert odds.score == pytest.approx(math.log(0.7) - math.log(0.2))


def test_a_label_that_is_not_listed_is_at_most_as_likely_as_the_least_that_is() -> None:
    odds = label_odds(completion(token("Yes", {"Yes": 0.9, "yes": 0.05, "I": 0.01}), token(".")), ENGLISH, True)
    assert odds is not None
    assert odds.score == pytest.approx(math.log(0.95) - math.log(0.01))
    assert odds.mass == pytest.approx(0.95)
    assert odds.bounded
    other = label_odds(completion(token("No", {"No": 0.9, "I": 0.01})), ENGLISH, False)
    assert other is not None
    assert other.score == pytest.approx(math.log(0.01) - math.log(0.9))


def test_tokens_sampled_from_below_the_list_count_once() -> None:
    drawn = TokenLogprobs("No", math.log(0.01), (("Yes", math.log(0.9)), ("yes", math.log(0.05))))
    odds = label_odds(completion(drawn), ENGLISH, False)
    assert odds is not None
    assert odds.score == pytest.approx(math.log(0.95) - math.log(0.01))
    untold = TokenLogprobs("No", -9999.0, drawn.top)
    bound = label_odds(completion(untold), ENGLISH, False)
    assert bound is not None
    assert bound.score == pytest.approx(math.log(0.95) - math.log(0.05)), "what is not told is no bound"
    assert bound.bounded


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        ([], "Yes."),
        ([token("Yes")], "Yes."),  # listed alone
        ([token("No", LIKELY)], "Yes."),  # tokens of another answer
        ([token("Yes", {"Yes": 0.5, "No": 0.5})], "No."),
        ([token("Perhaps", LIKELY)], "Perhaps"),
        ([token("ĠYes", LIKELY)], "Yes, they do."),  # raw pieces of a vocabulary
        ([token("</think>Yes", LIKELY)], "Yes"),
    ],
)
def test_tokens_that_do_not_tell_it(tokens: list[TokenLogprobs], text: str) -> None:
    assert label_odds(completion(*tokens, text=text), ENGLISH, not text.startswith("No")) is None


def test_no_tokens_at_all() -> None:
    assert label_odds(Completion("Yes."), ENGLISH, True) is None
