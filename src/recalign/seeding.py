"""One seed, many named generators.

A component asks for a generator by name (``generator(seed, "kshot", dataset)``), so adding a consumer never shifts the
random numbers of another one, and the same (seed, names) gives the same stream on every machine.
"""

from __future__ import annotations

import hashlib

import numpy as np


def derive_seed(seed: int, *names: str | int) -> int:
    """Derive a 63-bit seed from a root seed and a path of names (SHA-256, so independent of ``PYTHONHASHSEED``)."""
    text = "\x1f".join([str(seed), *(str(name) for name in names)])
    return int.from_bytes(hashlib.sha256(text.encode("utf-8")).digest()[:8], "big") >> 1


def generator(seed: int, *names: str | int) -> np.random.Generator:
    """Return the NumPy generator that belongs to ``(seed, *names)``."""
    return np.random.Generator(np.random.PCG64(derive_seed(seed, *names)))
