"""The tiny checkpoints are what their families are, and the same each time."""

from __future__ import annotations

from pathlib import Path

import pytest

from recalign.testing.tiny import ARCHITECTURES, make_tiny


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_same_seed_same_files(tmp_path: Path, architecture: str) -> None:
    first, second = make_tiny(tmp_path / "a", architecture), make_tiny(tmp_path / "b", architecture)
    for path in first.iterdir():
        assert path.read_bytes() == (second / path.name).read_bytes(), path.name
    other = make_tiny(tmp_path / "c", architecture, seed=1)
    assert (other / "model.safetensors").read_bytes() != (first / "model.safetensors").read_bytes()
    assert (other / "tokenizer.json").read_bytes() == (first / "tokenizer.json").read_bytes()


def test_unknown_architecture(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown architecture 'bert'; known: llama"):
        make_tiny(tmp_path, "bert")
