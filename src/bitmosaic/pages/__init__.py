"""Pages that commands write: NAME.html with $places to be filled, and its style, NAME.css, which goes inside: a page is one file."""

from importlib.resources import files
from string import Template


def filled(name: str, /, **values: object) -> str:
    """The page of that name; values are HTML, so text must be escaped before. KeyError where a place is left."""
    here = files(__name__)
    style = (here / f"{name}.css").read_text(encoding="utf-8")
    return Template((here / f"{name}.html").read_text(encoding="utf-8")).substitute(values, style=style)
