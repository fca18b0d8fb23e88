"""Pages that commands write: NAME.html, its style NAME.css, and no HTML in Python. A page is one file: style and pictures go inside.

A page has $places; below it stand, each a `<template id="...">`, the parts that it shows once, often or not. What is filled in is
text and is escaped, but for `Markup`, which is what these functions return.
"""

import base64
import re
from collections.abc import Iterable
from functools import cache
from html import escape
from importlib.resources import files
from io import BytesIO
from string import Template

from PIL.Image import Image

TEMPLATE = re.compile(r'<template id="([\w-]+)">\n?(.*?)</template>\n', re.DOTALL)


class Markup(str):
    """HTML, which goes into a page as it stands."""


def filled(name: str, /, **values: object) -> Markup:
    """The page of that name, with its style. KeyError where a place is left."""
    return part(name, "", style=Markup((files(__name__) / f"{name}.css").read_text(encoding="utf-8")), **values)


def part(name: str, template: str, /, **values: object) -> Markup:
    """One of a page's templates, filled: text is escaped, of a list every element, and None is nothing. KeyError where a place is left."""
    return Markup(parts(name)[template].substitute({place: as_markup(value) for place, value in values.items()}))


def as_markup(value: object) -> str:
    """A value as HTML."""
    if isinstance(value, Markup):
        return value
    if isinstance(value, Iterable) and not isinstance(value, str):
        return "".join(map(as_markup, value))
    return "" if value is None else escape(str(value))


@cache
def parts(name: str) -> dict[str, Template]:
    """The templates of a page's file by their ids; under no name, the page without them."""
    text = (files(__name__) / f"{name}.html").read_text(encoding="utf-8")
    return {"": Template(TEMPLATE.sub("", text)), **{found[1]: Template(found[2]) for found in TEMPLATE.finditer(text)}}


def data_url(data: bytes, kind: str) -> str:
    """A file of a kind such as image/png as the address of itself."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def png_url(image: Image) -> str:
    """An image likewise."""
    data = BytesIO()
    image.save(data, "PNG", optimize=True)
    return data_url(data.getvalue(), "image/png")
