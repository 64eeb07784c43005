"""Texts from outside in a card are text, whatever they hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from recalign.terminal import printable
from recalign.tuning.export_card import escaped, inline_code

HOSTILE = st.text(alphabet="`*_[]()#|~<>&\\\\!- \na1:;", max_size=20) | st.text(max_size=20)


def inline(markdown: str) -> list[tuple[str, str]]:
    """Kind and content of each part of a line."""
    tokens = MarkdownIt("commonmark").enable("strikethrough").parse(markdown)
    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"]
    return [(token.type, token.content) for token in tokens[1].children or ()]


@given(text=HOSTILE)
def test_escaped_text_is_shown_as_it_is(text: str) -> None:
    parts = inline(f"x {escaped(text)} y")
    assert {kind for kind, _ in parts} <= {"text", "text_special"}
    assert "".join(content for _, content in parts) == f"x {printable(text)} y"


@given(text=HOSTILE)
def test_code_is_one_piece_of_code(text: str) -> None:
    (before, code, after) = inline(f"x {inline_code(text)} y")
    assert (before, after) == (("text", "x "), ("text", " y"))
    assert code[0] == "code_inline"
    assert code[1].strip() == printable(text).strip()


def test_a_table_keeps_its_cells() -> None:
    html = MarkdownIt("commonmark").enable("table").render(f"|a|b|\n|-|-|\n|{escaped('x|y')}|z|")
    assert html.count("<td>") == 2
    assert "<td>x|y</td>" in html


@pytest.mark.parametrize(("text", "shown"), [("a", "`a`"), ("`a`", "`` `a` ``"), ("", "`  `")])
def test_the_fence_is_longer_than_what_is_in_it(text: str, shown: str) -> None:
    assert inline_code(text) == shown
