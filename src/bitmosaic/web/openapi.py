"""The OpenAPI 3.1 document: requests from the classes that parse them, so that both agree; answers by hand."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import models_json_schema

from bitmosaic import __version__
from bitmosaic.web import requests
from bitmosaic.web.limits import Limits

TEXT, NUMBER, WHOLE, YES = {"type": "string"}, {"type": "number"}, {"type": "integer"}, {"type": "boolean"}
BASE64 = {"type": "string", "contentEncoding": "base64"}
WHY = {
    "400": "the body is not JSON, or a picture cannot be read",
    "401": "the token is missing or wrong",
    "403": "the origin or the host is not allowed",
    "404": "there is no such address",
    "405": "the method is not allowed",
    "406": "none of the accepted media types is available",
    "408": "the time limit is over",
    "413": "too many bytes or pixels",
    "415": "the body is neither JSON nor a multipart form, or is compressed",
    "422": "a field is missing, unknown or outside its range",
    "429": "the queue is full; Retry-After has the seconds to wait",
    "503": "the service is shutting down, or its model has failed",
}
HEADERS = {
    "401": {"WWW-Authenticate": {"description": "Bearer", "required": True, "schema": TEXT}},
    "429": {"Retry-After": {"description": "seconds after which to try again", "required": True, "schema": WHOLE}},
}


def _list(of: dict) -> dict:
    return {"type": "array", "items": of}


def _or_null(of: dict) -> dict:
    return {"anyOf": [of, {"type": "null"}]}


def _object(optional: tuple[str, ...] = (), **fields) -> dict:
    needed = [name for name in fields if name not in optional]
    return {"type": "object", "properties": fields, "required": needed, "additionalProperties": False}


ANY = {"type": "object"}
PICTURE = _object(
    ("weights", "prompt"), image=BASE64, seed=_or_null(WHOLE), bits=_or_null(NUMBER), **{"class": {}}, prompt=TEXT, weights=_list(NUMBER)
)  # fmt: skip
PICTURES = _object(
    pipeline=TEXT,
    grid=_or_null(_list(WHOLE)),
    size=_list(WHOLE),
    seconds=NUMBER,
    settings=_or_null(ANY),
    notes=_list(TEXT),
    images=_list({"$ref": "#/components/schemas/Picture"}),
)
ENCODED = _object(pipeline=TEXT, grid=_list(WHOLE), radix=_list(WHOLE), codes=BASE64, image=BASE64, reconstruction=BASE64)
FEATURES = _object(pipeline=TEXT, layer=WHOLE, shape=_list(WHOLE), features={"type": "array"})
NEIGHBOUR = _object(name=TEXT, **{"class": TEXT}, distance=NUMBER, image=BASE64)
NEIGHBOURS = _object(pipeline=TEXT, by=TEXT, total=WHOLE, of=WHOLE, itself=_or_null(TEXT), neighbours=_list(NEIGHBOUR))
PIPELINE = _object(
    name=TEXT, jobs=_list(TEXT), condition={"enum": ["class", "text", "none"]}, classes=_list(TEXT), image_size=_list(WHOLE),
    channels=WHOLE, grid=_or_null(_list(WHOLE)), radix_length=_or_null(WHOLE), binary=_or_null(YES), layers=_or_null(WHOLE),
    family=_or_null(TEXT), sampler=ANY, background=TEXT, bundled=TEXT, parameters=WHOLE, fingerprint=TEXT, precision=TEXT,
    tile=YES,
)  # fmt: skip
LIMITS = _object(bytes=WHOLE, pixels=WHOLE, canvas=WHOLE, count=WHOLE, steps=WHOLE, evaluations=WHOLE, seconds=NUMBER, queue=WHOLE)
SETTING = _object(label=TEXT, text=TEXT, whole=YES, slider=_list(NUMBER))
SAMPLER = _object(name=TEXT, words=TEXT, preset=YES, type=TEXT, families=_list(TEXT), of_indices=YES, settings=_list(TEXT))
PIPELINES = _object(
    pipelines=_list(PIPELINE), limits=LIMITS, bundled={"type": "object", "additionalProperties": WHOLE}, version=TEXT,
    settings={"type": "object", "additionalProperties": SETTING}, samplers=_list(SAMPLER),
)  # fmt: skip
HEALTH = _object(status={"enum": ["ok", "broken"]}, version=TEXT, images_waited_for=WHOLE)
LATER = _object(retry_after=WHOLE)
ERROR = _object(error=TEXT, status=WHOLE)
ANSWERS = {"encode": "Encoded", "features": "Features", "neighbours": "Neighbours"}
STREAM = (
    "Events begin {grid, size, count}, step {index, total, window, windows, box, known, changed, entropy, images}, result (the JSON "
    "answer), error {error, status}. A canvas is painted in `windows` one after another: a step's images are of window number `window`, "
    "which lies in `box` (left, top, right, bottom) of the canvas of `size` (width, height). known: places that hold a code; changed: "
    "those whose code this step set, which is final unless the pipeline's family is denoising."
)


def document(limits: Limits) -> dict[str, Any]:
    """The document of a service with these limits."""
    names = {kind: f"{kind.__name__}Request" for kind in requests.JOBS.values()}
    _, found = models_json_schema([(kind, "validation") for kind in names], by_alias=True, ref_template="#/components/schemas/{model}")
    schemas = found["$defs"]
    for kind in names:
        fields = schemas[kind.__name__]["properties"]
        for name, most in (("count", limits.count), ("frames", limits.count), ("timeout", limits.seconds)):
            _bound(fields.get(name), most)
    for name in ("steps", "evaluations"):
        _bound(schemas["Settings"]["properties"][name], getattr(limits, name))
    answers = {
        "Picture": PICTURE, "PicturesAnswer": PICTURES, "EncodedAnswer": ENCODED, "FeaturesAnswer": FEATURES,
        "NeighboursAnswer": NEIGHBOURS, "Pipelines": PIPELINES, "Health": HEALTH, "Later": LATER, "Error": ERROR,
    }  # fmt: skip
    paths = {f"/v1/{name}": {"post": _job(name, kind, schemas[kind.__name__])} for name, kind in requests.JOBS.items()}
    number = {"in": "path", "name": "number", "required": True, "schema": {"type": "integer", "minimum": 0}}
    pipeline = {"in": "path", "name": "pipeline", "required": True, "schema": TEXT}
    paths |= {
        "/v1/pipelines": {"get": _get("The pipelines, the samplers and the limits of requests", _json("Pipelines"))},
        "/v1/bundled/{number}": {"get": _bundled(number)},
        "/v1/bundled/{set}/{number}": {"get": _bundled({**pipeline, "name": "set"}, number)},
        "/v1/classes/{pipeline}/{number}.png": {"get": _thumbnail(pipeline, number)},
        "/health": {"get": _health()},
        "/metrics": {"get": _get("Metrics in Prometheus's text format", {"text/plain": {}})},
        "/openapi.json": {"get": _get("This document", {"application/json": {}})},
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "bitmosaic studio", "version": __version__, "description": "Images as small grids of discrete codes."},
        "paths": paths,
        "components": {"schemas": {**schemas, **answers}, "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
        "security": [{"token": []}, {}],
    }


def _bound(field: dict | None, most: float) -> None:
    """Writes the largest value into a field's schema, into each numeric alternative where there are several."""
    for kind in [] if field is None else field.get("anyOf", [field]):
        if kind.get("type") in ("integer", "number"):
            kind["maximum"] = min(most, kind.get("maximum", most))


