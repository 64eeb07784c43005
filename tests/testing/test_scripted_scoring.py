"""The scripted servers reply as vLLM and SGLang do, in shape and in habits."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

import pytest

from recalign.testing.scripted_replies import Reply
from recalign.testing.scripted_scoring import PATHS, ScriptedScoring

OPENER = build_opener(ProxyHandler({}))


def of_last(prompt: Sequence[int]) -> list[float]:
    """Probabilities that tell the last token of a prompt: that of token 0 is a tenth of it."""
    return [prompt[-1] / 10, 0.05, 0.01]


def ask(url: str, document: Mapping[str, object] | None = None) -> Any:
    body = None if document is None else json.dumps(document).encode()
    with OPENER.open(Request(url, body), timeout=10) as reply:
        return json.load(reply)


def question(items: list[list[int]], **more: object) -> dict[str, object]:
    asked = {"model": "m", "query": [7, 7], "items": items, "label_token_ids": [0, 1], "apply_softmax": False}
    return {**asked, "item_first": False, **more}


def test_vllm_tells_the_first_label_and_cuts_at_the_right_end() -> None:
    with ScriptedScoring("vllm", of_last, max_model_len=5) as server:
        reply = ask(server.address + PATHS["vllm"], question([[1], [1, 2, 3, 4]]))
    assert sorted(reply) == ["created", "data", "id", "model", "object", "usage"]
    scores = [{"index": 0, "object": "score", "score": 0.1}, {"index": 1, "object": "score", "score": 0.2}]
    assert reply["data"] == scores
    assert reply["usage"] == {"prompt_tokens": 3 + 4, "total_tokens": 9, "completion_tokens": 2}


def test_sglang_tells_all_labels_and_refuses_what_is_too_long() -> None:
    with ScriptedScoring("sglang", of_last, max_model_len=5) as server:
        url = server.address + PATHS["sglang"]
        reply = ask(url, question([[1], [2, 3]]))
        assert (reply["scores"], reply["object"], reply["usage"]["prompt_tokens"]) == (
            [[0.1, 0.05], [0.3, 0.05]],
            "scoring",
            7,
        )
        assert ask(url, question([[1]], apply_softmax=True))["scores"] == [pytest.approx([2 / 3, 1 / 3])]
        assert ask(url, question([[1]], item_first=True))["scores"] == [[0.7, 0.05]]
        with pytest.raises(HTTPError, match="400"):
            ask(url, question([[1, 2, 3]]))


def test_models_are_told_whatever_the_script_says_and_other_paths_are_not_there() -> None:
    with ScriptedScoring("vllm", of_last, [Reply.error(503)], adapters=["shoes"], max_model_len=9) as server:
        cards = ask(f"{server.address}/v1/models")["data"]
        told = [(card["id"], card["parent"], card["max_model_len"]) for card in cards]
        assert told == [("tiny", None, 9), ("shoes", "tiny", None)]
        with pytest.raises(HTTPError, match="503"):
            ask(server.address + PATHS["vllm"], question([[1]]))
        with pytest.raises(HTTPError, match="404"):
            ask(server.address + PATHS["sglang"], question([[1]]))
        assert ask(server.address + PATHS["vllm"], question([[1]]))["data"]
