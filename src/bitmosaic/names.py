"""Names of files and classes as safe text: they may hold any characters, and a terminal obeys control sequences."""

from __future__ import annotations

import unicodedata

_JOINERS = "\u200c\u200d"  # without which Persian words and many emoji are written wrong


def plain(text: object) -> str:
    """Text on one line without effect on a terminal: line ends, control characters, marks of text direction and lone surrogates
    are escaped as Python writes them ("\\n", "\\x1b", "\\u202e", "\\udcff"); letters of every script stay, and so does a backslash.
    """
    return "".join(c if c.isprintable() or c in _JOINERS or _harmless(c) else _escaped(c) for c in str(text))


def _harmless(c: str) -> bool:
    """Whether an unprintable character is harmless: a space of any width, unassigned (newer than this Python) or private."""
    return unicodedata.category(c) in ("Zs", "Cn", "Co")


def _escaped(c: str) -> str:
    return c.encode("unicode_escape").decode() if not "\ud800" <= c <= "\udfff" else f"\\u{ord(c):04x}"


def composed(text: str) -> str:
    """Text in Unicode's composed form (NFC): a letter and its accent become one character."""
    return unicodedata.normalize("NFC", text)
