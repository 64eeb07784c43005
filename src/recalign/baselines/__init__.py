"""Models to compare with; priors need no learning."""
