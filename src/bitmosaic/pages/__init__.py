"""Pages that commands write: NAME.html with $places to be filled, and its style, NAME.css, which goes inside: a page is one file."""

from importlib.resources import files
from string import Template


def filled(name: str, /, **values: object) -> str:
    """The page of that name; values are HTML, so text must be escaped before. KeyError where a place is left."""
    return fragment(name, style=(files(__name__) / f"{name}.css").read_text(encoding="utf-8"), **values)


def fragment(name: str, /, **values: object) -> str:
    """A part of a page, filled likewise."""
    return Template((files(__name__) / f"{name}.html").read_text(encoding="utf-8")).substitute(values)
