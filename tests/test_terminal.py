from __future__ import annotations

import io
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recalign.terminal import continued, fitted, printable, wrapped


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


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_only_a_terminal_gets_lines_of_its_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    text = "recalign: a long line of many words"
    assert fitted(text, Terminal()) == "recalign: a long\n  line of many words"
    assert fitted(text, io.StringIO()) == text
    assert fitted("short", Terminal()) == "short"


@given(st.text(alphabet="ab-.;:é ").map(lambda text: " ".join(text.split())), st.integers(10, 40))
def test_lines_are_broken_between_words(text: str, width: int) -> None:
    lines = wrapped(text, width).split("\n")
    assert " ".join(line.removeprefix("  ") for line in lines) == text
    assert all(len(line) <= width or " " not in line.strip() for line in lines)


def test_a_command_to_copy_has_a_line_of_its_own() -> None:
    command = "recalign prepare DATASET --input file.csv --output DIR"
    told = f"recalign: x.csv; found a file; expected a directory. Make one: {command}. See the documentation, page data"
    assert wrapped(told, 40).split("\n") == [
        "recalign: x.csv; found a file; expected",
        "  a directory. Make one:",
        f"    {command}",
        "  See the documentation, page data",
    ]
    assert wrapped(told, len(told)) == told
    assert wrapped("recalign: recalign tune; found no --data", 30) == "recalign: recalign tune; found\n  no --data"
    assert "\n  `recalign tune`" in wrapped("tune a model, if you have none, with `recalign tune`", 46)


@given(st.lists(st.text(alphabet="a -'\"$\\", min_size=1), min_size=1), st.integers(20, 60))
def test_a_command_of_several_lines_is_one_for_the_shell(words: list[str], width: int) -> None:
    shown = continued([shlex.quote(word) for word in words], width, first="next: ", other=" " * 10)
    read = shown.removeprefix("next: ").replace("\\\n", " ")  # as a shell does; shlex would keep the end of the line
    assert shlex.split(read) == words


def test_a_long_command_goes_on_after_a_backslash() -> None:
    words = ["recalign", "tune", "--data", "data/shoes", "--output", "runs/shoes"]
    assert continued(words, 60, first="", other="  ") == " ".join(words)
    assert continued(words, 40, first="", other="  ") == ("recalign tune --data data/shoes \\\n  --output runs/shoes")
