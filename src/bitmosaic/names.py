"""Names of files and classes as text for people: they may hold anything, and a terminal obeys what it is sent."""

from __future__ import annotations

import unicodedata

_JOINERS = "\u200c\u200d"  # without which Persian words and many emoji are written wrong


def plain(text: object) -> str:
    """Text on one line that a terminal only shows: line ends, control characters, what reorders letters and what is no character
    are escaped as Python writes them ("\\n", "\\x1b", "\\u202e", "\\udcff"); letters of every script stay, and so does a backslash.
    """
    return "".join(c if c.isprintable() or c in _JOINERS or _harmless(c) else _escaped(c) for c in str(text))


def _harmless(c: str) -> bool:
    """Spaces of all widths, and characters that are newer than this Python or private."""
    return unicodedata.category(c) in ("Zs", "Cn", "Co")


def _escaped(c: str) -> str:
    return c.encode("unicode_escape").decode() if not "\ud800" <= c <= "\udfff" else f"\\u{ord(c):04x}"


def composed(text: str) -> str:
    """Text in Unicode's composed form (NFC): an accent and its letter are one character, however a keyboard or a file system wrote them."""
    return unicodedata.normalize("NFC", text)
