"""`bitmosaic sample`: by several processes, stopped at any moment, and in any number."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import warm
from filelock import FileLock
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from bitmosaic import Pipeline
from bitmosaic.cli import main
from bitmosaic.commands import sample as module
from bitmosaic.commands.files import SOFTWARE, file_name, written_by_us, written_into
from bitmosaic.media import PICTURES

BATCH = 4  # images at once, where a person's command takes 64
FEW = ["--steps", "1", "--evaluations", "1", "--out"]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def words(count, out, *more) -> list[str]:
    return ["sample", "fashion", "--classes", "bag", "--count", str(count), *map(str, more), *FEW, str(out)]


@pytest.fixture(autouse=True, scope="module")
def small_batches():
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "BATCH", BATCH)
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """Six images, in two batches, drawn in one go."""
    out = tmp_path_factory.mktemp("whole")
    assert main(words(6, out)) == 0
    return out


def test_two_processes_draw_what_one_draws(tmp_path, whole):
    """Six images are two batches, one for each process."""
    code = f"import sys, bitmosaic.cli as cli, bitmosaic.commands.sample as s; s.BATCH = {BATCH}; sys.exit(cli.main(sys.argv[1:]))"
    line = [sys.executable, "-c", code, *words(6, tmp_path)]
    found = warm.torchrun(2, line)
    assert found.returncode == 0, found.stderr
    assert found.stdout.count("6 images in") == 1
    one, two = contents(whole), contents(tmp_path)
    assert len(one) == 7 and one == two
    for name in ("bag-003.png", "bag-005.png", "sheet.png"):
        (tmp_path / name).unlink()
    found = warm.torchrun(2, line)
    assert found.returncode == 0 and "6 images, 4 of them were there" in found.stdout, found.stderr
    assert contents(tmp_path) == one


def stopped_after(batches: int, how: BaseException):
    """`written_into` that fails when so many batches are written."""
    calls = []

    def stops(folder, names):
        calls.append(names)
        if len(calls) > batches:
            raise how
        return written_into(folder, names)

    return stops


def test_what_was_drawn_stays_and_the_same_command_goes_on(tmp_path, whole, monkeypatch, capsys):
    with monkeypatch.context() as patched:
        patched.setattr(module, "written_into", stopped_after(1, KeyboardInterrupt()))
        assert main(words(6, tmp_path)) == 130
    assert "what is drawn stays, and the same command again goes on" in capsys.readouterr().err
    assert len(contents(tmp_path)) == 4
    times = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    asked, draw = [], module.draw
    monkeypatch.setattr(module, "draw", lambda pipe, pairs, **own: asked.append(pairs) or draw(pipe, pairs, **own))
    assert main(words(6, tmp_path)) == 0
    assert [seed for _, seed in asked[0]] == [4, 5] and "6 images, 4 of them were there" in capsys.readouterr().out
    assert contents(tmp_path) == contents(whole)
    assert all((tmp_path / name).stat().st_mtime_ns == at for name, at in times.items())
    assert main(words(8, tmp_path)) == 0 and len(asked[1]) == 2, "more of them take what is there too"


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_killed_it_goes_on_and_leaves_nothing_hidden(tmp_path, how):
    code = (
        "import sys, time; from bitmosaic.commands import sample; from bitmosaic.cli import main; draw = sample.draw\n"
        "def slow(*a, **k):\n    for found in draw(*a, **k):\n        yield found\n        time.sleep(60)\n"
        "sample.draw, sample.BATCH = slow, 2; sys.exit(main(sys.argv[1:]))"
    )
    process = warm.Child([sys.executable, "-c", code, *words(5, tmp_path)], stderr=subprocess.PIPE)
    until = time.monotonic() + 120
    while not (tmp_path / "bag-001.png").exists():
        assert process.poll() is None and time.monotonic() < until, process.stderr.read()
        time.sleep(0.05)
    time.sleep(0.2)
    process.send_signal(how)
    process.communicate()
    assert sorted(contents(tmp_path)) == ["bag-000.png", "bag-001.png"]
    assert main(words(5, tmp_path)) == 0
    assert sorted(contents(tmp_path)) == [*(f"bag-00{i}.png" for i in range(5)), "sheet.png"]


def test_pictures_that_are_others_or_damaged_are_drawn_anew(tmp_path, whole, capsys):
    """Another setting, another seed under that name, a cut file, one of another version: only what is this very image stays."""
    assert main(words(5, tmp_path)) == 0
    before = contents(tmp_path)
    changes = {"bag-001.png": {"Settings": "{}"}, "bag-002.png": {"Software": "bitmosaic 0.0.1"}, "bag-003.png": {"Seed": "4"}}
    for name, change in changes.items():
        info = PngInfo()
        for key, text in {**PICTURES.notes(tmp_path / name), **change}.items():
            info.add_text(key, text)
        with Image.open(tmp_path / name) as picture:
            picture.copy().save(tmp_path / name, pnginfo=info)
    (tmp_path / "bag-004.png").write_bytes(before["bag-004.png"][:-60])
    capsys.readouterr()
    assert main(words(5, tmp_path)) == 0
    assert "5 images, 1 of them were there" in capsys.readouterr().out and contents(tmp_path) == before
    assert main(words(5, tmp_path, "--guidance-scale", "1.25")) == 0
    assert "were there" not in capsys.readouterr().out and contents(tmp_path)["bag-000.png"] != before["bag-000.png"]


def test_other_weights_of_the_same_name_are_another_pipeline(tmp_path):
    pipeline, folder = Pipeline.from_pretrained("fashion"), tmp_path / "p"
    pipeline.save_pretrained(folder)
    line = ["sample", str(folder), "--classes", "bag", "--count", "1", *FEW, str(tmp_path / "out")]
    assert main(line) == 0
    before = contents(tmp_path / "out")
    with torch.no_grad():
        pipeline.tokenizer.from_bits.weight *= 1.5
    pipeline.save_pretrained(folder)
    assert main(line) == 0
    after = contents(tmp_path / "out")
    assert before.keys() == after.keys() and all(before[name] != after[name] for name in before)


def test_a_picture_of_the_users_stops_it_before_anything_is_drawn(tmp_path, capsys):
    Image.new("L", (3, 3)).save(tmp_path / "bag-003.png")
    assert main(words(5, tmp_path)) == 2 and "was not written by bitmosaic" in capsys.readouterr().err
    assert list(contents(tmp_path)) == ["bag-003.png"]


# ---- the sheet


@pytest.mark.parametrize("mode, size", [("1", (69_000, 5222)), ("L", (20_000, 9000)), ("1", (3, 3))])
def test_a_sheet_of_any_size_is_known_as_ours(tmp_path, mode, size):
    """Beyond what Pillow opens too; and a huge one of the user's stays."""
    for software, ours in ((SOFTWARE, True), ("GIMP", False), (None, False)):
        info = PngInfo()
        if software:
            info.add_text("Software", software)
        Image.new(mode, size).save(tmp_path / "sheet.png", pnginfo=info, compress_level=1)
        assert written_by_us(tmp_path / "sheet.png") is ours
    assert not written_by_us(tmp_path / "none.png")
    (tmp_path / "text.png").write_text("no picture")
    assert not written_by_us(tmp_path / "text.png")


