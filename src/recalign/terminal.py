"""Text that is safe to print: titles come from strangers, and a terminal obeys what it is sent.

Knows no colour and no layout; `recalign.cli` does.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

# CSI sequences, then string sequences (OSC, DCS, APC, PM, SOS) up to their terminator, then any other short escape.
_ESCAPES: Final = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c|$)"
    r"|\x1b[ -/]*[0-~]?"
)
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
