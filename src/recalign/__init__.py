"""recalign aligns a language model with recommendation."""

import importlib

__version__ = "0.1.0"
__all__ = ["Recommender", "__version__"]


def __getattr__(name: str) -> object:
    """Import `Recommender` on first use: `import recalign` alone stays instant and loads no other package."""
    if name == "Recommender":
        return importlib.import_module("recalign.recommender").Recommender
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
