"""Ratings in, validated tables and samples out. Knows no prompt and no model."""
