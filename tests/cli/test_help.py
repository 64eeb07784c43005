"""Asking for help, and importing the package, must not wait for the heavy libraries."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

import pytest
import typer
from typer.testing import CliRunner

from recalign.cli.main import app

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


def test_help_flows_at_80_columns() -> None:
    """No line is longer, no value is cut off, and a paragraph has no line that the next word would have fitted on."""
    runner, verbs = CliRunner(env={"COLUMNS": "80", "NO_COLOR": "1"}), typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert len(verbs) > 15
    for verb in verbs:
        lines = runner.invoke(app, [verb, "--help"]).stdout.splitlines()
        assert [line for line in lines if len(line) > 80 or "…" in line] == [], verb
        prose = [line for line in lines if line.startswith(" ")]
        short = [
            (line, after)
            for line, after in pairwise(map(str.strip, prose))
            if line and after and len(line) + 1 + len(after.split()[0]) <= 78
        ]
        assert short == [], verb
