"""Answers requests: reads bodies, runs a job in a thread while its client is connected, streams events."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import anyio
from starlette.datastructures import Headers, UploadFile
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from bitmosaic.images import UnreadableImage
from bitmosaic.web import requests
from bitmosaic.web.job import ClientGone, Job
from bitmosaic.web.jobs import about, answer, draw
from bitmosaic.web.limits import Limits, RequestError
from bitmosaic.web.pictures import encoded, strip, unreadable
from bitmosaic.web.studio import Studio
from bitmosaic.web.task import Task, Uploads
from bitmosaic.web.words import of_library, shown

T = TypeVar("T")
LOG = logging.getLogger("bitmosaic.studio")
PICTURES = {"image/png": "png", "image/webp": "webp"}
HEARTBEAT = 10  # seconds of silence in a stream after which a comment is sent, so that proxies keep it open


async def read_body(request: Request, kind: type[requests.SamplingRequest], limits: Limits) -> tuple[requests.SamplingRequest, Uploads]:
    """The request in a body, JSON or a multipart form, and the pictures uploaded with it.

    RequestError: 415 for another or a compressed content type, 400 for invalid JSON, 413 for too many bytes, 422 for fields that do
    not fit.
    """
    if request.url.query:
        raise RequestError(422, f"query: got {shown(request.url.query[:70])}; leave it out: all fields go into the body")
    _check_plain("the body", request.headers, "content-encoding", "identity")
    media = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if media == "application/json":
        return requests.read(kind, await request.body(), limits), Uploads()
    if media != "multipart/form-data":
        raise RequestError(415, f"content-type: got {shown(media[:50])}; send application/json, or multipart/form-data")
    async with request.form(max_files=2, max_fields=2, max_part_size=limits.bytes) as form:
        fields, uploads = None, {}
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                _check_plain(f"the part {name[:50]}", value.headers, "content-encoding", "identity")
                _check_plain(f"the part {name[:50]}", value.headers, "content-transfer-encoding", "binary", "8bit", "7bit")
            if name in ("image", "mask") and name in kind.model_fields and isinstance(value, UploadFile) and name not in uploads:
                uploads[name] = await value.read()
            elif name == "request" and fields is None:
                fields = _json(value if isinstance(value, str) else await value.read())
            else:
                what = f"{name[:50]}: an unexpected part of the form"
                raise RequestError(422, f"{what}; send 'request' (JSON), and the files 'image' and 'mask'")
    if fields is None and not uploads:
        raise RequestError(422, "request: this part of the form is missing; send a JSON object")
    fields = fields or {}
    for name in uploads:
        if name in fields:
            raise RequestError(422, f"{name}: it came twice, in the JSON and as a file; send one")
        fields[name] = "a file"
    return requests.read(kind, fields, limits), Uploads(**uploads)


def _check_plain(what: str, headers: Headers, name: str, *plain: str) -> None:
    """RequestError (415) for a compressed or encoded part: its bytes would be read as if they were plain."""
    found = headers.get(name, "").strip().lower()
    if found not in ("", *plain):
        raise RequestError(415, f"{name}: got {shown(found[:70])}; send {what} as it is", Accept_Encoding="identity")


def _json(text: str | bytes) -> dict[str, Any]:
    requests.check_values(text.encode(errors="replace") if isinstance(text, str) else text)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise RequestError(400, "request: got a part of the form that is not a JSON object; send one, such as {\"class\": 3}")
    return found


def wanted_form(request: Request, forms: tuple[str, ...]) -> str:
    """The media type of the answer: the one that Accept prefers among `forms`; forms[0] for */*. RequestError (406) where none fits."""
    for media in _accepted(request.headers.get("accept", "*/*")):
        if media in ("*/*", "application/*", ""):
            return forms[0]
        if media == "image/*" and "image/png" in forms:
            return "image/png"
        if media in forms:
            return media
    raise RequestError(406, f"accept: got {shown(request.headers['accept'][:70])}; give one of {', '.join(forms)}")


def _accepted(header: str) -> list[str]:
    """The media types of an Accept header by descending weight q, without those of q=0 (RFC 9110, section 12.5.1)."""
    found = []
    for part in header.split(","):
        media, *parameters = (text.strip().lower() for text in part.split(";"))
        weights = [text[2:] for text in parameters if text.startswith("q=")]
        try:
            found.append((float(weights[0]) if weights else 1.0, media))
        except ValueError:
            found.append((1.0, media))
    return [media for weight, media in sorted(found, key=lambda pair: -pair[0]) if weight > 0]


