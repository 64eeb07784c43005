"""The public names: what `import recalign` gives, how late it loads, and that a notebook gets as far as the command."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import recalign
from recalign.errors import ArtifactError, ConfigError
from recalign.evaluation.document import Panel

PAGE = Path(__file__).parent.parent / "docs" / "api.md"


def test_every_public_name_is_there_and_stands_on_the_page_of_docs() -> None:
    listed = re.findall(r"^\| `recalign\.(\w+)", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(set(recalign.__all__) - {"__version__"})
    for name in recalign.__all__:
        assert getattr(recalign, name).__doc__, name
    with pytest.raises(AttributeError, match="tuna"):
        recalign.tuna  # type: ignore[attr-defined]  # noqa: B018


def test_importing_the_package_loads_nothing() -> None:
    heavy = "{'torch', 'transformers', 'polars', 'numpy', 'pydantic'}"
    code = f"import sys, recalign; print(sorted({heavy} & set(sys.modules)))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed == "[]\n"


def test_a_notebook_prepares_and_evaluates(tmp_path: Path) -> None:
    data = recalign.prepare("synthetic", tmp_path / "data", users=30, items=60, ratings_per_user=16)
    assert isinstance(data, recalign.SampleSet)
    panel = recalign.evaluate(["prior:like-rate"], data, resamples=50)
    assert isinstance(panel, Panel)
    assert panel.rows[0].model == "prior:like-rate"
    assert panel.rows[0].mean("auc") is not None
    with pytest.raises(ArtifactError, match="overwrite"):
        recalign.prepare("synthetic", tmp_path / "data")
    with pytest.raises(ConfigError, match="did you mean users"):
        recalign.prepare("synthetic", tmp_path / "other", usres=30)


def test_a_notebook_runs_a_file_and_gets_a_report(tmp_path: Path) -> None:
    file = tmp_path / "priors.toml"
    file.write_text(
        'name = "priors"\ntitle = "Priors alone"\n'
        '[data.only]\ndataset = "synthetic"\nusers = 30\nitems = 60\nratings_per_user = 16\n'
        '[[panels]]\nname = "p"\ndata = "only"\nresamples = 100\n',
        encoding="utf-8",
    )
    done = recalign.run(file, tmp_path / "run")
    assert done.failures == 0
    assert [row.model for row in done.results.panels[0].rows][:1] == ["prior:like-rate"]
    assert (tmp_path / "run" / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert (tmp_path / "run" / "data" / "only").is_dir()