def of_pictures(size, channels):
    """What a sheet asks of a pipeline."""
    return SimpleNamespace(medium=PICTURES, size=size, channels=channels)


@pytest.mark.parametrize("classes, count", [(3, 50), (60, 2), (60, 50)])
def test_the_sheet_is_bounded_in_rows_and_columns(tmp_path, classes, count):
    labels, names = [f"class {i}" for i in range(classes)], [f"{i}-{j}.png" for i in range(classes) for j in range(count)]
    for name in names:
        Image.new("L", (28, 28)).save(tmp_path / name)
    picture = module.class_sheet(tmp_path, names, labels, of_pictures((28, 28), 1))
    rows, columns = min(classes, 40), min(count, 40)
    dark = picture.convert("L").point(lambda grey: 255 * (grey < 5)).getbbox()
    assert dark[3] - dark[1] == rows * 58 - 2 and dark[2] - dark[0] == columns * 58 - 2  # 28 pixels, twice as large, and gaps of 2


def test_the_sheet_of_large_images_is_bounded_in_pixels(tmp_path):
    """40 classes x 40 images of 512 pixels would take 20,000 x 20,000."""
    Image.new("RGB", (512, 512)).save(tmp_path / "a.png")
    picture = module.class_sheet(tmp_path, ["a.png"] * 40 * 40, [f"class {i}" for i in range(40)], of_pictures((512, 512), 3))
    assert 7000 < picture.width <= 8192 and 7000 < picture.height <= 8192


# ---- what is left by others


def test_what_killed_commands_left_is_taken_away(tmp_path):
    """Their hidden folders, when nobody holds them; those of commands at work, and what is not ours, stay."""
    left, at_work, theirs, young = (tmp_path / name for name in (".0123abcd.new", ".89abcdef.new", ".mine.new", ".00000000.new"))
    for folder in (left, at_work, theirs, young):
        folder.mkdir()
        (folder / "bag-000.png").write_bytes(b"x")
    (left / ".lock").touch()
    with FileLock(at_work / ".lock"):
        assert main(words(1, tmp_path)) == 0
        assert not left.exists() and at_work.is_dir() and theirs.is_dir() and young.is_dir()
    os.utime(young, (time.time() - 7200,) * 2)  # of an earlier version, which had no lock
    assert main(words(1, tmp_path)) == 0
    assert not at_work.exists() and theirs.is_dir() and not young.exists()


def test_the_folder_of_a_killed_command_is_recognised(tmp_path):
    code = (
        "import os, sys; from bitmosaic.commands.files import written_into\n"
        "with written_into(sys.argv[1], ['a.png']) as folder:\n    (folder / 'a.png').touch()\n    os._exit(9)"
    )
    assert warm.run([sys.executable, "-c", code, str(tmp_path / "out")]).returncode == 9
    assert len(list((tmp_path / "out").glob(".*.new"))) == 1
    with written_into(tmp_path / "out", ["b.json"]) as folder:
        (folder / "b.json").write_text(json.dumps({"software": SOFTWARE}))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b.json"]


def test_names_of_files():
    assert file_name("ankle boot") == "ankle-boot" and file_name("a/b:c*") == "a-b-c" and file_name("...") == "image"
    assert file_name("véhicules") == file_name("ve\u0301hicules") == "véhicules" and file_name("日本") == "日本"
    assert file_name("हिन्दी") == "हिन्दी" and file_name("a\udcff\x1b[b") == "a-b"
    assert len(file_name("日" * 300).encode()) <= 180 and file_name("x" * 300) == "x" * 180
