"""Text for the terminal: safe to print, for titles come from strangers; and broken between words where lines are long.

Knows no colour; `recalign.cli` does.
"""

from __future__ import annotations

import re
import shutil
import sys
import textwrap
import unicodedata
from typing import Final, TextIO

# CSI sequences, then string sequences (OSC, DCS, APC, PM, SOS) up to their terminator, then any other short escape.
_ESCAPES: Final = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c|$)"
    r"|\x1b[ -/]*[0-~]?"
)
# A command to copy, as a hint names it: after a colon, up to the end of the sentence (which is not part of it).
_COMMAND: Final = re.compile(r"(?<=: )(?<!recalign: )(recalign (?:[^.,;]|[.,;](?!\s|$))+)[.,;]?(?:\s|$)")
_NAMED: Final = re.compile(r"`[^`]+`")
_KEPT: Final = "\0"  # a blank at which no line may end
# Control, format (bidi, zero-width), surrogate, private, unassigned.
_DROPPED: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})


def printable(text: str) -> str:
    """Return `text` on one line without escape sequences, control, format and unassigned characters.

    Whitespace of any kind (line and paragraph separators included) becomes one space. Idempotent; ordinary titles are
    returned as they are.
    """
    spaced = " ".join(_ESCAPES.sub("", text).split())
    kept = "".join(char for char in spaced if unicodedata.category(char) not in _DROPPED)
    return " ".join(kept.split())


def ended(sentence: str) -> str:
    """The sentence with a full stop at its end, unless it is a question."""
    return sentence if sentence.endswith("?") else f"{sentence.rstrip('.')}."


def say(text: str, *, err: bool = False) -> None:
    """Print what is told on stdout or stderr: in lines that fit a terminal, as it is for a file or a pipe."""
    stream = sys.stderr if err else sys.stdout
    print(fitted(text, stream), file=stream, flush=True)


def fitted(text: str, stream: TextIO) -> str:
    """The text as it is shown on `stream`: only a terminal gets lines of its width (`wrapped`)."""
    return wrapped(text, shutil.get_terminal_size().columns) if stream.isatty() else text


def wrapped(text: str, width: int) -> str:
    """Each line of the text as lines of at most `width` characters, broken between words, the further ones indented.

    A command of recalign stands on a line of its own, however long, for in parts it could not be copied.
    """
    return "\n".join(part for line in text.split("\n") for part in _lines(line, width))


def continued(words: list[str], width: int, *, first: str, other: str) -> str:
    """A command of quoted words, over several lines where one is too short, so that a shell reads them as one.

    Args:
        words: An option stays on the line of its value.
        width: Most characters of a line; a word that is longer is not broken.
        first, other: What stands before the first line, and before the others.
    """
    kept = [word.replace(" ", _KEPT) for word in words]
    text = "".join(f"{word}{_KEPT if word.startswith('-') else ' '}" for word in kept).strip(f" {_KEPT}")
    if len(first) + len(text) <= width:
        return first + text.replace(_KEPT, " ")
    return " \\\n".join(_filled(text, width - 2, other, first))


def _lines(line: str, width: int) -> list[str]:
    if len(line) <= width:
        return [line]
    lines: list[str] = []
    for number, piece in enumerate(_COMMAND.split(line)):
        if number % 2:
            lines.append(f"    {piece}")
        else:
            kept = _NAMED.sub(lambda match: match[0].replace(" ", _KEPT), piece)
            lines += _filled(kept, width, "  ", "  " if lines else "")
    return lines


def _filled(text: str, width: int, other: str, first: str) -> list[str]:
    lines = textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=other, break_long_words=False, break_on_hyphens=False
    )
    return [line.replace(_KEPT, " ") for line in lines]
