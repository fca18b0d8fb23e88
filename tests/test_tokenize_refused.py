"""What 'bitmosaic tokenize' does not call a success, what it names, and what it mends."""

import json
import shutil
from pathlib import Path

import pytest
from test_tokenize import counts, files, manifest, photos, tokenize, tokenizer  # noqa: F401
from test_tokenize_tars import png, tar

from bitmosaic.cli import main
from bitmosaic.train import tokenize as tokenize_module
from bitmosaic.train.tokenized import Manifest


@pytest.fixture
def shards(tmp_path) -> Path:
    """Three tars of two images each."""
    folder = tmp_path / "tars"
    folder.mkdir()
    for i in range(3):
        (folder / f"{i}.tar").write_bytes(tar([(f"{i}-{j}.png", png(2 * i + j)) for j in range(2)]))
    return folder


@pytest.mark.parametrize("name, words", [
    ("nope.tar", "there is no"), ("{0..3}.tar", "3.tar"), ("{0..30}.tar", "and 20 more"), ("nope*.tar", "no tar shard"),
    ("0.tgz", "no folder"), ("sub/0.tar", "there is no"),
])  # fmt: skip
def test_tars_that_are_not_there(shards, tmp_path, tokenizer, capsys, name, words):  # noqa: F811
    assert tokenize(shards / name, tmp_path / "deep" / "out", tokenizer) == 2
    told = capsys.readouterr().err
    assert words in told and len(told.splitlines()) == 1, told
    assert not (tmp_path / "deep").exists()
    assert tokenize(shards / "{0..2}.tar", tmp_path / "deep" / "out", tokenizer) == 0, "the folder is free for the right name"


def test_a_tar_that_went_when_its_shard_was_made_is_not_missed(shards, tmp_path, tokenizer, capsys):  # noqa: F811
    out = tmp_path / "out"
    assert tokenize(shards / "{0..2}.tar", out, tokenizer) == 0
    (shards / "1.tar").unlink()
    before = files(out)
    assert tokenize(shards / "{0..2}.tar", out, tokenizer) == 0 and files(out) == before
    (out / "shards" / "00001" / "codes.npy").unlink()
    capsys.readouterr()
    assert tokenize(shards / "{0..2}.tar", out, tokenizer) == 2 and "1.tar" in capsys.readouterr().err
    assert (out / "shards" / "00000").is_dir()


def test_what_broke_off_stays_where_its_tar_is_gone(shards, tmp_path, tokenizer):  # noqa: F811
    out, cut = tmp_path / "out", shards / "1.tar"
    cut.write_bytes(cut.read_bytes()[:-10_240] + tar([("2.png", png(9))])[:700])
    assert tokenize(shards / "{0..2}.tar", out, tokenizer) == 0 and counts(out)["broken"] == 1
    images = manifest(out)["images"]
    cut.unlink()
    assert tokenize(shards / "{0..2}.tar", out, tokenizer) == 0 and manifest(out)["images"] == images


@pytest.mark.parametrize("content, words", [
    (b"this is no tar" * 100, "break off"), (b"", "break off"), (tar([]), "no image"), (tar([("a.txt", b"x")]), "no image"),
    (tar([("a.png", b"no picture")]), "unreadable"),
])  # fmt: skip
def test_no_image_at_all_is_no_success(tmp_path, tokenizer, capsys, content, words):  # noqa: F811
    data, out = tmp_path / "a.tar", tmp_path / "out"
    data.write_bytes(content)
    for _ in range(2):  # the same again is told the same
        assert tokenize(data, out, tokenizer) == 2
        told = capsys.readouterr().err
        assert words in told and str(data) in told and len(told.splitlines()) == 1, told
        assert not (out / "manifest.json").exists()
    data.write_bytes(tar([("a.png", png(1))]))
    assert tokenize(data, out, tokenizer) == 0 and manifest(out)["images"] == 1
    shutil.copy(data, tmp_path / "b.tar")


def test_after_no_image_the_folder_is_free_for_others(shards, tmp_path, tokenizer):  # noqa: F811
    data, out = tmp_path / "a.tar", tmp_path / "out"
    data.write_bytes(tar([]))
    assert tokenize(data, out, tokenizer) == 2
    assert tokenize(shards / "*.tar", out, tokenizer) == 0 and manifest(out)["images"] == 6


