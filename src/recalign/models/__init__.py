"""Backbones (Hugging Face causal language models and the embedded nano) and their adapters."""
