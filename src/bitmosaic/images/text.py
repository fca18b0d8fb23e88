"""Text in pictures, in any script that an installed font has; other characters are written as code points and reported."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import groupby

from PIL import ImageDraw, ImageFont, features

from bitmosaic.names import composed, plain

UNKNOWN: set[str] = set()  # characters that this process wrote as code points
_PILLOWS, _NOWHERE = "", "-"  # in the place of a font's path: Pillow's built-in font; no font
_EMPTY = ("lastresort", "adobeblank", "notdef")  # fonts that have a box for everything


class Pen:
    """Writes text of one size."""

    def __init__(self, size: int):
        self.size = size

    def length(self, text: str) -> float:
        """Pixels that a line takes."""
        return sum(font.getlength(part) for font, part in self._parts(text))

    def write(self, draw: ImageDraw.ImageDraw, xy: tuple[float, float], text: str, ink: tuple[int, ...], anchor: str = "la") -> None:
        """One line at a point; anchor: l, m, r (left, middle, right) and a, m (ascender, middle), as Pillow has it."""
        left = xy[0] - {"l": 0, "m": 0.5, "r": 1}[anchor[0]] * self.length(text)
        for font, part in self._parts(text):
            draw.text((round(left), xy[1]), part, ink, font, anchor="l" + anchor[1])
            left += font.getlength(part)

    def shortened(self, text: str, most: float) -> str:
        """The text, or its beginning and its end with dots between them, so that it takes at most so many pixels."""
        text = composed(plain(text))
        if self.length(text) <= most:
            return text
        low, high = 0, len(text)
        while low < high:  # the most letters that fit
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.length(_cut(text, middle)) <= most else (low, middle - 1)
        return _cut(text, low)

    def _parts(self, text: str) -> Iterator[tuple[ImageFont.FreeTypeFont, str]]:
        return ((_font(path, self.size), part) for path, part in _runs(text))


def shown(text: str) -> str:
    """A line as it is written: its letters composed, with code points in the place of what no font has."""
    return "".join(part for _, part in _runs(text))


def _cut(text: str, letters: int) -> str:
    return f"{text[: (letters + 1) // 2]}...{text[len(text) - letters // 2 :]}" if letters < len(text) else text


def _runs(text: str) -> list[tuple[str, str]]:
    """The file of a font, and what is written in it, in turn; all in one where one has it all."""
    text = composed(plain(text))
    if text.isascii():
        return [(_PILLOWS, text)] if text else []
    whole = next((path for path in _known(text) if all(_has(path, c) or _follows(c) for c in text)), None)
    if whole is not None and not any(_font_of(c) == _NOWHERE for c in text if not _follows(c)):
        return [(whole, text)]
    placed: list[tuple[str, str]] = []
    for c in text:
        own = _font_of(c)
        if placed and own != _NOWHERE and (_follows(c) or _has(placed[-1][0], c)):
            own = placed[-1][0]
        placed.append((own, c) if own != _NOWHERE else (_PILLOWS, _code(c)))
    return [(path, "".join(c for _, c in group)) for path, group in groupby(placed, key=lambda pair: pair[0])]


def _code(c: str) -> str:
    UNKNOWN.add(c)
    return f"\\u{ord(c):04x}" if ord(c) < 0x10000 else f"\\U{ord(c):08x}"


def _follows(c: str) -> bool:
    """Whether a character belongs to the one before it: joiners, and selectors of a variant."""
    return c in "\u200c\u200d" or unicodedata.category(c) == "Mn" and "VARIATION SELECTOR" in unicodedata.name(c, "")


def _known(text: str) -> list[str]:
    """Files of fonts that have some letter of a text, matplotlib's first."""
    return [path for path in dict.fromkeys([_ours(), *map(_font_of, text)]) if path not in (_PILLOWS, _NOWHERE)]


@cache
def _font_of(c: str) -> str:
    """The file of a font that has a character: Pillow's own, matplotlib's, or one of the system's."""
    if c.isascii() or _follows(c):
        return _PILLOWS
    if not features.check("raqm") and (unicodedata.bidirectional(c) in ("R", "AL") or unicodedata.combining(c)):
        return _NOWHERE  # letters that must be joined, or written from right to left, would be wrong
    return next((path for path in (_ours(), *_systems()) if _has(path, c) and _writes(path, c)), _NOWHERE)


@cache
def _ours() -> str:
    """DejaVu Sans, which comes with matplotlib: Latin, Greek, Cyrillic, Arabic, Hebrew, Armenian, Georgian, signs."""
    from matplotlib import get_data_path

    return f"{get_data_path()}/fonts/ttf/DejaVuSans.ttf"


@cache
def _systems() -> tuple[str, ...]:
    """Files of the system's fonts, the plain ones first."""
    from matplotlib.font_manager import findSystemFonts

    found = [path for path in findSystemFonts() if not any(word in path.lower() for word in _EMPTY)]
    return tuple(sorted(found, key=lambda path: ("regular" not in path.lower(), "sans" not in path.lower(), path)))


@cache
def _letters(path: str) -> frozenset[int]:
    """Code points that a font has; none where it cannot be read."""
    from matplotlib.ft2font import FT2Font

    try:
        return frozenset(FT2Font(path).get_charmap())
    except (OSError, RuntimeError, ValueError):
        return frozenset()


def _has(path: str, c: str) -> bool:
    return c.isascii() if path == _PILLOWS else path != _NOWHERE and ord(c) in _letters(path)


def _writes(path: str, c: str) -> bool:
    """Whether Pillow can write with it: fonts of coloured pictures have one size."""
    try:
        _font(path, 16).getmask(c)
        return True
    except (OSError, ValueError):
        return False


@cache
def _font(path: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size=size) if path == _PILLOWS else ImageFont.truetype(path, size)


def families(lines: Iterable[str]) -> list[str]:
    """Names of fonts that matplotlib writes these lines with, each letter in the first that has it."""
    from matplotlib.font_manager import fontManager
    from matplotlib.ft2font import FT2Font

    files = dict.fromkeys(path for line in lines for path, _ in _runs(line) if path not in (_PILLOWS, _ours()))
    for path in files:
        fontManager.addfont(path)
    return ["DejaVu Sans", *(FT2Font(path).family_name for path in files)]


def unknown_note(characters: Iterable[str]) -> str:
    """What is to be said of characters that were written as code points; empty where there are none."""
    letters = sorted(characters)
    if not letters:
        return ""
    few = ", ".join(f"{plain(c)} (U+{ord(c):04X})" for c in letters[:8]) + (f" and {len(letters) - 8} more" if len(letters) > 8 else "")
    return f"no font on this machine has {few}; pictures show their code points; install a font that has them, such as Noto Sans CJK"
