"""Makes the notebooks of docs/tutorials from their scripts; `make notebook` writes them, and a test compares them."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import Any, Final
from unittest import mock

SCRIPTS: Final = sorted((Path(__file__).parent.parent.parent / "docs" / "tutorials").glob("*.py"))
_NUMBER: Final = re.compile(r"[-+−]?\d+(?:\.\d+)?")
_LIMIT: Final = 900  # seconds for one cell


def executed(script: Path) -> Any:
    """The script as a notebook (`nbformat.NotebookNode`), executed in an empty home; ids and times are left out."""
    import jupytext
    import nbclient

    notebook = jupytext.read(script)
    with tempfile.TemporaryDirectory() as home:
        scrubbed = {"HOME": home, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "JUPYTER_PLATFORM_DIRS": "1"}
        with mock.patch.dict(os.environ, scrubbed):
            os.environ.pop("RECALIGN_CACHE", None)
            nbclient.NotebookClient(notebook, timeout=_LIMIT, record_timing=False).execute(cwd=home)
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"
        if cell.cell_type == "code":  # warnings name places on this machine
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    notebook.metadata.pop("jupytext", None)
    notebook.metadata.pop("language_info", None)
    return notebook


def texts(notebook: Any) -> list[str]:
    """What each cell of code printed, of those whose text is the same on every machine (no tag ``varies``)."""
    kept = [c for c in notebook.cells if c.cell_type == "code" and "varies" not in c.metadata.get("tags", [])]
    return ["".join(output.get("text", "") for output in cell.outputs) for cell in kept]


def differences(committed: list[str], made: list[str], tolerance: float = 0.05) -> list[str]:
    """Where texts are not the same: words must be equal, numbers may differ by 5 % (processors differ)."""
    if len(committed) != len(made):
        return [f"{len(committed)} cells became {len(made)}"]
    found = []
    for before, after in zip(committed, made, strict=True):
        numbers = [[float(text.replace("−", "-")) for text in _NUMBER.findall(side)] for side in (before, after)]
        alike = all(abs(a - b) <= tolerance * max(abs(a), abs(b)) for a, b in zip(*numbers, strict=False))
        if _NUMBER.sub("#", before) != _NUMBER.sub("#", after) or not alike:
            found.append(f"{before!r} became {after!r}")
    return found


def main() -> None:
    """Write the notebook beside each script."""
    import nbformat

    for script in SCRIPTS:
        nbformat.write(executed(script), script.with_suffix(".ipynb"))


if __name__ == "__main__":
    main()
