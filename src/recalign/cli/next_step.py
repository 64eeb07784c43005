"""The last line of a command: what to type next. In one place, so that all commands say it in one way."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import typer

_PROGRAM: Final = "recalign"


def command_line(*words: object) -> str:
    """A call of recalign as this shell would find it: by its name, or by the path that this call was made with.

    Words are quoted where the shell needs it. Those that are placeholders (``TITLE``) stay as they are.
    """
    path = sys.argv[0]
    program = path if Path(path).name == _PROGRAM and shutil.which(_PROGRAM) is None else _PROGRAM
    return shlex.join([program, *map(str, words)])


def tell_next(*commands: Sequence[object], err: bool = False) -> None:
    """Say which command comes next; several are alternatives, a line each.

    Args:
        commands: Their words after the program's name.
        err: On stderr, where stdout holds something that programs read.
    """
    for number, words in enumerate(commands):
        typer.echo(f"{'next: ' if number == 0 else '      '}{command_line(*words)}", err=err)
