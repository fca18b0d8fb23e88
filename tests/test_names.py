"""Names of files and classes, shown: one line, nothing that a terminal obeys, every script as it is written."""

import pytest

from bitmosaic.cli import main, one_line
from bitmosaic.images import ArrayImages, fashion_sample, to_pil
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


@pytest.mark.parametrize("words", [
    ["encode", "IMAGES", "-o", "OUT/x.safetensors"], ["compress", "IMAGES", "-o", "OUT"], ["reconstruct", "IMAGES", "--out", "OUT"],
    ["index", "IMAGES", "OUT"], ["tokenize", "IMAGES", "OUT"], ["sample", "--count", "1", "--classes", "bag", "--out", "OUT"],
    ["encode", "nothing\x1b\n"], ["info", "nothing\x1b\n"], ["train", "folder", "--data", "nothing\x1b\n"],
])  # fmt: skip
def test_commands_print_no_escapes_of_names(words, tmp_path, capsys, monkeypatch):
    images, out = tmp_path / "im\na\x1b[31mges", tmp_path / "o\x07\nut"
    images.mkdir()
    sample = fashion_sample()
    for i in range(3):
        to_pil(sample.image(i)).save(images / f"{i}\n\x1b.png")
    (images / "no\npicture\x1b[2J.png").write_bytes(b"none")
    monkeypatch.chdir(tmp_path)
    main([word.replace("IMAGES", str(images)).replace("OUT", str(out)) for word in words])
    printed = capsys.readouterr()
    text = printed.out + printed.err
    assert text and not [c for c in text if not c.isprintable() and c != "\n"]
    assert not [line for line in text.splitlines() if line.startswith(("a\\x1b", "ut/", "picture\\x1b"))]
