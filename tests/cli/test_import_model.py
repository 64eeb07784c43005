"""`recalign import gguf` and `recalign download smollm2`: what is printed, and refusals of one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from recalign.models.hf_checkpoint import inspect_checkpoint
from recalign.models.released import RELEASES
from recalign.testing.tiny import make_tiny

pytest.importorskip("gguf")
from recalign.testing.gguf import write_gguf

Cli = Callable[..., tuple[int, str, str]]


def test_a_gguf_file_becomes_a_backbone(tmp_path: Path, cli: Cli) -> None:
    file = write_gguf(make_tiny(tmp_path / "tiny"), tmp_path / "tiny.gguf")
    code, out, err = cli("import", "gguf", file, tmp_path / "out")
    assert (code, out) == (0, f"{tmp_path / 'out'}\n")
    assert f"next: recalign tune --backbone {tmp_path / 'out'}" in err
    assert inspect_checkpoint(tmp_path / "out", "out").licence() == "apache-2.0"
    code, out, err = cli("import", "gguf", file, tmp_path / "out")
    assert (code, out) == (0, f"{tmp_path / 'out'}\n")
    assert "already imported from these inputs and settings" in err
    other = write_gguf(make_tiny(tmp_path / "tiny2", seed=1), tmp_path / "other.gguf")
    code, out, err = cli("import", "gguf", other, tmp_path / "out")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "--overwrite" in err
    assert cli("import", "gguf", file, tmp_path / "out", "--overwrite")[0] == 0


@pytest.mark.parametrize(
    ("form", "content", "says"),
    [
        ("onnx", b"GGUF", "import of 'onnx'; expected gguf"),
        ("gguf", b"GGUF\x03", "damaged or cut short"),
        ("gguf", b"PK\x03\x04", "is no GGUF file"),
        ("gguf", None, "cannot read"),
    ],
)
def test_what_cannot_be_imported(tmp_path: Path, cli: Cli, form: str, content: bytes | None, says: str) -> None:
    if content is not None:
        (tmp_path / "file").write_bytes(content)
    code, out, err = cli("import", form, tmp_path / "file", tmp_path / "out")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert says in err
    assert not (tmp_path / "out").exists()


def test_a_language_model_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli) -> None:
    asked: list[tuple[object, ...]] = []

    def fetch(name: str, output: Path | None, sha256: str | None, *, url: str | None, progress: object) -> Path:
        asked.append((name, output, sha256, url))
        return tmp_path / "cache" / "smollm2"

    monkeypatch.setattr("recalign.models.released.download_release", fetch)
    code, out, err = cli("download", "smollm2")
    assert (code, out) == (0, f"{tmp_path / 'cache' / 'smollm2'}\n")
    assert asked == [("smollm2", None, None, None)]
    assert err.startswith(f"Terms of use: {RELEASES['smollm2'].licence}\n")
    assert "recalign tune --backbone smollm2 " in err


def test_a_dataset_needs_a_folder(cli: Cli) -> None:
    code, out, err = cli("download", "movielens-1m")
    assert (code, out) == (2, "")
    assert "expected --output DIR" in err
    assert "smollm2" in cli("download", "nowhere", "--output", "x")[2]
