"""Commands that ask no language model start fast: they do not load torch, which takes seconds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

COMMANDS = """
import json, sys
from recalign.cli import main

for words in json.loads(sys.argv[1]):
    sys.argv = ["recalign", *words]
    try:
        main.run()
    except SystemExit as end:
        assert (end.code or 0) == (2 if "nowhere" in words else 0), words
    assert not {"torch", "transformers.modeling_utils", "peft", "scipy.stats"} & sys.modules.keys(), words
"""


def test_what_asks_no_model_loads_no_torch(workshop: Path, tmp_path: Path) -> None:
    data = str(workshop / "data")
    commands = [
        ["audit", data],
        ["evaluate", "prior:like-rate", "--data", data, "--resamples", "20"],
        ["index", data, "--output", str(tmp_path / "index")],
        ["export", data, "--to", "trl", "--output", str(tmp_path / "rows")],
        ["teach", data, "--output", str(tmp_path / "cot")],
        ["tune", "--data", "nowhere"],
    ]
    asked = [sys.executable, "-c", COMMANDS, json.dumps(commands)]
    done = subprocess.run(asked, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "index" / "manifest.json").is_file()
    assert "found no such directory; expected a prepared directory. Make one: recalign prepare" in done.stderr
