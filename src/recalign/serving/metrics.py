"""Counters of a server, in Prometheus' text format. Labels are routes and status codes, never what a client wrote."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_CANDIDATES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class Metrics:
    """What is counted; each server has its own registry."""

    def __init__(
        self, *, waiting: Callable[[], float], in_flight: Callable[[], float], ready: Callable[[], float]
    ) -> None:
        """Register everything. The three functions are asked when somebody reads the metrics."""
        registry = self._registry = CollectorRegistry()
        self.requests = Counter("recalign_requests", "Answered requests.", ["route", "status"], registry=registry)
        self.seconds = Histogram(
            "recalign_request_seconds", "Seconds until the answer.", ["route"], buckets=_SECONDS, registry=registry
        )
        self.cancelled = Counter(
            "recalign_cancelled", "Requests whose client went away before the answer.", registry=registry
        )
        self.batches = Histogram(
            "recalign_batch_candidates", "Candidates scored together.", buckets=_CANDIDATES, registry=registry
        )
        self.scoring = Counter("recalign_scoring_seconds", "Seconds in which the model was scoring.", registry=registry)
        for name, text, ask in (
            ("recalign_waiting_candidates", "Candidates that wait or are being scored.", waiting),
            ("recalign_in_flight_requests", "Requests without an answer yet.", in_flight),
            ("recalign_ready", "1 where /readyz says yes.", ready),
        ):
            Gauge(name, text, registry=registry).set_function(ask)

    def batch(self, candidates: int, seconds: float) -> None:
        """Count one batch."""
        self.batches.observe(candidates)
        self.scoring.inc(seconds)

    def text(self) -> bytes:
        """Everything, as Prometheus reads it."""
        return generate_latest(self._registry)
