"""The built-in metrics, one module each. `recalign.evaluation.metric` says what a module holds."""
