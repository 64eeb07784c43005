"""Numbers computed from per-sample score files alone."""
