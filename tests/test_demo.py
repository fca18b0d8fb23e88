"""The demo: its folder holds the pictures and a page that shows them, and it replaces nothing but an older demo."""

import json
import re
from html.parser import HTMLParser

import pytest
import torch
from PIL import Image
from test_cli import listing, refused, tiny_pipeline

from bitmosaic.cli import main
from bitmosaic.commands.demo import BLANK, FILES, covered
from bitmosaic.commands.demo_page import pair_text
from bitmosaic.commands.files import SOFTWARE
from bitmosaic.conditions import NoConditionSpec
from bitmosaic.images import fashion_sample, to_pil


class Tags(HTMLParser):
    """Collects the tags of a page, and sees that each is closed."""

    def __init__(self, text: str):
        super().__init__()
        self.open, self.found = [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        if tag not in ("meta", "img", "br", "source", "path"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag != "path":
            assert self.open.pop() == tag


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny_pipeline().save_pretrained("tiny")
    return tmp_path


def test_the_folder_and_its_page(here, capsys):
    assert main(["demo", "--pipeline", "tiny", "--count", "2", "--seed", "5", "--precision", "float32"]) == 0
    assert "page: demo/index.html" in capsys.readouterr().out
    assert sorted(path.name for path in (here / "demo").iterdir()) == sorted(FILES)
    facts = json.loads((here / "demo" / "demo.json").read_text())
    assert facts["software"] == SOFTWARE and len(facts["psnr"]) == 16 and facts["known"][-1] == 49
    with Image.open(here / "demo" / "reveal.gif") as film:
        assert film.size == (224, 224) and film.n_frames == 1 + 3 and film.info["loop"] == 0

    text = (here / "demo" / "index.html").read_text()
    tags = Tags(text)
    images = [attributes for tag, attributes in tags.found if tag == "img"]
    assert len(images) == 10 * 2 + 16 * 2 + 1 + 4  # classes, pairs, animation, stills
    assert all(image["src"].startswith("data:image/") and image["alt"] for image in images)
    assert not re.search(r'(src|href|srcset)="(?!data:|classes\.png|reconstructions\.png|reveal\.gif)', text)
    assert "url(" not in text and "@import" not in text and "<script" not in text
    assert 'name="viewport"' in text and "prefers-color-scheme: dark" in text and "$" not in text
    for shown in ("ankle boot", "drawing the classes", "temperature", facts["machine"]["PyTorch"], "196 bits"):
        assert shown in text
    for command in facts["commands"].values():
        assert f"<code>{command}</code>" in text


def test_its_commands_make_its_pictures_again(here):
    assert main(["demo", "--pipeline", "tiny", "--count", "1", "--out", "a/b"]) == 0
    commands = json.loads((here / "a" / "b" / "demo.json").read_text())["commands"]
    assert main(commands["classes"].split()[1:]) == 0
    assert main(commands["reconstructions"].split()[1:]) == 0
    for ours, again in (("classes", "samples/sheet"), ("reconstructions", "reconstructions/reconstructions")):
        with Image.open(here / "a" / "b" / f"{ours}.png") as one, Image.open(here / f"{again}.png") as other:
            assert one.tobytes() == other.tobytes(), ours
    before = (here / "a" / "b" / "reveal.gif").read_bytes()
    assert main(commands["reveal"].split()[1:]) == 0  # replaces the older demo
    assert (here / "a" / "b" / "reveal.gif").read_bytes() == before


def test_without_classes_and_with_images_of_ones_own(here, capsys):
    tiny_pipeline(0, NoConditionSpec()).save_pretrained("plain")
    (here / "my <images>").mkdir()
    to_pil(fashion_sample().image(3)).save(here / "my <images>" / "a.png")
    (here / "my <images>" / "b.png").write_bytes(b"no picture")
    assert main(["demo", "--pipeline", "plain", "--count", "2", "--images", "my <images>"]) == 0
    assert "b.png" in capsys.readouterr().err
    text = (here / "demo" / "index.html").read_text()
    Tags(text)
    assert "has no classes" in text and "my &lt;images&gt;" in text
    assert len(json.loads((here / "demo" / "demo.json").read_text())["psnr"]) == 1


def test_no_other_folder_is_replaced(here, capsys):
    (here / "notes").mkdir()
    (here / "notes" / "diary.txt").write_text("dear diary")
    refused(here, capsys, "demo --pipeline tiny --out notes", "diary.txt", "not a demo's")
    refused(here, capsys, "demo --pipeline tiny --out notes/diary.txt", "is a file")
    refused(here, capsys, "demo --pipeline tiny --out tiny", "not a demo's")
    refused(here, capsys, "demo --pipeline tiny --count 0", "count: got 0")
    refused(here, capsys, "demo --pipeline tiny --seed -3", "seeds: got -3")
    refused(here, capsys, "demo --pipeline tiny --images nothing", "there is no nothing")
    refused(here, capsys, "demo --pipeline nowhere", "no pipeline nowhere")
    (here / "empty").mkdir()
    assert main("demo --pipeline tiny --count 1 --out empty".split()) == 0
    (here / "empty" / "mine.txt").write_text("mine")
    refused(here, capsys, "demo --pipeline tiny --out empty", "mine.txt")


def test_interruption_leaves_nothing(here, capsys, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("bitmosaic.commands.demo.quality", interrupted)
    before = listing(here)
    assert main(["demo", "--pipeline", "tiny", "--count", "1"]) == 130
    assert listing(here) == before and "interrupted" in capsys.readouterr().err


def test_unknown_places_are_blank():
    known = torch.tensor([[True, False], [False, False]])
    image = covered(torch.zeros(3, 4, 4), known, 2)
    assert image.size == (224, 224) and image.mode == "RGB"
    assert image.getpixel((111, 111)) == (0, 0, 0)
    assert all(image.getpixel(place) == (BLANK,) * 3 for place in ((120, 5), (5, 120), (223, 223)))


def test_the_page_says_whose_test_images_it_shows():
    facts = {"images": [], "channels": 1}
    assert "of Fashion-MNIST" in pair_text(facts) and "of the landscapes" in pair_text({**facts, "channels": 3})
    assert "From a.png." in pair_text({**facts, "images": ["a.png"]})
