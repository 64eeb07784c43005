"""Samples in, prompt text and token ids out."""
