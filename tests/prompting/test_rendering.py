from __future__ import annotations

import pytest

from recalign.errors import ConfigError
from recalign.prompting.rendering import Rendering


def render(source: str, **values: object) -> str:
    return Rendering(source, "test")(values)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Heat (1995)", '"Heat (1995)"'),
        ('"Friday" written by Robert Heinlein', '"Friday" written by Robert Heinlein'),
        ('"Friday"', '"Friday"'),
        ('"Great Performances" Cats (1998)', '""Great Performances" Cats (1998)"'),
        ("", '""'),
    ],
)
def test_quoted_adds_quotes_unless_the_text_brings_them(text: str, expected: str) -> None:
    assert render("{{ text | quoted }}", text=text) == expected


def test_number_and_upper_first() -> None:
    assert render("{{ 4.0 | number }} {{ 4.5 | number }} {{ 'iPhone DVD' | upper_first }}") == "4 4.5 IPhone DVD"


def test_values_are_inserted_and_never_interpreted() -> None:
    for hostile in ("{{ 7 * 7 }}", "{% for x in y %}", "<b>&amp;</b>", "%s", "{0}", "\\1", "$HOME"):
        assert render("[{{ text }}]", text=hostile) == f"[{hostile}]"


@pytest.mark.parametrize(
    "source",
    [
        "{{ missing }}",
        "{{ ''.__class__ }}",
        "{{ ().__class__.__bases__[0].__subclasses__() }}",
        "{{ items.append(1) }}",
        "{% include '/etc/passwd' %}",
        "{{ 1 / 0 }}",
        "{% for i in range(10000000) %}x{% endfor %}",
        "{{ unclosed",
        "{{ text | no_such_filter }}",
    ],
)
def test_template_code_cannot_leave_the_sandbox_or_fail_silently(source: str) -> None:
    with pytest.raises(ConfigError, match="prompt template, test"):
        render(source, items=[1], text="x")
