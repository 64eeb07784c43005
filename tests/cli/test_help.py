"""Asking for help, and importing the package, must not wait for the heavy libraries."""

from __future__ import annotations

import subprocess
import sys

import pytest

# pydantic is not among them: typer itself may load it.
HEAVY = ("torch", "polars", "transformers", "numpy", "scipy", "pyarrow", "peft", "accelerate", "tokenizers")

SHOW_LOADED = f"""
loaded = [name for name in {HEAVY!r} if name in sys.modules]
sys.stderr.write(" ".join(loaded))
"""

SHOW_HELP = """
import sys
import typer
from recalign.cli.main import app
command = typer.main.get_command(app)
for verb in ["", *command.commands]:
    try:
        app([verb, "--help"] if verb else ["--help"])
    except SystemExit as stop:
        assert not stop.code, verb
"""


def loaded_by(code: str) -> tuple[str, str]:
    done = subprocess.run([sys.executable, "-c", code + SHOW_LOADED], capture_output=True, text=True, check=True)
    return done.stdout, done.stderr


def test_help_of_every_verb_is_light() -> None:
    output, loaded = loaded_by(SHOW_HELP)
    assert loaded == ""
    assert "Usage" in output


@pytest.mark.parametrize("statement", ["import recalign", "import recalign.cli.main", "import recalign.errors"])
def test_import_is_light(statement: str) -> None:
    assert loaded_by(f"import sys\n{statement}\n")[1] == ""
