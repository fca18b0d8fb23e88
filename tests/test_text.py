"""Text in pictures: letters of any script that a font here has, code points for others, and nothing that makes a picture huge."""

import numpy as np
import pytest
import torch
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from PIL import Image, ImageDraw, ImageFont

from bitmosaic.cli import main
from bitmosaic.commands.drawing import conditions
from bitmosaic.conditions import ClassConditionSpec
from bitmosaic.evaluate.probe import Vectors
from bitmosaic.evaluate.probe_plots import map_of
from bitmosaic.images import captioned, sheet, text
from bitmosaic.images.text import Pen, shown, unknown_note
from bitmosaic.pipelines import Pipeline
from bitmosaic.priors.masked import MaskedPriorSpec
from bitmosaic.tokenizers import BinaryAutoencoderSpec

INK, PAPER = (0, 0, 0), (255, 255, 255)


@pytest.fixture(autouse=True)
def fresh():
    """Nothing is remembered of fonts that another test has put in."""
    for function in (text._font_of, text._systems, text._letters, text._font):
        function.cache_clear()
    text.UNKNOWN.clear()
    yield
    for function in (text._font_of, text._systems, text._letters, text._font):
        function.cache_clear()
    text.UNKNOWN.clear()


def drawn(line: str, size: int = 20) -> np.ndarray:
    """A line in black on white, grey values."""
    paper = Image.new("RGB", (600, 60), PAPER)
    Pen(size).write(ImageDraw.Draw(paper), (10, 10), line, INK)
    return np.asarray(paper.convert("L"))


def by_dejavu(line: str, size: int = 20) -> np.ndarray:
    paper = Image.new("RGB", (600, 60), PAPER)
    ImageDraw.Draw(paper).text((10, 10), line, INK, ImageFont.truetype(text._ours(), size), anchor="la")
    return np.asarray(paper.convert("L"))


@pytest.fixture
def only_ours(monkeypatch):
    """A machine without fonts of its own."""
    monkeypatch.setattr(text, "_systems", lambda: ())


@pytest.fixture
def with_kanji(monkeypatch, tmp_path):
    """A machine with a font of two letters, a full square and a flat bar, beside fonts that are none and that have a box for everything."""

    def font(name, letters):
        builder, glyphs, names = FontBuilder(1000), {".notdef": TTGlyphPen(None).glyph()}, [".notdef"]
        for glyph, (top, bottom) in letters.items():
            pen = TTGlyphPen(None)
            pen.moveTo((0, bottom)), pen.lineTo((0, top)), pen.lineTo((1000, top)), pen.lineTo((1000, bottom)), pen.closePath()
            glyphs[f"u{ord(glyph):x}"] = pen.glyph()
            names.append(f"u{ord(glyph):x}")
        builder.setupGlyphOrder(names)
        builder.setupCharacterMap({ord(glyph): f"u{ord(glyph):x}" for glyph in letters})
        builder.setupGlyf(glyphs)
        builder.setupHorizontalMetrics({name: (1000, 0) for name in names})
        builder.setupHorizontalHeader(ascent=900, descent=-200)
        builder.setupNameTable({"familyName": name, "styleName": "Regular"})
        builder.setupOS2(), builder.setupPost()
        builder.save(tmp_path / f"{name}.ttf")
        return str(tmp_path / f"{name}.ttf")

    (tmp_path / "broken.ttf").write_bytes(b"no font")
    fonts = [font("LastResort", {"日": (9, 0), "語": (9, 0)}), font("Kanji", {"日": (900, -200), "本": (100, 0)})]
    found = [str(tmp_path / "broken.ttf"), *fonts]
    monkeypatch.setattr("matplotlib.font_manager.findSystemFonts", lambda: found)


@pytest.mark.parametrize("line", [
    "véhicules", "Ωmega", "Чашка", "Łódź", "naïve façade", "€ 5 · ½", "ἄνθρωπος", "שלום", "سلام", "հայ", "ქართ",
])  # fmt: skip
def test_letters_of_many_scripts_are_those_of_the_font_that_has_them(only_ours, line):
    assert np.array_equal(drawn(line), by_dejavu(line)) and shown(line) == line and not text.UNKNOWN
    box = by_dejavu("\uffff")
    assert not np.array_equal(drawn(line), box)


def test_plain_ascii_is_as_it_was():
    paper = Image.new("RGB", (600, 60), PAPER)
    ImageDraw.Draw(paper).text((10, 10), "ankle boot", INK, ImageFont.load_default(size=20), anchor="la")
    assert np.array_equal(drawn("ankle boot"), np.asarray(paper.convert("L")))


def test_spellings_of_one_name_are_drawn_alike(only_ours):
    assert np.array_equal(drawn("ve\u0301hicules"), drawn("véhicules")) and shown("ve\u0301hicules") == "véhicules"
    assert np.array_equal(drawn("A\u030angstro\u0308m"), drawn("Ångström"))


def test_letters_of_no_font_are_written_as_code_points_and_told(only_ours):
    assert shown("日本 bag") == "\\u65e5\\u672c bag" and shown("a👟") == "a\\U0001f45f"
    assert text.UNKNOWN == {"日", "本", "👟"}
    assert "日 (U+65E5)" in unknown_note(text.UNKNOWN) and unknown_note([]) == ""
    assert np.array_equal(drawn("日"), drawn("\\u65e5"))


