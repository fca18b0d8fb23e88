"""The bodies of requests as pydantic models, which are also their schemas; a body that does not fit gets an error of one line."""

from __future__ import annotations

import json
import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from bitmosaic.samplers import PRESETS, SAMPLERS, SETTINGS, Setting
from bitmosaic.web import words
from bitmosaic.web.limits import Limits, RequestError

Name = Annotated[str, Field(max_length=200)]
Class = Annotated[None | int | Name | dict[Name, float], Field(description="name or number, a blend {class: weight}, or null for no class")]
Prompt = Annotated[
    str, Field(min_length=1, max_length=2000, description="a text instead of a class, for pipelines that were trained on captions")
]
Named = Annotated[
    None | int | Name | dict[Name, float],
    Field(description="the class to paint inside the mask: its name or number, or a blend {class: weight}"),
]
Single = None | int | Name
Text = Annotated[str, Field(min_length=1)]
Picture = Annotated[
    str, Field(min_length=1, description="base64 of a PNG, JPEG, WebP, GIF or BMP file, or a bundled test image: fashion:17, landscapes:3")
]
Seed = Annotated[int, Field(ge=0, lt=2**53, description="of the first image; each further image has the next seed")]
Count = Annotated[int, Field(ge=1, description="images")]
Whole = Annotated[int, Field(ge=0)]
Fit = Annotated[
    Literal["exact", "crop"],
    Field(description="a picture of another size, or in colour for a grey pipeline, is an error (exact), or cropped, scaled and made grey"),
]
Feather = Annotated[int, Field(ge=0, le=1024, description="pixels inside the mask over which the step at the seam fades out")]


class Body(BaseModel):
    """Base of all bodies: unknown fields are errors, and no value is converted to another type."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


def _field(setting: Setting) -> tuple[Any, Any]:
    """A sampler's setting as a pydantic field: its type and its range."""
    ends = {"gt" if setting.above else "ge": setting.least, "le": setting.most}
    finite = {end: int(value) if setting.whole else value for end, value in ends.items() if math.isfinite(value)}
    return (int if setting.whole else float) | None, Field(None, description=setting.text, **finite)


Settings = create_model(
    "Settings", __base__=Body, __doc__="Settings of the sampler; the pipeline's own where left out.",
    sampler=(None | Literal[*SAMPLERS, *PRESETS], None), **{name: _field(setting) for name, setting in SETTINGS.items()},
)  # fmt: skip


class SamplingRequest(Body):
    """Fields of all requests."""

    pipeline: Name | None = Field(None, description="a name of GET /v1/pipelines; null: the first")
    timeout: float | None = Field(None, gt=0, description="seconds after which the request is given up (408)")


class PictureRequest(SamplingRequest):
    """Fields of all requests for pictures."""

    format: Literal["png", "webp"] = Field("png", description="of the pictures in a JSON answer; WebP is lossless, without metadata")
    settings: Settings = Settings()
    entropy: bool = Field(False, description="in a stream: the prior's entropy at each hidden place, for one more pass a step")


class PicturesRequest(PictureRequest):
    """Fields of requests for several pictures of one condition."""

    class_: Class = Field(None, alias="class")
    prompt: Prompt | None = None
    seed: Seed = 0
    count: Count = 1


class Generate(PicturesRequest):
    """New images of a class or a prompt."""


class Box(Body):
    """Pixels, right and bottom not included."""

    box: list[Whole] = Field(min_length=4, max_length=4, description="left, top, right, bottom")


class Places(Body):
    """Places of the code grid."""

    places: list[Annotated[list[Whole], Field(min_length=2, max_length=2)]] = Field(min_length=1, max_length=65536)


Mask = Annotated[
    Text | Box | Places, Field(description="what is repainted: a picture of the image's size (white), a box, or places [row, column]")
]


class Inpaint(PicturesRequest):
    """Paints the pixels under a mask anew; all others stay."""

    image: Picture
    mask: Mask
    feather: Feather = 0
    fit: Literal["exact", "crop", "tile"] = Field("exact", description="for pictures of other sizes than the pipeline's")


class Edit(Inpaint):
    """Paints another class, or a prompt, inside the mask."""

    class_: Named = Field(None, alias="class")


class Outpaint(PicturesRequest):
    """Continues a picture beyond its edges."""

    image: Picture
    padding: Whole | Annotated[list[Whole], Field(min_length=4, max_length=4)] = Field(
        description="pixels: one number, or left, top, right, bottom"
    )
    feather: Feather = 0


class Interpolate(PictureRequest):
    """Images of blends between classes, all from one seed."""

    classes: list[Single] = Field(min_length=2, max_length=16)
    frames: int = Field(9, ge=2, description="images, evenly spaced from the first class to the last")
    weights: list[list[float]] | None = Field(
        None, min_length=1, description="in place of frames: one row an image, with a weight for each class"
    )
    seed: Seed = 0