async def in_thread(studio: Studio, request: Request, job: Job, work: Callable[[], T]) -> T:
    """The value of work(), which runs in a thread. The job is cancelled when the client disconnects. Raises what work() raises."""
    found, error = None, None

    async def watch() -> None:
        nonlocal error
        try:
            while (await request.receive())["type"] != "http.disconnect":
                pass
        except RequestError as refused:  # an unexpected body that is too large
            error = refused
        job.cancel()

    try:
        async with anyio.create_task_group() as group:
            group.start_soon(watch)
            try:
                found = await anyio.to_thread.run_sync(work, limiter=studio.threads)
            except Exception as raised:
                error = error or raised
            group.cancel_scope.cancel()
    finally:
        studio.model.leave(job)
    if error is not None:
        raise error
    return found


def pictures(task: Task, form: str, started: float) -> Response:
    """The complete answer to a request for pictures. Runs in the job's thread."""
    made = draw(task, None)
    if form not in PICTURES:
        return JSONResponse(answer(task, made, started))
    image = made[0].image if len(made) == 1 else strip([one.image for one in made])
    return Response(encoded(image, PICTURES[form], about(task, *made)), media_type=form)


def refused(error: Exception) -> RequestError:
    """The error that a client is sent. An error of our own (500) goes to the log with its traceback, but without the request."""
    if isinstance(error, RequestError):
        return error
    if isinstance(error, ClientGone | ClientDisconnect):
        return RequestError(499, "the client has disconnected")
    if isinstance(error, UnreadableImage):
        return RequestError(400, unreadable(error))
    if isinstance(error, ValueError):
        return RequestError(422, of_library(error))
    LOG.error("a request failed", exc_info=error)
    return RequestError(500, "internal error; the service's log has its traceback; the request may be sent again")


class Events(Response):
    """Server-sent events of a job, which starts when the response is sent and ends at the latest when the client disconnects."""

    media_type = "text/event-stream"

    def __init__(self, studio: Studio, task: Task, started: float):
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._studio, self._task, self._started, self._ended = studio, task, started, 499  # unless it ends in a result or an error

    async def __call__(self, scope, receive, send) -> None:
        """Sends the stream. Its HTTP status is always 200, since it goes out first; scope["bitmosaic.status"] has that of its end."""
        job = self._task.guest.job
        give, take = anyio.create_memory_object_stream(16)

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            job.cancel()
            take.close()  # wakes the thread that is sending

        async def work() -> None:
            async with give:
                await anyio.to_thread.run_sync(self._work, give, limiter=self._studio.threads)

        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            async with anyio.create_task_group() as group:
                group.start_soon(watch)
                group.start_soon(work)
                await self._pass_on(take, send)
                group.cancel_scope.cancel()
        finally:
            scope["bitmosaic.status"] = self._ended
            self._studio.model.leave(job)
            take.close()

    async def _pass_on(self, take, send) -> None:
        while True:
            chunk = b": waiting\n\n"
            try:
                with anyio.move_on_after(HEARTBEAT):
                    name, data = await take.receive()
                    chunk = f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            except (anyio.EndOfStream, anyio.ClosedResourceError):
                break
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _work(self, give) -> None:
        """Runs the job in its thread and sends its events."""

        async def put(event: tuple[str, Any], seconds: float) -> None:
            with anyio.fail_after(seconds):
                await give.send(event)

        def emit(name: str, data: dict[str, Any]) -> None:
            try:
                anyio.from_thread.run(put, (name, data), self._task.guest.job.left())
            except (anyio.BrokenResourceError, anyio.ClosedResourceError, TimeoutError):
                self._task.guest.job.left()  # raises RequestError (408) where the time limit is over
                raise ClientGone from None  # the stream has no reader any more

        try:
            emit("result", answer(self._task, draw(self._task, emit), self._started))
            self._ended = 200
        except ClientGone:
            return
        except Exception as error:
            told = refused(error)
            self._ended = told.status
            with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError, TimeoutError):
                anyio.from_thread.run(put, ("error", {"error": told.message, "status": told.status}), 5.0)
