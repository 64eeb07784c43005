"""Where backbones that recalign built or fetched are kept."""

from __future__ import annotations

import os
from pathlib import Path


def cache_directory() -> Path:
    """``$RECALIGN_CACHE``, else ``recalign`` in ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    root = os.environ.get("RECALIGN_CACHE")
    if root:
        return Path(root)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "recalign"
