"""The last line of a command: what to type next. In one place, so that all commands say it in one way."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from recalign.terminal import continued

_PROGRAM: Final = "recalign"


def command_line(*words: object) -> str:
    """A call of recalign as this shell would find it: by its name, or by the path that this call was made with.

    Words are quoted where the shell needs it. Those that are placeholders (``TITLE``) stay as they are.
    """
    return " ".join(_quoted(words))


def tell_next(*commands: Sequence[object], err: bool = False) -> None:
    """Say which command comes next; several are alternatives, a line each.

    On a terminal a command that is longer than a line goes on after a backslash, so that it can be copied.

    Args:
        commands: Their words after the program's name.
        err: On stderr, where stdout holds something that programs read.
    """
    stream = sys.stderr if err else sys.stdout
    width = shutil.get_terminal_size().columns if stream.isatty() else sys.maxsize
    for number, words in enumerate(commands):
        first = "next: " if number == 0 else "      "
        print(continued(_quoted(words), width, first=first, other=" " * 10), file=stream)


def tuning(data: Path) -> Sequence[object]:
    """The command that tunes a model on prepared data. Its directory is proposed in one way: ``runs/`` and the data's
    name."""
    return ("tune", "--data", data, "--output", Path("runs") / data.absolute().name)


def after_prepare(data: Path) -> Sequence[Sequence[object]]:
    """What comes after preparing (or auditing) data: tuning, and the scores that a model has to beat."""
    return (tuning(data), ("evaluate", "prior:like-rate", "--data", data))


def after_evaluate(models: Iterable[str], data: Path) -> Sequence[Sequence[object]]:
    """What comes after evaluating: a model is asked for recommendations; where there is none yet, one is tuned."""
    model = next((Path(model) for model in models if Path(model).is_dir()), None)
    if model is None:
        return (tuning(data),)
    page = f"{model.absolute().name}.html"
    return (("recommend", model, "--likes", "TITLE"), ("page", model, "--data", data, "--output", page))


def after_recommend(run: Path, data: Path | None, index: Path | None, *, why: bool) -> Sequence[Sequence[object]]:
    """What comes after recommending, from the same catalogue and index: the reasons where `why`, and the server."""
    given = (("--data", data), ("--index", index))
    same = [word for option, path in given if path is not None for word in (option, path)]
    explained = [("recommend", run, *same, "--likes", "TITLE", "--explain")] if why else []
    return (*explained, ("serve", run, *same))


def _quoted(words: Iterable[object]) -> list[str]:
    path = sys.argv[0]
    program = path if Path(path).name == _PROGRAM and shutil.which(_PROGRAM) is None else _PROGRAM
    return [shlex.quote(str(word)) for word in (program, *words)]
