"""The routes of the page that a browser shows at `/`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import FastAPI
from fastapi.responses import Response

from recalign.serving.files import PAGE, PageFile


def add_page(app: FastAPI) -> None:
    """Add the routes of the page. They hold no data, so `Guard` lets them pass without a key."""

    def answer(file: PageFile) -> Callable[[], Awaitable[Response]]:
        async def handle() -> Response:
            return Response(file.content, media_type=file.media_type)

        return handle

    for path, file in PAGE.items():
        app.get(path, include_in_schema=False)(answer(file))