def test_a_folder_of_which_nothing_can_be_read(tmp_path, tokenizer, capsys):  # noqa: F811
    (tmp_path / "photos").mkdir()
    for i in range(3):
        (tmp_path / "photos" / f"{i}.png").write_bytes(b"\x89PNG\r\n\x1a\nno picture")
    assert tokenize(tmp_path / "photos", tmp_path / "out", tokenizer) == 2
    told = capsys.readouterr().err
    assert "3 unreadable images" in told and "0.png" in told, told


def test_images_that_go_while_they_are_read_stop_it(photos, tmp_path, tokenizer, monkeypatch, capsys):  # noqa: F811
    """A disk that is unmounted is no folder of unreadable images."""
    read, away = tokenize_module.read_views, tmp_path / "away"

    def unmounted(image, *rest):
        if Path(image).name == "2.png" and photos.exists():
            photos.rename(away)
        return read(image, *rest)

    out = tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr(tokenize_module, "read_views", unmounted)
        assert tokenize(photos, out, tokenizer, "--shard-images", "1") == 2
    assert "2.png was there when the folder was listed and is gone" in capsys.readouterr().err
    assert [p.name for p in sorted((out / "shards").glob("[0-9]*"))] == ["00000", "00001"]
    away.rename(photos)
    assert tokenize(photos, out, tokenizer, "--shard-images", "1") == 0 and manifest(out)["images"] == 13


def test_broken_tars_are_named_though_small_troubles_are_many(shards, tmp_path, tokenizer, capsys):  # noqa: F811
    (shards / "0.tar").write_bytes(tar([(f"{i}.png", b"no picture") for i in range(60)] + [("a.png", png(1)), ("b.cls", b"7")]))
    (shards / "2.tar").write_bytes(tar([(f"{i}.png", b"no picture") for i in range(60)])[: 512 * 70])
    for i in range(3, 50):
        (shards / f"{i}.tar").write_bytes(b"no tar" if i % 2 else tar([]))
    assert tokenize(shards / "{0..49}.tar", tmp_path / "out", tokenizer, "--classes", "3") == 0
    told = manifest(tmp_path / "out")["told"]
    for i in range(2, 50):
        assert any(f"{shards}/{i}.tar: " in line for line in told), i
    assert any("a label without an image" in line for line in told), "one kind does not crowd out another"
    assert sum("60" not in line and "no picture" in line or "picture" in line for line in told) <= 20
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) <= 42 and "more, named in" in lines[-1]


