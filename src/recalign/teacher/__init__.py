"""Teachers write chain-of-thought data: endpoints, local models, and one that is embedded."""
