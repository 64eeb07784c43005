"""The HTTP application: routes, what errors become, and the layers around them."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Annotated, Any, Final

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import recalign
from recalign.errors import ConfigError, DataError
from recalign.recommender import Recommender
from recalign.retrieval.selection import RETRIEVE
from recalign.serving import schemas
from recalign.serving.connections import BODY_SECONDS, CancelOnDisconnect
from recalign.serving.data import NO_AUDIT, DataBeside
from recalign.serving.database import StoreError
from recalign.serving.metrics import Metrics
from recalign.serving.queue import DeadlinePassed, Overloaded, Unavailable
from recalign.serving.security import OPEN_ROUTES, ApiKeys, Guard
from recalign.serving.service import Service, UnknownModel
from recalign.serving.static import add_page
from recalign.serving.store import EventStore
from recalign.serving.worker import Limits, ModelThread

logger = logging.getLogger(__name__)
MAX_BODY: Final = 1 << 20  # bytes
DRAINING: Final = "the server is going down"
_PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"model": schemas.Problem} for status in (401, 404, 413, 422, 429, 500, 503, 504)
}
PROMETHEUS: Final = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(slots=True)
class Lifecycle:
    """Whether a server is going down, and what it still has to answer.

    Attributes:
        draining: It was told to go: it is not ready any more, and still answers.
        accepting: It takes requests; the last thing to end before the listener closes.
        in_flight: Requests without an answer, but for health and metrics.
    """

    draining: bool = False
    accepting: bool = True
    in_flight: int = 0


@dataclass(frozen=True, slots=True)
class Application:
    """A server without its sockets."""

    asgi: ASGIApp
    thread: ModelThread
    life: Lifecycle = field(default_factory=Lifecycle)


def create_app(
    models: Mapping[str, Recommender],
    *,
    keys: ApiKeys | None = None,
    store: EventStore | None = None,
    limits: Limits | None = None,
    timeout: float = 10.0,
    retrieve: int = RETRIEVE,
    body_seconds: float = BODY_SECONDS,
    data: DataBeside | None = None,
    verdicts: Mapping[str, schemas.ToldVerdict] | None = None,
) -> Application:
    """Build the application around loaded models; start its `thread` before it is asked.

    Args:
        models, store, timeout, retrieve: See `Service`.
        keys: Who may ask. None: anybody on this machine; then the Host header must name it, so that no page of a
            stranger reaches the server by a name of its own.
        limits: Of the model thread.
        body_seconds: Seconds in which a request's body must have come.
        data: Its priors are served after the models, and its audit.
        verdicts: What evaluations say of the models, by name; see `told_verdicts`.

    Raises:
        ConfigError: There is no model, or one has the name of a prior.
    """
    if data is not None:
        models = data.beside(models)
    life = Lifecycle()
    scorers = {name: model.scorer for name, model in models.items()}
    thread = ModelThread(scorers, limits, on_batch=lambda candidates, seconds: metrics.batch(candidates, seconds))
    metrics = Metrics(
        waiting=lambda: thread.cost,
        in_flight=lambda: life.in_flight,
        ready=lambda: _trouble(thread, life) is None,
    )
    service = Service(models, thread, store=store, timeout=timeout, retrieve=retrieve)
    app = FastAPI(title="recalign", version=recalign.__version__, docs_url=None, redoc_url=None, max_body_size=MAX_BODY)
    _add_verbs(app, service)
    _add_events(app, service)
    _add_judgements(app, data, verdicts or {})
    _add_operations(app, service, thread, life, metrics)
    add_page(app)
    _add_errors(app)
    inner: ASGIApp = CancelOnDisconnect(app, on_cancel=metrics.cancelled.inc, body_seconds=body_seconds)
    if keys is None:
        inner = TrustedHostMiddleware(inner, allowed_hosts=["localhost", "127.0.0.1", "[::1]"])
    known = frozenset(app.openapi()["paths"])
    return Application(_Observed(Guard(inner, keys), life, metrics, known), thread, life)


def _add_verbs(app: FastAPI, service: Service) -> None:
    @app.post("/v1/recommend", responses=_PROBLEMS)
    async def recommend(request: schemas.RecommendRequest) -> schemas.RecommendResponse:
        """The best items for likes and dislikes, or for a user."""
        return await service.recommend(request)

    @app.post("/v1/score", responses=_PROBLEMS)
    async def score(request: schemas.ScoreRequest) -> schemas.ScoreResponse:
        """Scores of given items."""
        return await service.score(request)

    @app.post("/v1/rerank", responses=_PROBLEMS, response_model_exclude_none=True)
    async def rerank(request: schemas.RerankRequest) -> schemas.RerankResponse:
        """Documents (titles) by score, in the shape that clients of Cohere and Jina know."""
        return await service.rerank(request)

    @app.post("/v1/explain", responses=_PROBLEMS)
    async def explain(request: schemas.ExplainRequest) -> schemas.ExplainResponse:
        """What each entry of the history does to the score of given items."""
        return await service.explain(request)

    @app.get("/v1/items", responses=_PROBLEMS)
    async def items(
        q: Annotated[str, Query(min_length=1, max_length=200)],
        limit: Annotated[int, Query(ge=1, le=50)] = 10,
        model: Annotated[str | None, Query(max_length=200)] = None,
    ) -> schemas.ItemsResponse:
        """Autocomplete: items whose titles have a word that begins as typed."""
        return await service.items(q, limit, model)


def _add_events(app: FastAPI, service: Service) -> None:
    @app.post("/v1/events", responses=_PROBLEMS)
    async def append(request: schemas.EventsRequest) -> schemas.EventsResponse:
        """Store what users did, all of it or nothing (needs --store)."""
        return await service.append(request)

    @app.delete("/v1/events", responses=_PROBLEMS)
    async def forget(user: Annotated[schemas.Name, Query()]) -> schemas.ForgottenResponse:
        """Delete all events of a user (needs --store)."""
        return await service.forget(user)


def _add_judgements(app: FastAPI, data: DataBeside | None, verdicts: Mapping[str, schemas.ToldVerdict]) -> None:
    @app.get("/v1/audit", responses=_PROBLEMS)
    async def audit() -> schemas.AuditResponse:
        """What about the data of --data can mislead, as `recalign audit` says it; null and nothing without --data."""
        return NO_AUDIT if data is None else data.audit

    @app.get("/v1/verdicts", responses=_PROBLEMS)
    async def told() -> schemas.VerdictsResponse:
        """Whether each model beats what needs no learning, as an evaluation found before the server started."""
        return schemas.VerdictsResponse(verdicts=dict(verdicts))


def _add_operations(app: FastAPI, service: Service, thread: ModelThread, life: Lifecycle, metrics: Metrics) -> None:
    @app.get("/livez")
    async def livez() -> dict[str, str]:
        """200 while the process answers at all."""
        return {"status": "alive"}

    @app.get("/readyz")
    async def readyz() -> JSONResponse:
        """200 while requests can be answered; 503 where the model thread is dead or stuck, or the server goes down."""
        trouble = _trouble(thread, life)
        return JSONResponse({"status": trouble or "ready", "models": service.names}, 200 if trouble is None else 503)

    @app.get("/metrics", response_class=PlainTextResponse)
    async def read_metrics() -> Response:
        """Counters for Prometheus."""
        return Response(metrics.text(), media_type=PROMETHEUS)

    @app.get("/docs", response_class=HTMLResponse, include_in_schema=False)
    async def docs() -> str:
        return _page(app.openapi())


def _add_errors(app: FastAPI) -> None:
    def answer(kind: type[Exception], status: int, headers: Callable[[Any], dict[str, str]] = lambda _: {}) -> None:
        @app.exception_handler(kind)
        async def handle(_: Request, error: Exception) -> JSONResponse:
            return JSONResponse({"error": str(error)}, status, headers(error))

    answer(DataError, 422)
    answer(ConfigError, 422)
    answer(UnknownModel, 404)
    answer(Overloaded, 429, lambda error: {"Retry-After": str(error.retry_after)})
    answer(Unavailable, 503, lambda _: {"Retry-After": "1"})
    answer(DeadlinePassed, 504)

    @app.exception_handler(StoreError)
    async def broken_store(_: Request, error: StoreError) -> JSONResponse:
        logger.error("%s", error)  # it names the database, which is not for clients
        problem = "the store of events cannot be used now; the server's log says why"
        return JSONResponse({"error": problem}, 503, {"Retry-After": "1"})

    @app.exception_handler(HTTPException)
    async def refuse(_: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({"error": str(error.detail)}, error.status_code, error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        # Without what was sent: it can be large, or no valid text.
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        return JSONResponse({"error": f"{place}: {first['msg']}".encode("utf-8", "replace").decode()}, 422)

    @app.exception_handler(Exception)
    async def broken(_: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"error": "the server failed on this request; its log says why"}, 500)


class _Observed:
    """The outermost layer: counts requests, and refuses them at the very end of a server's life."""

    def __init__(self, app: ASGIApp, life: Lifecycle, metrics: Metrics, known: frozenset[str]) -> None:
        self._app, self._life, self._metrics, self._known = app, life, metrics, known

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OPEN_ROUTES:
            await self._app(scope, receive, send)
            return
        route = scope["path"] if scope["path"] in self._known else "other"
        start, status = time.monotonic(), 499  # as nginx says it: the client went away before

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self._life.in_flight += 1
        try:
            await self._answer(scope, receive, observed)
        finally:
            self._life.in_flight -= 1
            self._metrics.requests.labels(route, str(status)).inc()
            self._metrics.seconds.labels(route).observe(time.monotonic() - start)

    def _answer(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if self._life.accepting:
            return self._app(scope, receive, send)
        return JSONResponse({"error": DRAINING}, 503, {"Retry-After": "1"})(scope, receive, send)


def _trouble(thread: ModelThread, life: Lifecycle) -> str | None:
    return DRAINING if life.draining else thread.trouble


def _page(document: Mapping[str, Any]) -> str:
    """The routes as a page of plain HTML: no script, no style, nothing from elsewhere."""
    rows = "".join(
        f"<tr><td><code>{method.upper()} {escape(path)}</code></td><td>{escape(spec.get('description', ''))}</td></tr>"
        for path, methods in document["paths"].items()
        for method, spec in methods.items()
    )
    parts = "".join(
        f"<h2>{escape(name)}</h2><p>{escape(schema.get('description', ''))}</p><table>{_fields(schema)}</table>"
        for name, schema in document["components"]["schemas"].items()
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>recalign</title><h1>recalign</h1>'
        f'<p>Machine-readable: <a href="/openapi.json">openapi.json</a></p><table>{rows}</table>{parts}</html>'
    )


def _fields(schema: Mapping[str, Any]) -> str:
    needed = schema.get("required", [])
    return "".join(
        f"<tr><td><code>{escape(name)}</code>{' (needed)' if name in needed else ''}</td>"
        f"<td>{escape(field.get('description', ''))}</td></tr>"
        for name, field in schema.get("properties", {}).items()
    )
