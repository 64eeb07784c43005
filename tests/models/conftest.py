"""Fixtures for tests that hold models."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from recalign.testing.tiny import ARCHITECTURES, make_tiny


@pytest.fixture(scope="package")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Architecture → tiny checkpoint directory. Tests must not change them."""
    root = tmp_path_factory.mktemp("backbones")
    return {name: make_tiny(root / name, name) for name in ARCHITECTURES}


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
