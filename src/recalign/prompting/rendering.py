"""The language of template files: Jinja in its sandbox.

Values are inserted, never interpreted: a title that reads ``{{ 7 * 7 }}`` stays that text. Template files may come from
strangers too, so they run in the immutable sandbox: no attribute with an underscore, no method that changes anything. A
variable that does not exist is an error, not an empty string.

Beyond Jinja's own filters there are ``quoted``, ``bare``, ``single_quoted``, ``number`` and ``upper_first`` (below).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from jinja2 import StrictUndefined, TemplateError
from jinja2.environment import Template
from jinja2.sandbox import ImmutableSandboxedEnvironment

from recalign.errors import ConfigError

# Item texts that carry their own quotation marks: "Title", "Title" written by Author (the published book files).
QUOTED_TEXT: Final = re.compile(r'".*"(?: written by .*)?', re.DOTALL)


def quoted(text: str) -> str:
    """`text` in double quotes, unless it is ``"..."`` or ``"..." written by ...`` already."""
    return text if QUOTED_TEXT.fullmatch(text) else f'"{text}"'


def bare(answer: str) -> str:
    """`answer` without closing punctuation; an answer of nothing else stays as it is."""
    return answer.rstrip(".!。！") or answer


def single_quoted(text: str) -> str:
    """`text` with its double quotes turned into single ones, so that it cannot close the quotes around it."""
    return text.replace('"', "'")


def number(value: float) -> str:
    """A rating without superfluous zeros: ``4``, ``4.5``."""
    return f"{value:g}"


def upper_first(text: str) -> str:
    """`text` with its first letter in upper case."""
    return text[:1].upper() + text[1:]


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        autoescape=False,  # prompts are plain text, not HTML
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    filters = (bare, number, quoted, single_quoted, upper_first)
    environment.filters |= {function.__name__: function for function in filters}
    return environment


_ENVIRONMENT: Final = _environment()


class Rendering:
    """One compiled piece of a template file."""

    def __init__(self, source: str, where: str) -> None:
        """Compile `source`; `where` names it in errors. Raises ConfigError where it is malformed."""
        self._where = where
        try:
            self._template: Template = _ENVIRONMENT.from_string(source)
        except TemplateError as error:
            raise ConfigError(f"prompt template, {where}", found=str(error), expected="a Jinja expression") from error

    def __call__(self, values: Mapping[str, Any]) -> str:
        """Insert `values`. Raises ConfigError for an unknown variable or an expression that fails."""
        try:
            return self._template.render(values)
        except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as error:
            raise ConfigError(
                f"prompt template, {self._where}",
                found=f"{type(error).__name__}: {error}",
                expected=f"only these variables: {', '.join(sorted(values))}",
            ) from error
