"""The Scorer interface and the language-model scorer."""
