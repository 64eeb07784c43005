"""Serve tuned models from their directories, as `recalign serve` does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from recalign.data.samples import SampleSet
from recalign.models.config import Precision
from recalign.retrieval.selection import RETRIEVE
from recalign.serving.app import create_app
from recalign.serving.data import DataBeside
from recalign.serving.model_verdicts import told_verdicts
from recalign.serving.models import load_models
from recalign.serving.security import ApiKeys, check_host
from recalign.serving.server import Server, listen
from recalign.serving.store import EventStore
from recalign.serving.worker import Limits


@dataclass(frozen=True, slots=True)
class ServeConfig:
    """How to serve.

    Attributes:
        host, port: Where to listen; any other host than this machine needs `keys`.
        keys: File with the API keys; None for none.
        store: Where the events of users are: a file (SQLite) or a URL of SQLAlchemy; None for nowhere.
        like_above: A rating above it counts as liked; without it ratings are refused.
        timeout: Seconds for one request, at most.
        capacity: Candidates that may wait at one time.
        stall_seconds: Without a sign of life from the model for this long, the server is not ready.
        drain_seconds: How long requests are still accepted after SIGTERM.
        device, precision: See `Recommender.load`.
        index: What `recalign index` wrote for the catalogue of all models; without it `recommend` scores the catalogue.
        retrieve: Candidates that the index hands to a model.
        data: Prepared data: its catalogue is that of all models, its priors and audit stand beside them. None for none.
        backbone: Path or hub id of the backbone of all models, where it is no longer where they say.
        endpoint: Where the only model is served, see `Recommender.load`; None: it is loaded here.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    keys: Path | None = None
    store: str | Path | None = field(default=None, repr=False)  # a password may stand in it
    like_above: float | None = None
    timeout: float = 10.0
    capacity: int = 8_000
    stall_seconds: float = 2.0
    drain_seconds: float = 2.0
    device: str = "auto"
    precision: Precision = "auto"
    index: Path | None = None
    retrieve: int = RETRIEVE
    data: Path | None = None
    backbone: str | None = None
    endpoint: str | None = None


def serve(runs: Sequence[str], config: ServeConfig, *, on_start: Callable[[str, list[str]], None]) -> None:
    """Load models and serve them until SIGTERM or Ctrl-C.

    Args:
        runs: See `load_models`.
        config: See `ServeConfig`.
        on_start: Called with the address and the models' names when requests are about to be answered.

    Raises:
        ConfigError: The host needs a key, the port is taken, or a file of keys or the store's URL is wrong.
        ArtifactError, ModelError: As `load_models` and `EventStore`.
        ArtifactError, DataError: As `SampleSet.load` and `DataBeside.of`.
    """
    keys = None if config.keys is None else ApiKeys.read(config.keys)
    check_host(config.host, keys)
    with listen(config.host, config.port) as listener:
        store = None if config.store is None else EventStore(config.store, like_above=config.like_above)
        with nullcontext() if store is None else closing(store):
            models = load_models(
                runs, device=config.device, precision=config.precision, index=config.index, data=config.data,
                backbone=config.backbone, endpoint=config.endpoint,
            )  # fmt: skip
            first = next(iter(models.values()))
            data = None if config.data is None else DataBeside.of(SampleSet.load(config.data), first)
            limits = Limits(capacity=config.capacity, stall_seconds=config.stall_seconds)
            application = create_app(
                models, keys=keys, store=store, limits=limits, timeout=config.timeout, retrieve=config.retrieve,
                data=data, verdicts=told_verdicts(models, runs, config.data),
            )  # fmt: skip
            server = Server(application, listener, drain_seconds=config.drain_seconds)
            host, port = listener.getsockname()[:2]
            on_start(f"http://{f'[{host}]' if ':' in host else host}:{port}", list(models))
            asyncio.run(server.serve())
