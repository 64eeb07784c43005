"""recalign aligns a language model with recommendation: the public names, each imported when it is first used."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from recalign import errors, metrics
    from recalign.api import prepare, recommend, run, score
    from recalign.baselines.priors import prior
    from recalign.data.catalog import ItemCatalog
    from recalign.data.samples import SampleSet
    from recalign.evaluation.evaluate import evaluate
    from recalign.evaluation.evaluate import load_saved as load_scorer
    from recalign.experiment.push import push
    from recalign.experiment.tune import tune
    from recalign.recommender import Recommender
    from recalign.scoring.base import Scorer
    from recalign.tuning.export import export
    from recalign.tuning.export_data import export_data

__version__ = "0.2.0"
__all__ = [
    "ItemCatalog",
    "Recommender",
    "SampleSet",
    "Scorer",
    "__version__",
    "errors",
    "evaluate",
    "export",
    "export_data",
    "load_scorer",
    "metrics",
    "prepare",
    "prior",
    "push",
    "recommend",
    "run",
    "score",
    "tune",
]

# Public name: module, and the name in it ("": the module itself).
_PUBLIC = {
    "ItemCatalog": ("recalign.data.catalog", "ItemCatalog"),
    "Recommender": ("recalign.recommender", "Recommender"),
    "SampleSet": ("recalign.data.samples", "SampleSet"),
    "Scorer": ("recalign.scoring.base", "Scorer"),
    "errors": ("recalign.errors", ""),
    "evaluate": ("recalign.evaluation.evaluate", "evaluate"),
    "export": ("recalign.tuning.export", "export"),
    "export_data": ("recalign.tuning.export_data", "export_data"),
    "load_scorer": ("recalign.evaluation.evaluate", "load_saved"),
    "metrics": ("recalign.metrics", ""),
    "prepare": ("recalign.api", "prepare"),
    "prior": ("recalign.baselines.priors", "prior"),
    "push": ("recalign.experiment.push", "push"),
    "recommend": ("recalign.api", "recommend"),
    "run": ("recalign.api", "run"),
    "score": ("recalign.api", "score"),
    "tune": ("recalign.experiment.tune", "tune"),
}


def __getattr__(name: str) -> object:
    """Import a public name on first use: ``import recalign`` alone stays instant and loads no other package."""
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, inner = _PUBLIC[name]
    found = import_module(module)
    return getattr(found, inner) if inner else found
