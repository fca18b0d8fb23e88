"""Every command that docs show is one: its name, its arguments and its options are read as the command line reads them."""

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from bitmosaic.cli import find
from bitmosaic.images import fashion_sample, to_pil

ROOT = Path(__file__).resolve().parents[1]
OF_ITS_OWN = ("rotation",)  # the system that docs/own.md builds, which is read where that page is run


def shown() -> dict[str, tuple[str, list[str]]]:
    """Commands of fenced and indented blocks of docs and cards, by page and words."""
    found = {}
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "src").rglob("*.md"))]:
        text = re.sub(r"\\\n\s*", "", page.read_text())
        code = [*re.findall(r"^```(?:sh|text)\n(.*?)^```", text, re.MULTILINE | re.DOTALL), *re.findall(r"^    .*$", text, re.MULTILINE)]
        lines = re.findall(r"^(?: {4})?(?:\$ |\.venv/bin/|torchrun .*-m )?bitmosaic ([a-z].*)$", "\n".join(code), re.MULTILINE)
        for command in (part for line in lines for part in line.split("; bitmosaic ")):
            words = shlex.split(command, comments=True)
            if not set(words) & {"...", "--codes", *OF_ITS_OWN}:
                found[f"{page.name}: {shlex.join(words)}"] = page.name, words
    return found


SHOWN = shown()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with all that a training may be told to read."""
    folder = tmp_path_factory.mktemp("docs")
    frames = [to_pil(fashion_sample().image(i)).resize((64, 64)) for i in range(8)]
    for name in ("bag", "shirt"):
        (folder / "images" / name).mkdir(parents=True)
        for i, frame in enumerate(frames):
            frame.save(folder / "images" / name / f"{i}.png")
            (folder / "images" / name / f"{i}.txt").write_text("a thing")
        frames[0].save(folder / "images" / name / "film.gif", save_all=True, append_images=frames[1:])
        soundfile.write(folder / "images" / name / "sound.wav", np.zeros(8000), 8000)
    (folder / "names.csv").write_text("bag/1.png,a thing\n")
    return folder


def test_docs_show_commands():
    assert len(SHOWN) > 60 and len({words[0] for _, words in SHOWN.values()}) > 20


@pytest.mark.parametrize("line", SHOWN)
def test_a_command_of_docs_is_read(place, monkeypatch, line):
    monkeypatch.chdir(place)
    words = SHOWN[line][1]
    for option, given in zip(words, words[1:], strict=False):
        if option == "--data" and not (place / given).exists():
            shutil.copytree(place / "images", place / given)
    assert callable(find(words[0])(words[1:]))
