"""The tokenizer's own chat template around a user message, tried out before anything depends on it.

A chat template is a program that comes with the model. Some lose the message (those that want a list of parts), some
ignore that an answer is asked for, and those of reasoning models open a chain of thought, where no "Yes" is due. So two
messages and an answer are rendered first. What then stands between a message and its answer is what the template itself
writes before a finished answer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from recalign.errors import ModelError

_MESSAGES: Final = ("recalign asks the first question", "recalign asks the second question")
_ANSWER: Final = "recalign-answer"
_SHOWN: Final = 80  # characters of a rendering in a message
_THOUGHT: Final = "(?:think|thinking|thought|reasoning)"
_OPENS: Final = re.compile(rf"<\|?(?:\w+:)?(?:START_)?{_THOUGHT}\|?>|\[{_THOUGHT}\]", re.IGNORECASE)
_CLOSES: Final = re.compile(rf"</(?:\w+:)?{_THOUGHT}>|<\|END_{_THOUGHT}\|>|\[/{_THOUGHT}\]", re.IGNORECASE)
# The empty thought of DeepSeek-R1, QwQ and Qwen3, whose marker is the same.
_THINK: Final = "<think>"
_EMPTY_THOUGHT: Final = "<think>\n\n</think>\n\n"
_HINT: Final = "Choose a prompt template that needs none (--template default), or mend the tokenizer's chat_template."


class ChatFrame:
    """The chat template of one tokenizer, verified; `around` puts it around messages."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, template: str) -> None:
        """Try the chat template out.

        Args:
            tokenizer: Its chat template is used as it is.
            template: Name of the prompt template that needs it, for messages.

        Raises:
            ModelError: There is no chat template; it fails, loses or changes a message, or shows no answer after it; or
                it opens a thought that cannot be closed.
        """
        self._tokenizer, self._asked = tokenizer, ""
        name = f" of {tokenizer.name_or_path}" if tokenizer.name_or_path else ""
        self._thing = f"the chat template{name}, which prompt template {template!r} needs,"
        if tokenizer.chat_template is None:
            raise ModelError(
                f"prompt template {template!r} needs a tokenizer with a chat template",
                found="a tokenizer without one",
                hint="Use an instruct backbone, or another prompt template such as 'default'.",
            )
        self._asked = self._after(self._rendered(_MESSAGES[:1])[0])
        self._heads(_MESSAGES)
        self._before_answer = self._closed(self._asked, self._finished())

    def around(self, messages: Sequence[str]) -> list[str]:
        """The text of a chat for each message, up to where the answer begins.

        Raises:
            ModelError: A message is not in its text, whole and unchanged but for blanks at its ends.
        """
        return [head + self._before_answer for head in self._heads(messages)]

    def _heads(self, messages: Sequence[str]) -> list[str]:
        """The text of a chat for each message, up to the end of the message."""
        heads = []
        for message, text in zip(messages, self._rendered(messages), strict=True):
            head = text.removesuffix(self._asked)
            if not text.endswith(self._asked) or not head.rstrip().endswith(message.strip()):
                raise self._lost(text, message.strip())
            heads.append(head)
        return heads

    def _rendered(self, messages: Sequence[str], answer: str | None = None) -> list[str]:
        """What the template makes of each message; of message and answer where there is one."""
        chats = [[{"role": "user", "content": message}] for message in messages]
        if answer is not None:
            chats = [[*chat, {"role": "assistant", "content": answer}] for chat in chats]
        try:
            # Templates of "thinking" models open a chain of thought unless told not to; others ignore the switch.
            texts: list[str] = self._tokenizer.apply_chat_template(
                chats, tokenize=False, add_generation_prompt=answer is None, enable_thinking=False
            )
        except (TemplateError, ValueError, TypeError) as error:
            what = "a user message" if answer is None else "a user message and its answer"
            raise ModelError(f"{self._thing} failed on {what}", found=str(error), hint=_HINT) from error
        return texts

    def _after(self, text: str) -> str:
        """What stands after the first of the two messages."""
        _, message, rest = text.rpartition(_MESSAGES[0])
        if not message:
            raise self._lost(text, _MESSAGES[0])
        return rest

    def _finished(self) -> str:
        """What stands between the message and a finished answer."""
        rest = self._after(self._rendered(_MESSAGES[:1], _ANSWER)[0])
        before, answer, _ = rest.partition(_ANSWER)
        if not answer:
            raise ModelError(
                f"{self._thing} shows no answer after the message",
                found=f"{rest[:_SHOWN]!r} after the message",
                expected="the answer there",
                hint=_HINT,
            )
        return before

    def _closed(self, asked: str, finished: str) -> str:
        """The text before an answer, with no thought left open: `finished`, unless only `asked` asks for an answer."""
        if finished.startswith(asked) and _open_thought(finished) is None:
            return finished
        thought = _open_thought(asked)
        if thought is None:
            return asked
        before = asked[: thought.start()]
        if finished.startswith(before) and _open_thought(finished) is None and _CLOSES.search(finished):
            return finished
        if thought.group() == _THINK:
            return before + _EMPTY_THOUGHT
        raise ModelError(
            f"{self._thing} opens a thought before the answer",
            found=f"{thought.group()!r}, and no form without a thought",
            expected="an answer that comes right after the message",
            hint=_HINT,
        )

    def _lost(self, text: str, message: str) -> ModelError:
        return ModelError(
            f"{self._thing} loses or changes the text of the user",
            found=f"a chat that ends with {text[-_SHOWN:]!r}",
            expected=f"one that ends with {message[-_SHOWN:] + self._asked!r}",
            hint=_HINT,
        )


def _open_thought(text: str) -> re.Match[str] | None:
    """The last marker that opens a thought, where none closes it."""
    opened = list(_OPENS.finditer(text))
    return opened[-1] if opened and not _CLOSES.search(text, opened[-1].end()) else None
