"""What the documentation shows in fences: which blocks run, which do not and why.

A block of `sh` or `python` runs, unless the line before its fence says why it does not::

    <!-- not run: It needs a GPU. -->

A page that needs files or models names what prepares them (`kits/NAME.sh`)::

    <!-- prepared: shoes -->
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent.parent
RUN: Final = ("sh", "python")
# Shown, not run. TOML is parsed; the others have no commands of ours.
SHOWN: Final = ("toml", "text", "yaml", "json", "mermaid", "")
_COMMAND: Final = re.compile(r"^\s*(recalign|pip|python|torchrun|vllm|make|curl|docker)\b", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: the line of its opening fence (from 1), its language, its lines without indentation."""

    line: int
    language: str
    lines: tuple[str, ...]
    reason: str | None

    @property
    def text(self) -> str:
        """What stands between the fences."""
        return "".join(f"{line}\n" for line in self.lines)

    @property
    def runs(self) -> bool:
        """Whether a test runs it."""
        return self.language in RUN and self.reason is None

    @property
    def needs_a_reason(self) -> bool:
        """Whether it has commands that nobody tries: they stand in no language that is run."""
        return self.reason is None and not self.runs and bool(_COMMAND.search(self.text))


def pages() -> list[Path]:
    """README and everything below docs/."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(text: str) -> list[Block]:
    """All fenced blocks of a page, in order.

    Raises:
        ValueError: A fence is not closed.
    """
    found: list[Block] = []
    lines = text.splitlines()
    place = 0
    while place < len(lines):
        opening = re.match(r"( *)(`{3,})(\w*)", lines[place])
        if not opening:
            place += 1
            continue
        indent, fence, language = opening.groups()
        closing = [index for index in range(place + 1, len(lines)) if lines[index].strip() == fence]
        if not closing:
            raise ValueError(f"line {place + 1}: the fence is not closed")
        inside = tuple(line.removeprefix(indent) for line in lines[place + 1 : closing[0]])
        note = re.fullmatch(r"\s*<!-- not run: (.*) -->", lines[place - 1]) if place else None
        found.append(Block(place + 1, language, inside, note.group(1) if note else None))
        place = closing[0] + 1
    return found


def kits(text: str) -> list[str]:
    """Names of what prepares the page."""
    return [name for names in re.findall(r"^<!-- prepared: (.*) -->$", text, re.MULTILINE) for name in names.split()]


def script(text: str) -> str:
    """The page as a script for bash: each command on the line that it has in the page, everything else empty.

    A block of Python is a program of its own, ``block-LINE.py``.
    """
    lines = [""] * len(text.splitlines())
    for block in blocks(text):
        if block.runs and block.language == "python":
            lines[block.line - 1] = f"python block-{block.line}.py"
        elif block.runs:
            lines[block.line : block.line + len(block.lines)] = block.lines
    return "".join(f"{line}\n" for line in lines)


def programs(text: str) -> dict[str, str]:
    """The blocks of Python that run, by file name; their lines are numbered as in the page."""
    return {
        f"block-{block.line}.py": "\n" * block.line + block.text
        for block in blocks(text)
        if block.runs and block.language == "python"
    }
