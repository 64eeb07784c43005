"""`recalign download`: terms first, then the folder; refusals before anything happens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from recalign.cli.download import download
from recalign.data.transfer import Progress
from recalign.errors import ConfigError

app = typer.Typer()
app.command()(download)
runner = CliRunner()
HASH = "0" * 64


def test_terms_folder_and_next_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[object, ...]] = []

    def fake(
        name: str, output: Path, sha256: str | None, *, url: str | None, progress: Progress | None, **_: Any
    ) -> Path:
        calls.append((name, output, sha256, url))
        return output

    monkeypatch.setattr("recalign.data.download.download", fake)
    result = runner.invoke(app, ["movielens-1m", "--output", str(tmp_path / "d"), "--sha256", HASH])
    assert result.exit_code == 0
    assert calls == [("movielens-1m", tmp_path / "d", HASH, None)]
    assert result.stdout == f"{tmp_path / 'd'}\n"
    assert "Terms of use: MovieLens" in result.stderr
    assert "recalign prepare movielens --input" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"), [(["nowhere"], "movielens-100k"), (["movielens-100k"], "expected --sha256 HEX")]
)
def test_refusals(tmp_path: Path, arguments: list[str], words: str) -> None:
    result = runner.invoke(app, [*arguments, "--output", str(tmp_path / "d")])
    assert isinstance(result.exception, ConfigError)
    assert words in str(result.exception)
    assert list(tmp_path.iterdir()) == []