def _json(name: str) -> dict:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}


def _errors(*statuses: str) -> dict:
    told = {status: {"headers": HEADERS[status]} if status in HEADERS else {} for status in statuses}
    return {status: {"description": WHY[status], "content": _json("Error"), **told[status]} for status in statuses}


def _get(summary: str, content: dict, *parameters: dict) -> dict:
    more = {"parameters": list(parameters)} if parameters else {}
    return {
        "summary": summary,
        **more,
        "responses": {"200": {"description": summary, "content": content}, **_errors("401", "403", "404", "405", "408", "429", "503")},
    }


def _bundled(*parameters: dict) -> dict:
    told = _get("A bundled test image, of Fashion-MNIST where no set is named", {"image/png": {}}, *parameters)
    told["responses"]["200"]["headers"] = {"X-Class": {"description": "its class", "required": True, "schema": TEXT}}
    return told


def _thumbnail(*parameters: dict) -> dict:
    told = _get("A class's thumbnail, drawn while the model is idle, then cached", {"image/png": {}}, *parameters)
    later = {"description": "not drawn yet; Retry-After has the seconds to wait", "headers": HEADERS["429"], "content": _json("Later")}
    return {**told, "responses": {**told["responses"], "202": later}}


def _health() -> dict:
    told = _get("Whether the service works", _json("Health"))
    told["responses"]["503"] = {"description": "the model's thread has ended", "content": _json("Health")}
    return {**told, "security": []}


def _form(kind: type[requests.SamplingRequest], schema: dict) -> dict:
    """The multipart form of a request: the image is a file; the mask is one where it is a picture, and else a field of the JSON.

    That the mask is required in one of both places is said in words: readers of OpenAPI fail at conditions beside files.
    """
    files = {part: {"type": "string", "format": "binary"} for part in ("image", "mask") if part in kind.model_fields}
    fields = {name: field for name, field in schema["properties"].items() if name != "image"}
    needed = [name for name in schema.get("required", []) if name not in files]
    rest = {**schema, "properties": fields, "required": needed, "additionalProperties": False}
    return {
        "type": "object", "properties": {"request": rest, **files}, "additionalProperties": False,
        "required": [*(["request"] if needed or not files else []), *(["image"] if "image" in files else [])],
        "description": "request: the JSON without the pictures that are sent as files"
        + ("; mask: a file, or a field of the JSON" if "mask" in files else ""),
    }  # fmt: skip


def _job(name: str, kind: type[requests.SamplingRequest], schema: dict) -> dict:
    reference, content = (
        {"$ref": f"#/components/schemas/{kind.__name__}"},
        _json(ANSWERS.get(name, "PicturesAnswer") + ("" if name not in ANSWERS else "Answer")),
    )
    if name in requests.PICTURES:
        content |= {"image/png": {}, "image/webp": {}}
    if name in requests.DRAWN:
        content["text/event-stream"] = {"schema": {"type": "string", "description": STREAM}}
    return {
        "summary": " ".join((kind.__doc__ or "").split()),
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": reference},
                "multipart/form-data": {"schema": _form(kind, schema), "encoding": {"request": {"contentType": "application/json"}}},
            },
        },
        "responses": {"200": {"description": "the answer", "content": content}, **_errors(*WHY)},
    }
