"""Scores for very many users, in shards: each user exactly once, whatever is killed."""
