"""The routes of the studio: its page, and the HTTP service."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from contextlib import asynccontextmanager
from importlib import resources
from pathlib import Path

import anyio
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from bitmosaic import __version__
from bitmosaic.memory import give_back
from bitmosaic.web import requests
from bitmosaic.web.answering import Events, in_thread, pictures, read_body, refused, wanted_form
from bitmosaic.web.guard import LOG, Guard
from bitmosaic.web.jobs import encode, features
from bitmosaic.web.openapi import document
from bitmosaic.web.pictures import bundled_image, encoded
from bitmosaic.web.studio import Studio
from bitmosaic.web.task import Task
from bitmosaic.web.words import shown

PAGE = Path(str(resources.files("bitmosaic.web") / "page"))
GIVE_BACK = 60  # seconds after which the allocator returns free memory to the system, again and again
KEPT = {"Cache-Control": "private, max-age=300"}


def application(
    studio: Studio, *, token: str | None = None, hosts: Sequence[str] | None = None, origins: Sequence[str] = ()
) -> Starlette:  # fmt: skip
    """The ASGI application of a studio. token, hosts, origins: as of `Guard`."""

    @asynccontextmanager
    async def life(app):
        with studio.model:
            async with anyio.create_task_group() as group:
                group.start_soon(_give_back_memory)
                yield
                group.cancel_scope.cancel()
        studio.errands.join()

    guard = Middleware(Guard, limits=studio.limits, token=token, hosts=hosts, origins=origins, seen=studio.told)
    routes = [
        Route("/", lambda request: FileResponse(PAGE / "index.html", headers={"Cache-Control": "no-cache"})),
        Route("/health", _named(_health(studio), "health")),
        Route("/metrics", _named(_metrics(studio), "metrics")),
        Route("/openapi.json", _named(_document(studio), "openapi")),
        Route("/v1/pipelines", _named(_pipelines(studio), "pipelines")),
        Route("/v1/bundled/{number}", _named(_bundled(studio), "bundled")),
        Route("/v1/bundled/{set}/{number}", _named(_bundled(studio), "bundled")),
        Route("/v1/classes/{pipeline}/{number}.png", _named(_thumbnail(studio), "classes")),
        *(Route(f"/v1/{name}", _named(_job(studio, name), name), methods=["POST"]) for name in requests.JOBS),
        Mount("/static", StaticFiles(directory=PAGE)),
    ]
    app = Starlette(routes=routes, middleware=[guard], exception_handlers={HTTPException: _http_error}, lifespan=life)
    app.router.redirect_slashes = False
    return app


async def _give_back_memory() -> None:
    """Returns free memory to the system regularly: fragmentation would otherwise add up over days."""
    while True:
        await anyio.sleep(GIVE_BACK)
        try:
            await anyio.to_thread.run_sync(give_back)
        except Exception:  # for instance where no thread can be started: it must not end the service
            LOG.exception("free memory was not returned to the system")


def _named(endpoint, name: str):
    """An endpoint whose requests are counted under `name` in the metrics, and whose errors become JSON answers."""

    async def named(request: Request) -> Response:
        request.scope["bitmosaic.route"] = name
        try:
            return await endpoint(request)
        except HTTPException:
            raise
        except Exception as error:
            told = refused(error)
            unread = {"Connection": "close"} if told.status in (408, 413) else {}  # the rest of the body is not read
            return JSONResponse({"error": told.message, "status": told.status}, told.status, {**told.headers, **unread})

    return named


def _job(studio: Studio, name: str):
    kind = requests.JOBS[name]
    forms = ("application/json", "image/png", "image/webp") if name in requests.PICTURES else ("application/json",)
    forms = (*forms, "text/event-stream") if name in requests.DRAWN else forms

    async def job(request: Request) -> Response:
        started, form = time.monotonic(), wanted_form(request, forms)
        asked, uploads = await read_body(request, kind, studio.limits)
        studio.check_job(asked.pipeline, name)
        admitted = studio.admit(asked)
        streamed = form == "text/event-stream"
        task = Task(name, asked, uploads, studio.guest(asked.pipeline, admitted, streamed), studio.bundled, studio.limits)
        if streamed:
            return Events(studio, task, started)
        return await in_thread(studio, request, admitted, lambda: _answer(studio, task, form, started))

    return job


def _answer(studio: Studio, task: Task, form: str, started: float) -> Response:
    """The answer to a request that is not streamed. Runs in the job's thread."""
    if task.name in requests.PICTURES:
        return pictures(task, form, started)
    if task.name == "neighbours":
        found = studio.bundles[task.guest.name].nearest(task.guest, task.picture(), task.asked.count, task.asked.by, task.asked.fit)
    else:
        found = (encode if task.name == "encode" else features)(task)
    return JSONResponse({"pipeline": task.guest.name, **found})


def _thumbnail(studio: Studio):
    async def thumbnail(request: Request) -> Response:
        name, number = request.path_params["pipeline"], _number(request)
        studio.check_class(name, number)
        found = await anyio.to_thread.run_sync(studio.thumbnails[name].get, number)
        if isinstance(found, int):
            return JSONResponse({"retry_after": found}, 202, {"Retry-After": str(found), "Cache-Control": "no-store"})
        return Response(found, media_type="image/png", headers=KEPT)

    return thumbnail


def _number(request: Request) -> int:
    """The number in a path; HTTPException (404) for anything else. Starlette's own converter fails at thousands of digits."""
    text = request.path_params["number"]
    if re.fullmatch("[0-9]{1,9}", text) is None:
        raise HTTPException(404)
    return int(text)


def _bundled(studio: Studio):
    async def bundled(request: Request) -> Response:
        name, number = request.path_params.get("set", "fashion"), _number(request)
        image, of = bundled_image(name, number, studio.bundled), studio.bundled[name]
        label = of.class_names[int(of.labels[number])]
        return Response(encoded(image), media_type="image/png", headers={**KEPT, "X-Class": label})

    return bundled


def _pipelines(studio: Studio):
    async def pipelines(request: Request) -> Response:
        return JSONResponse(studio.about())

    return pipelines


def _health(studio: Studio):
    async def health(request: Request) -> Response:
        alive = studio.model.alive
        told = {"status": "ok" if alive else "broken", "version": __version__, "images_waited_for": studio.model.admitted}
        return JSONResponse(told, 200 if alive else 503)

    return health


def _metrics(studio: Studio):
    async def metrics(request: Request) -> Response:
        return Response(generate_latest(studio.registry), media_type=CONTENT_TYPE_LATEST)

    return metrics


def _document(studio: Studio):
    async def openapi(request: Request) -> Response:
        return JSONResponse(document(studio.limits))

    return openapi


async def _http_error(request: Request, error: HTTPException) -> Response:
    """The answer to a request that Starlette refuses."""
    got = f"got {shown(f'{request.method} {request.url.path}'[:70])}"
    plain = {404: f"address: {got}; /openapi.json lists those that exist", 405: f"method: {got}; /openapi.json lists those allowed"}
    message = plain.get(error.status_code, f"body: {error.detail.rstrip('.')}; send JSON, or a form with 'request', 'image' and 'mask'")
    return JSONResponse({"error": message, "status": error.status_code}, error.status_code, error.headers)
