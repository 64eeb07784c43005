"""Experiments: a grid of runs from one TOML file, each kept under a hash of everything it depends on."""
