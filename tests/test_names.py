"""Names of files and classes, shown: one line, nothing that a terminal obeys, every script as it is written."""

import pytest

from bitmosaic.cli import one_line
from bitmosaic.images import ArrayImages
from bitmosaic.names import plain


@pytest.mark.parametrize("text, wanted", [
    ("a\nb.png", r"a\nb.png"), ("a\r\tb", r"a\r\tb"), ("\x1b[31mred\x07", r"\x1b[31mred\x07"), ("\x00\x7f\x9b", r"\x00\x7f\x9b"),
    ("\u2028\u2029", r"\u2028\u2029"), ("\u202egnp.exe", r"\u202egnp.exe"), ("\u2066x\u200e\ufeff", r"\u2066x\u200e\ufeff"),
    (b"caf\xe9".decode(errors="surrogateescape"), r"caf\udce9"), ("\U000e0041", r"\U000e0041"), ("a\\nb", "a\\nb"),
])  # fmt: skip
def test_what_a_terminal_would_obey_is_escaped(text, wanted):
    assert plain(text) == wanted and plain(wanted) == wanted
    plain(text).encode()


@pytest.mark.parametrize("text", [
    "véhicules", "ve\u0301hicules", "Ωmega", "日本", "می\u200cروم", "👩\u200d🔬", "Screenshot 10.15\u202fAM.png", "a\u00a0b", "हिन्दी", "",
])  # fmt: skip
def test_every_script_stays(text):
    assert plain(text) == text


def test_errors_and_reports_are_on_one_line():
    assert one_line(ValueError("there is no a\nb\x1b[2J")) == r"there is no a\nb\x1b[2J"
    assert one_line(FileNotFoundError(2, "No such file or directory", "a\nb")).startswith(r"a\nb: no such file")
    import torch

    images = ArrayImages(torch.zeros(2, 1, 4, 4, dtype=torch.uint8))
    images.unreadable = {"a\nb\x1b[31m.png": "it is no\npicture"}
    assert images.unreadable_summary() == r"skipped 1 unreadable of 2 images: a\nb\x1b[31m.png (it is no\npicture)"