CHANGES = {
    "a checksum": lambda about: about["shards"][1]["sha256"].update({"codes.npy": "0" * 64}),
    "a checksum of what is told": lambda about: about["shards"][0]["sha256"].update({"codes.json": "f" * 64}),
    "the tokenizer": lambda about: about.update(tokenizer="0" * 64),
    "a count": lambda about: (about["shards"][0].update(images=5), about["shards"][1].update(images=7)),
    "a class": lambda about: about.update(classes=["bag", "skirt"]),
    "the grid": lambda about: about.update(grid=[2, 8]),
    "the format": lambda about: about.update(format="bitmosaic tokenized 7"),
    "a name": lambda about: about["shards"][0].update(name="00009"),
    "one shard too few": lambda about: (about["shards"].pop(), about.update(images=12)),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_manifest_that_is_damaged_is_mended(photos, tmp_path, tokenizer, capsys, name):  # noqa: F811
    out = tmp_path / "out"
    assert tokenize(photos, out, tokenizer, "--shard-images", "6") == 0
    whole, damaged = files(out), manifest(out)
    CHANGES[name](damaged)
    (out / "manifest.json").write_text(json.dumps(damaged, indent=1) + "\n")
    capsys.readouterr()
    assert tokenize(photos, out, tokenizer, "--shard-images", "6") == 0
    assert "made anew: manifest.json" in capsys.readouterr().err
    assert files(out) == whole
    Manifest.read(out).verify()


@pytest.mark.parametrize("name", [
    "manifest.json", "scan.json", "tokenizer/model.safetensors", "tokenizer/config.json", "shards/00001/codes.npy",
    "shards/00001/labels.npy", "shards/00001/pixels.npy", "shards/00001/codes.json",
])  # fmt: skip
@pytest.mark.parametrize("how", ["flipped", "cut", "empty", "gone"])
def test_the_same_command_mends_any_file(photos, tmp_path, tokenizer, name, how):  # noqa: F811
    """Never a circle: where training says to tokenize again, that is enough."""
    out = tmp_path / "out"
    assert tokenize(photos, out, tokenizer, "--shard-images", "6") == 0
    whole, path = files(out), out / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    {"flipped": lambda: path.write_bytes(data), "cut": lambda: path.write_bytes(data[: len(data) // 2]),
     "empty": lambda: path.write_bytes(b""), "gone": path.unlink}[how]()  # fmt: skip
    assert tokenize(photos, out, tokenizer, "--shard-images", "6") == 0
    assert files(out) == whole
    Manifest.read(out).verify()


def test_a_list_of_files_that_is_damaged_is_made_anew(photos, tmp_path, tokenizer):  # noqa: F811
    out = tmp_path / "out"
    assert tokenize(photos, out, tokenizer) == 0
    whole = files(out)
    (out / "scan.json").write_text((out / "scan.json").read_text().replace("bag/4.png", "bag/6.png"))
    assert tokenize(photos, out, tokenizer) == 0 and files(out) == whole


@pytest.mark.parametrize("how", [lambda text: text[:40], lambda text: "", lambda text: text.replace("plain", "plaim"), lambda text: "[]"])
def test_a_damaged_note_of_what_was_begun_says_what_to_do(photos, tmp_path, tokenizer, capsys, how):  # noqa: F811
    out, note = tmp_path / "out", tmp_path / "out" / "begun.json"
    assert tokenize(photos, out, tokenizer) == 0
    whole = files(out)
    note.write_text(how(note.read_text()))
    assert tokenize(photos, out, tokenizer) == 2
    told = capsys.readouterr().err
    assert f"{note} is damaged" in told and "take it away" in told and len(told.splitlines()) == 1
    note.unlink()
    assert tokenize(photos, out, tokenizer, "--views", "flip") == 2 and "another views" in capsys.readouterr().err
    assert tokenize(photos, out, tokenizer) == 0 and files(out) == whole


def test_a_note_of_an_earlier_version_is_read(photos, tmp_path, tokenizer):  # noqa: F811
    out, note = tmp_path / "out", tmp_path / "out" / "begun.json"
    assert tokenize(photos, out, tokenizer) == 0
    note.write_text(json.dumps({k: v for k, v in json.loads(note.read_text()).items() if k != "checksum"}))
    assert tokenize(photos, out, tokenizer) == 0
    assert tokenize(photos, out, tokenizer, "--views", "flip") == 2


def test_shards_of_an_earlier_version_are_read(photos, tmp_path, tokenizer):  # noqa: F811
    """Those told their troubles without the kind."""
    (photos / "bag" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno picture")
    out, path = tmp_path / "out", tmp_path / "out" / "shards" / "00000" / "codes.json"
    assert tokenize(photos, out, tokenizer) == 0
    about = json.loads(path.read_text())
    path.write_text(json.dumps({**about, "told": about["told"]["unreadable"]}))
    assert tokenize(photos, out, tokenizer) == 0
    assert "broken.png" in manifest(out)["told"][0] and counts(out)["unreadable"] == 1


def test_training_tells_what_tokenize_then_mends(photos, tmp_path, tokenizer, capsys):  # noqa: F811
    out = tmp_path / "out"
    assert tokenize(photos, out, tokenizer) == 0
    text = (out / "manifest.json").read_text()
    sum_ = manifest(out)["shards"][0]["sha256"]["codes.npy"]
    (out / "manifest.json").write_text(text.replace(sum_, ("1" if sum_[0] == "0" else "0") + sum_[1:]))
    assert main(["train", "fashion", "--codes", str(out), "--out", str(tmp_path / "run")]) == 2
    assert "the same 'bitmosaic tokenize' again" in capsys.readouterr().err
    assert tokenize(photos, out, tokenizer) == 0 and (out / "manifest.json").read_text() == text
