"""One module per verb; the error boundary is in main."""