class Enrich(PicturesRequest):
    """Draws the fine detail of a coarse picture anew."""

    image: Picture
    shrink: int = Field(2, ge=1, le=1024)
    repeats: int = Field(4, ge=1, le=16)
    fit: Fit = "exact"


class Encode(SamplingRequest):
    """Encodes a picture to codes."""

    image: Picture
    fit: Fit = "exact"


class Decode(SamplingRequest):
    """Decodes codes to pictures."""

    codes: Text | list[Text] = Field(description="base64 of packed digits, as /v1/encode returns them")
    format: Literal["png", "webp"] = "png"


class Features(SamplingRequest):
    """The prior's features of a picture."""

    image: Picture
    fit: Fit = "exact"
    layer: Whole | None = Field(None, description="block after which they are taken; null: two thirds of the depth")
    pool: bool | Annotated[int, Field(ge=1)] | None = Field(
        None, description="null: all places concatenated; true: their mean; false: a vector for each place; g: means over g x g parts"
    )


class Neighbours(SamplingRequest):
    """The nearest bundled images."""

    image: Picture
    fit: Fit = "exact"
    count: int = Field(8, ge=1, le=100)
    by: Literal["codes", "features"] = "codes"


JOBS: dict[str, type[SamplingRequest]] = {
    "generate": Generate, "inpaint": Inpaint, "edit": Edit, "outpaint": Outpaint, "interpolate": Interpolate, "enrich": Enrich,
    "encode": Encode, "decode": Decode, "features": Features, "neighbours": Neighbours,
}  # fmt: skip
PICTURES = ("generate", "inpaint", "edit", "outpaint", "interpolate", "enrich", "decode")  # requests answered with pictures
VALUES = 10_000  # the most values in the JSON of one request
DRAWN = PICTURES[:-1]  # requests that sample step by step, so that they can be streamed


def images_of(asked: SamplingRequest) -> int:
    """How many images a request makes the model draw or encode."""
    if isinstance(asked, Interpolate):
        return asked.frames if asked.weights is None else len(asked.weights)
    if isinstance(asked, Decode):
        return 1 if isinstance(asked.codes, str) else max(1, len(asked.codes))
    return asked.count if isinstance(asked, PicturesRequest) else 1


def read(kind: type[SamplingRequest], body: dict[str, Any] | bytes, limits: Limits) -> SamplingRequest:
    """A request of that kind from JSON or a dictionary. RequestError: 400 for invalid JSON, 422 for fields that do not fit."""
    if isinstance(body, bytes):
        check_values(body)
    try:
        asked = kind.model_validate_json(body) if isinstance(body, bytes) else kind.model_validate(body)
    except ValidationError as error:
        wrong = error.errors(include_url=False)
        if wrong[0]["type"] == "json_invalid":
            why = wrong[0]["msg"].removeprefix("Invalid JSON: ")
            raise RequestError(400, f"body: got invalid JSON ({why}); give a JSON object in UTF-8") from None
        sent = json.loads(body, parse_int=_whole) if isinstance(body, bytes) else body
        raise RequestError(422, words.of_fields(wrong, kind, sent)) from None
    except (RecursionError, UnicodeError):
        raise RequestError(400, "body: got invalid or too deeply nested JSON; give a JSON object in UTF-8") from None
    _check(asked, limits)
    return asked


def _whole(text: str) -> int | str:
    return int(text) if len(text) < 1000 else text  # Python's int() refuses more than 4,300 digits


def check_values(body: bytes) -> None:
    """RequestError (422) for JSON of too many values, before it is parsed: pydantic takes seconds to report thousands of errors."""
    if body.count(b",") + body.count(b"[") + body.count(b"{") > VALUES:
        raise RequestError(422, f"body: got more than {VALUES} values; give fewer, for instance a mask as a picture")


def _check(asked: SamplingRequest, limits: Limits) -> None:
    images = images_of(asked)
    if images > limits.count:
        name = "frames" if isinstance(asked, Interpolate) else "codes" if isinstance(asked, Decode) else "count"
        raise RequestError(422, f"{name}: got {images}; give at most {limits.count}")
    if isinstance(asked, PicturesRequest) and asked.seed + asked.count > 2**53:
        raise RequestError(422, f"seed: got {asked.seed} for {asked.count} images; the last of their seeds must be below 2^53")
    settings = getattr(asked, "settings", Settings())
    for name in ("steps", "evaluations"):
        if (getattr(settings, name) or 0) > getattr(limits, name):
            raise RequestError(422, f"settings.{name}: got {getattr(settings, name)}; give at most {getattr(limits, name)}")
    if asked.timeout is not None and asked.timeout > limits.seconds:
        raise RequestError(422, f"timeout: got {asked.timeout:g}; give at most {limits.seconds:g} seconds")
