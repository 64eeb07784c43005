"""Evaluation: score files in; metrics with intervals, paired comparisons and tables out."""
