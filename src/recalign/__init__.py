"""recalign aligns a language model with recommendation."""

__version__ = "0.1.0"
