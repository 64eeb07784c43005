"""Whole runs: configuration, preparation, runner, evaluation, tables."""
