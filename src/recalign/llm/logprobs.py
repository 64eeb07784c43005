"""Log probabilities of an answer's tokens, as the replies of chat endpoints carry them: read whole, or not at all."""

from __future__ import annotations

import math
from typing import Any, Final

from recalign.llm.base import TokenLogprobs

_ROUNDING: Final = 1e-3  # how far above 0 rounding may lift the logarithm of a probability near 1


def read_logprobs(told: Any) -> tuple[TokenLogprobs, ...] | None:
    """What ``choices[0].logprobs`` of a reply holds, in the form of the chat completions API.

    None where it holds nothing, has another form (servers send what older APIs had), or a number in it is no
    logarithm of a probability: a list with holes could show the wrong token as the first that decides.
    """
    content = getattr(told, "content", None)
    if not isinstance(content, list) or not content:
        return None
    tokens = [_token(entry) for entry in content]
    known = tuple(token for token in tokens if token is not None)
    return known if len(known) == len(tokens) else None


def _token(told: Any) -> TokenLogprobs | None:
    own, top = _pair(told), getattr(told, "top_logprobs", None)
    listed = [_pair(entry) for entry in top] if isinstance(top, list) else []
    known = tuple(pair for pair in listed if pair is not None)
    return None if own is None or len(known) < len(listed) else TokenLogprobs(*own, known)


def _pair(told: Any) -> tuple[str, float] | None:
    token, value = getattr(told, "token", None), getattr(told, "logprob", None)
    if not isinstance(token, str) or not isinstance(value, int | float):
        return None
    return (token, min(float(value), 0.0)) if math.isfinite(value) and value <= _ROUNDING else None
