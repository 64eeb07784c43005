"""Serving: tuned models behind HTTP, one model thread for all requests."""
