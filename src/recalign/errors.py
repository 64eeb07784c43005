"""The exceptions that recalign raises on purpose.

::

    RecalignError               anything a user can act on; the CLI prints it on one line and exits with 2
    ├── ConfigError             an option, experiment or template is wrong
    ├── DataError               an input file or a prepared data directory is wrong
    ├── ArtifactError           a saved artefact is missing, incomplete, altered or of another format version
    ├── ModelError              a backbone, tokenizer or adapter cannot be used (as asked)
    ├── TeacherError            a teacher refused, failed or ran over budget
    ├── ProcessError            of several processes that work together one was lost, or does something else
    └── Interrupted             a signal stopped the work; what was done is saved and the same command continues

A message names the thing, what was found, what was expected and, where there is one, the next command.
Everything else that escapes is a bug and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


class RecalignError(Exception):
    """Base of every error that a user can act on.

    Attributes:
        exit_code: What a command that it ends exits with.
    """

    exit_code: int = 2

    def __init__(self, thing: str, *, found: str = "", expected: str = "", hint: str = "") -> None:
        """Build the one-line message.

        Args:
            thing: What is wrong, with its name (a path, an option, a column).
            found: What was there.
            expected: What should have been there.
            hint: The next command or action.
        """
        self.thing, self.found, self.expected, self.hint = thing, found, expected, hint
        parts = [thing]
        if found:
            parts.append(f"found {found}")
        if expected:
            parts.append(f"expected {expected}")
        message = "; ".join(parts)
        if hint:
            message = f"{message}. {hint}"
        super().__init__(" ".join(message.split()))


class ConfigError(RecalignError):
    """An option, experiment or template is wrong."""


class DataError(RecalignError):
    """An input file or a prepared data directory is wrong."""


class ArtifactError(RecalignError):
    """A saved artefact is missing, incomplete, altered or of another format version."""


class ModelError(RecalignError):
    """A backbone, tokenizer or adapter cannot be used, or not as asked."""


class TeacherError(RecalignError):
    """A teacher refused, failed or ran over budget."""


class ProcessError(RecalignError):
    """Of several processes that work together one was lost or failed, or has other inputs."""


class Interrupted(RecalignError):
    """A signal stopped the work; what was done is saved and the same command continues.

    Attributes:
        signal_number: The signal; a command exits with 128 + this number.
    """

    def __init__(self, signal_number: int, thing: str, *, saved: bool = True) -> None:
        self.signal_number, self.exit_code = signal_number, 128 + signal_number
        saved_hint = "Everything is saved: run the same command again to continue"
        super().__init__(thing, hint=saved_hint if saved else "Nothing of it was saved")


def did_you_mean(wrong: str, known: Iterable[str]) -> str:
    """A hint that asks after the nearest of the known names, whatever their case; "" where none is near."""
    near = nearest(wrong, known)
    return f"Did you mean {near}?" if near else ""


def nearest(wrong: str, known: Iterable[str], likeness: float = 0.6) -> str:
    """The known name that is nearest to a wrong one, whatever their case; "" where none is near.

    `likeness` is how near is near: 1 for the same letters, 0 for none in common (`difflib`'s ratio).
    """
    names = {name.lower(): name for name in known}
    return next((names[near] for near in difflib.get_close_matches(wrong.lower(), names, n=1, cutoff=likeness)), "")


def did_you_mean_path(path: Path) -> str:
    """The same for a path: its first part that is not there may be misspelt. "" also where all of it is there."""
    missing = next((part for part in (*reversed(path.parents), path) if not part.exists()), None)
    if missing is None:
        return ""
    try:
        name = nearest(missing.name, (entry.name for entry in missing.parent.iterdir()))
    except OSError:  # a folder that we may not list, or no folder: there is nothing to suggest
        return ""
    meant = missing.parent / name / path.relative_to(missing)
    return f"Did you mean {meant}?" if name and meant.exists() else ""