def test_the_systems_fonts_are_used(with_kanji):
    """Each letter from the first font that has it; a font that is none, or that has a box for everything, is no help."""
    assert shown("日本") == "日本" and not text.UNKNOWN
    picture = drawn("日本")
    square, bar = picture[:, 10:30] < 128, picture[:, 30:50] < 128
    assert square.sum() > 400 and 20 <= bar.sum() < 80
    assert shown("日語") == "日\\u8a9e" and text.UNKNOWN == {"語"}
    both = drawn("Ω日")
    assert np.array_equal(both[:, : 10 + int(Pen(20).length("Ω"))], by_dejavu("Ω")[:, : 10 + int(Pen(20).length("Ω"))])
    assert (both[:, 10 + round(Pen(20).length("Ω")) :] < 128).sum() > 400


def test_without_shaping_letters_that_need_it_are_code_points(only_ours, monkeypatch):
    """Wrong order and unjoined letters would be another name."""
    monkeypatch.setattr(text.features, "check", lambda name: False)
    assert shown("שלום") == "\\u05e9\\u05dc\\u05d5\\u05dd" and shown("سلام").startswith("\\u0633") and shown("véhicules") == "véhicules"


def test_names_that_a_terminal_would_obey_and_line_ends_are_escaped(only_ours):
    assert shown("a\nb\x1b[31m\udcff") == "a\\nb\\x1b[31m\\udcff"


@pytest.mark.parametrize("line", ["x" * 10_000, "日" * 3000, "very long name " * 50])
def test_long_names_are_shortened_in_the_middle(only_ours, line):
    short = Pen(14).shortened(line + "END", 200)
    assert Pen(14).length(short) <= 200 and "..." in short and short.endswith("END") and short[:3] == line[:3]
    assert Pen(14).shortened("bag", 200) == "bag" and Pen(14).shortened("bag", 1) == "..."
    images = torch.zeros(2, 3, 1, 28, 28)
    assert sheet(images, [line, "bag"], 2, title=line).width < 8192
    assert captioned(images[0], [line] * 3, 3, 2).width < 3 * 412 + 12


@pytest.mark.parametrize("rows, columns, scale", [(3, 1000, 2), (1000, 2, 2), (300, 300, 1), (2, 2, 200)])
def test_sheets_are_bounded(rows, columns, scale):
    """At any number of images; and they say what they leave out."""
    images = torch.zeros(1, 1, 1, 28, 28, dtype=torch.uint8).expand(rows, columns, -1, -1, -1)
    picture = sheet(images, ["name"] * rows, scale)
    assert max(picture.size) <= 8192
    few = sheet(images[:1, :1], ["name"], min(scale, 100))
    assert few.height < picture.height
    picture = captioned(images.flatten(0, 1)[:3000], ["a caption"] * min(3000, rows * columns), columns, scale)
    assert max(picture.size) <= 8192


def test_classes_are_matched_by_either_spelling():
    tokenizer = BinaryAutoencoderSpec((8, 8), 1, 4, 8, (1, 1), 1, (), embedding=6, norm_first=False, groups=4).build()
    prior = MaskedPriorSpec((4, 4), 4, 1, 2, 16, ClassConditionSpec(3)).build()
    decomposed, composed = "ve\u0301hicules", "véhicules"
    for names in ((decomposed, "日本", "Ωmega"), (composed, "日本", "Ωmega")):
        pipeline = Pipeline(tokenizer, prior, class_names=names)
        assert pipeline.class_number(decomposed) == pipeline.class_number(composed) == 0 and pipeline.class_number("日本") == 1
        assert conditions(pipeline, [decomposed, composed, "Ωmega"]) == [(names[0], 0), ("Ωmega", 2)]
        assert conditions(pipeline, [f"{composed}:0.5+Ωmega:0.5"])[0][1] == {0: 0.5, 2: 0.5}
    old = Pipeline(tokenizer, prior, class_names=(decomposed, composed, "bag"))  # two folders that only look alike
    assert old.class_number(decomposed) == 0 and old.class_number(composed) == 1


@pytest.mark.parametrize("fonts", ["only_ours", "with_kanji"])
def test_plots_take_any_class_name(request, fonts):
    """No formula, no label that is left out, no letter that matplotlib warns of."""
    pytest.importorskip("sklearn")
    request.getfixturevalue(fonts)
    names = ["véhicules", "日本", "a$b^$c", "_hidden", "x\ny"]
    points, labels = torch.rand(20, 4, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 5
    picture = map_of(Vectors(points, points, labels, labels), names, "of 日 $a^$", 0, 20)
    assert picture.width > 1000 and text.UNKNOWN == (set() if fonts == "with_kanji" else {"日", "本"})


def test_a_command_tells_what_it_could_not_write(only_ours, tmp_path, capsys):
    tokenizer = BinaryAutoencoderSpec((8, 8), 1, 4, 8, (1, 1), 1, (), embedding=6, norm_first=False, groups=4).build()
    prior = MaskedPriorSpec((4, 4), 4, 1, 2, 16, ClassConditionSpec(3)).build()
    Pipeline(tokenizer, prior, class_names=("véhicules", "日本", "Ωmega")).save_pretrained(tmp_path / "p")
    assert main(["sample", str(tmp_path / "p"), "--count", "1", "--steps", "1", "--evaluations", "1", "--out", str(tmp_path / "o")]) == 0
    told = capsys.readouterr()
    assert "日 (U+65E5), 本 (U+672C)" in told.err and len(told.err.splitlines()) == 1
    assert {path.name for path in (tmp_path / "o").iterdir()} == {"véhicules-000.png", "日本-000.png", "Ωmega-000.png", "sheet.png"}
