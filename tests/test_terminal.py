from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recalign.terminal import printable


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("Heat (1995)", "Heat (1995)"),
        ("Cité des enfants perdus, La (1995)", "Cité des enfants perdus, La (1995)"),
        ("千と千尋の神隠し", "千と千尋の神隠し"),
        ("[bold]no markup here[/bold]", "[bold]no markup here[/bold]"),
        ("a\x1b[31mred\x1b[0m", "ared"),
        ("a\x1b[2J\x1b[Hb", "ab"),
        ("a\x1b]0;window title\x07b", "ab"),
        ("a\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\b", "alinkb"),
        ("a\x1bPq payload\x1b\\b", "ab"),
        ("a\x9b31mb", "ab"),
        ("a\x1b]never ended", "a"),
        ("a\x1b", "a"),
        ("one\ntwo\r\nthree\u2028four\tfive", "one two three four five"),
        ("a\u202eb\u200bc\ufeffd", "abcd"),
        ("bell\x07 back\x08", "bell back"),
        ("", ""),
    ],
)
def test_printable(text: str, safe: str) -> None:
    assert printable(text) == safe


@given(st.text(alphabet=st.characters() | st.sampled_from("\x1b\x9b[]\x07\\;m0")))
def test_result_is_one_printable_line_and_stable(text: str) -> None:
    safe = printable(text)
    assert all(char == " " or char.isprintable() or char.isspace() for char in safe)
    assert len(safe.splitlines()) <= 1
    assert printable(safe) == safe
