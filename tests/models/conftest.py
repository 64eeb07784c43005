"""Fixtures for tests that hold models."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from recalign.models import flex
from recalign.testing.tiny import ARCHITECTURES, make_tiny


@pytest.fixture(scope="package")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Architecture → tiny checkpoint directory. Tests must not change them."""
    root = tmp_path_factory.mktemp("backbones")
    return {name: make_tiny(root / name, name) for name in ARCHITECTURES}


@pytest.fixture
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fused attention runs as ordinary operations, with gradients. PyTorch compiles it for GPUs, and for CPUs
    without gradients only; its own check of that is left out."""
    module = "torch.nn.attention.flex_attention"
    monkeypatch.setattr(f"{module}._FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True)
    monkeypatch.setattr(f"{module}._validate_device", lambda *_tensors: None)
    monkeypatch.setattr("recalign.models.flex._compiled", lambda: flex._attention)


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """No socket connects within the test; what tried to is in the list."""
    asked: list[Any] = []

    def blocked(*arguments: Any, **_options: Any) -> None:
        asked.append(arguments)
        raise OSError("blocked by the test")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, blocked)
    for name in ("getaddrinfo", "create_connection"):
        monkeypatch.setattr(socket, name, blocked)
    return asked
