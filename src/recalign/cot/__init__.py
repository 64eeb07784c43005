"""Chain-of-thought data (TLRec): what a teacher is asked in three steps about a user, and what of it is kept."""
