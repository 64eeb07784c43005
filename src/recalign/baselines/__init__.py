"""Models to compare with: sequential recommenders, trained here, and priors, which need no learning."""
