"""Stage one: a few hundred candidates out of a whole catalogue, for a scorer to rank."""
