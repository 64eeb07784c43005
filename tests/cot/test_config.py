"""Settings that are refused, and which of them decide the content."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from recalign.artifacts import fingerprint
from recalign.cot.config import TeachConfig


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"teacher": "gpt-4"}, "unknown teacher 'gpt-4'; expected heuristic, hf, openai"),
        ({"teacher": "openai:"}, "'openai:'; expected openai:MODEL"),
        ({"base_url": "http://localhost/v1"}, "base_url is for teachers at an address"),
        ({"teacher": "openai:m", "base_url": "ftp://host"}, "http"),
        ({"teacher": "openai:m", "base_url": "https://user:secret@host/v1"}, "without user, password or query"),
        ({"teacher": "openai:m", "base_url": "https://host/v1?key=secret"}, "without user, password or query"),
        ({"max_cost": 1.0}, "max_cost needs price_in and price_out"),
        ({"key_env": "sk-abc def"}, "pattern"),
        ({"temperature": -1}, "greater than or equal"),
        ({"split": "test"}, "train"),
        ({"unknown": 1}, "Extra inputs"),
    ],
)
def test_what_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TeachConfig.model_validate(settings)


def test_each_setting_either_decides_the_content_or_the_way() -> None:
    config = TeachConfig()
    content, operation = config.content(), config.operation()
    assert set(content) | set(operation) == set(TeachConfig.model_fields)
    assert not set(content) & set(operation)
    assert {"temperature", "seed", "filter", "teacher", "base_url", "template", "limit"} <= set(content)
    assert {"concurrency", "deadline", "max_cost"} <= set(operation)


def test_the_papers_settings_are_the_defaults() -> None:
    config = TeachConfig()
    assert (config.temperature, config.max_tokens, config.recommend, config.featured) == (0.2, 512, 10, 5)
    assert (config.candidates.similar_users, config.candidates.size) == (12, 19)


def test_a_slash_at_the_end_makes_no_other_address() -> None:
    one, other = (TeachConfig(teacher="openai:m", base_url=f"http://host/v1{end}") for end in ("", "/"))
    assert one == other


ENDPOINT = {"teacher": "openai:gpt-4o", "base_url": "http://h/v1/", "temperature": 0.0, "max_tokens": 64, "limit": 9}
LOCAL = {"teacher": "hf:some/model", "revision": "abc", "dtype": "bfloat16", "device": "cpu", "seed": 3}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "091dbeb252721a1681e70b4b0a912e2db2130a1bfe4b5469c8377f5ef7e2a0b8"),
        (
            {**ENDPOINT, "concurrency": 2, "price_in": 1.0, "price_out": 2.0, "max_cost": 3.0},
            "c1c7b243e58f8397cf36a4e62903ad762d2743e9d587008b4e44204466436367",
        ),
        (
            {**LOCAL, "filter": "valid-only", "length_parameter": "max_completion_tokens"},
            "490314fae0c17270787057e7fcd527909eac6b888fd4ca2664acf7b18f6a609a",
        ),
    ],
)
def test_fingerprints_of_settings_do_not_change(settings: dict[str, Any], expected: str) -> None:
    """They decide the fingerprint of chain-of-thought data: another value would have all of it made again."""
    assert fingerprint(TeachConfig.model_validate(settings).content()) == expected
