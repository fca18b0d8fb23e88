"""Pictures in requests and answers: base64 or bytes in, small and of known formats only; PNG or WebP out, with their settings inside."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Sequence
from io import BytesIO
from typing import Any, Literal
from urllib.parse import unquote

import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from bitmosaic import __version__
from bitmosaic.images import ArrayImages, UnreadableImage, grid, to_pil
from bitmosaic.web.limits import Limits, RequestError
from bitmosaic.web.words import shown

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")  # of uploads: Pillow reads more, by parsers that have been reviewed less
Format = Literal["png", "webp"]
PLAIN = str.maketrans({"-": "+", "_": "/", **dict.fromkeys(" \t\r\n\f\v", None)})  # of base64


def decoded(text: str, argument: str, wanted: str = "a picture's file in base64, or a bundled one such as fashion:17") -> bytes:
    """The bytes of base64 text (RFC 4648), as a data: URL or without its head, of either alphabet, with blanks and line breaks or not.

    argument: the field that the text came in. wanted: what the message of a RequestError (422) asks for instead.
    """
    head, comma, body = text.partition(",")
    if text[:5].lower() == "data:":
        if not (comma and re.search(r";\s*base64\s*$", head, re.IGNORECASE)):
            raise RequestError(422, f"{argument}: got a data: URL that is not in base64; give {wanted}")
        body = unquote(body) if "%" in body else body
    else:
        body = text
    body = body.translate(PLAIN)
    wrong = re.search(r"[^A-Za-z0-9+/]", body.rstrip("="))
    if wrong is not None:
        raise RequestError(422, f"{argument}: got text that is no base64, with {shown(wrong[0])} at {wrong.start()}; give {wanted}")
    try:
        return base64.b64decode(body.rstrip("=") + "=" * (-len(body.rstrip("=")) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise RequestError(422, f"{argument}: got base64 that is cut off, of {len(body)} characters; give {wanted}") from None


def checked(data: bytes, argument: str, limits: Limits) -> bytes:
    """The given bytes of a picture's file, once its header is checked. RequestError: 400 for no picture, 413 for too many pixels."""
    try:
        with Image.open(BytesIO(data), formats=FORMATS) as picture:
            width, height = picture.size
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise RequestError(413, f"{argument}: its header claims too many pixels; give at most {limits.pixels} in all") from None
    except Exception as error:  # parsers of damaged files raise errors of any class
        why = "" if str(error).startswith("cannot identify") else f" ({type(error).__name__})"
        got = f"got {len(data)} bytes that are no picture{why}" if data else "got an empty file"
        raise RequestError(400, f"{argument}: {got}; give PNG, JPEG, WebP, GIF or BMP") from None
    if width * height > limits.pixels:
        raise RequestError(413, f"{argument}: got {width} x {height} pixels; give at most {limits.pixels} in all")
    return data


def picture(value: str | bytes, argument: str, limits: Limits, bundled: dict[str, ArrayImages]) -> Any:
    """An image as `Pipeline` takes it: a file's bytes, or the pixels of a bundled image (C, H, W) uint8. Paths are never opened.

    RequestError: 400 and 413 as `checked`, 422 for text that is neither base64 nor the name of a bundled image, 404 for its number.
    """
    name, colon, number = value.partition(":") if isinstance(value, str) else ("", "", "")
    if colon and name in bundled:
        if not re.fullmatch("[0-9]{1,9}", number):
            raise RequestError(422, f"{argument}: got {shown(value)}; give {name}:0 to {name}:{len(bundled[name]) - 1}")
        return bundled_image(name, int(number), bundled)
    return checked(value if isinstance(value, bytes) else decoded(value, argument), argument, limits)


def bundled_image(name: str, number: int, bundled: dict[str, ArrayImages]) -> Tensor:
    """One bundled test image, (C, H, W) uint8. RequestError (404) where there is no such set or number."""
    if name not in bundled:
        raise RequestError(404, f"image: there is no set {shown(name)}; give {' or '.join(bundled)}")
    if number >= len(bundled[name]):
        raise RequestError(404, f"image: there is no {name}:{number}; give {name}:0 to {name}:{len(bundled[name]) - 1}")
    return bundled[name].pixels[number]


def unreadable(error: UnreadableImage) -> str:
    """The error message for an unreadable picture, without its path."""
    return f"image: it cannot be read: {error.reason}; give a picture that is whole"


def encoded(image: Tensor | Image.Image, format: Format = "png", about: dict[str, Any] | None = None) -> bytes:
    """The file of one image (C, H, W), float in [0, 1] or uint8. `about` goes into a PNG's text chunks, values other than text as JSON."""
    image, data = image if isinstance(image, Image.Image) else to_pil(image), BytesIO()
    if format == "webp":
        image.save(data, "WEBP", lossless=True)
        return data.getvalue()
    info = PngInfo()
    for name, value in {"Software": f"bitmosaic {__version__}", **(about or {})}.items():
        text = value if isinstance(value, str) else json.dumps(value)
        add = info.add_text if text.isascii() else info.add_itxt
        add(name, text)
    image.save(data, "PNG", pnginfo=info)
    return data.getvalue()


def as_text(data: bytes) -> str:
    """Bytes in base64."""
    return base64.b64encode(data).decode("ascii")


def strip(images: Sequence[Tensor]) -> Image.Image:
    """Images side by side."""
    return grid(torch.stack(list(images)), len(images), gap=0)
