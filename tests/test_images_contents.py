"""What a folder holds is known by its contents, read once; images that go meanwhile are no unreadable ones."""

import errno
import os
import shutil

import numpy as np
import pytest
from PIL import Image

import bitmosaic.images.read as reading
from bitmosaic.images import Batches, Folder, ImagesGone, in_order
from bitmosaic.images.contents import Contents


def picture(path, grey=100, size=(12, 9)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, grey).save(path)


@pytest.fixture
def folder(tmp_path):
    for name, grey in (("a/1.bmp", 10), ("a/2.bmp", 20), ("b/3.bmp", 30), ("b/4.bmp", 40)):
        picture(tmp_path / "data" / name, grey)
    for path in (tmp_path / "data").rglob("*.bmp"):
        os.utime(path, (1e9, 1e9))
    return tmp_path / "data"


def edited(path, at=200):
    """Another byte in the middle, of the same size and time."""
    held, data = path.stat(), bytearray(path.read_bytes())
    data[-at % len(data)] ^= 1
    path.write_bytes(bytes(data))
    os.utime(path, ns=(held.st_atime_ns, held.st_mtime_ns))
    assert path.stat().st_size == held.st_size


def test_the_same_pictures_are_the_same_wherever_and_whenever(folder, tmp_path, monkeypatch):
    held = Folder(folder, 8).fingerprint()
    for path in folder.rglob("*.bmp"):
        os.utime(path, (5, 5))
    shutil.copytree(folder, tmp_path / "copied")
    (tmp_path / "link").symlink_to(folder)
    folder.rename(tmp_path / "moved")
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to(tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "moved" / "a" / "2.bmp").rename(tmp_path / "moved" / "a" / "2b.bmp")  # in the same place of the order
    for place in ("moved", "moved/", "./moved", tmp_path / "moved", "copied", "link"):
        assert Folder(place, 8).fingerprint() == held, place
    monkeypatch.chdir(tmp_path / "copied")
    assert Folder(".", 8).fingerprint() == Folder("", 8).fingerprint() == held


def test_what_changes_the_result_is_noticed(folder):
    def other(change):
        copy = folder.with_name("other")
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(folder, copy)
        change(copy)
        return Folder(copy, 8).fingerprint()

    changes = [
        lambda f: edited(f / "a" / "2.bmp"), lambda f: edited(f / "b" / "4.bmp", 5), lambda f: picture(f / "a" / "9.bmp"),
        lambda f: (f / "a" / "1.bmp").unlink(), lambda f: (f / "a" / "1.bmp").rename(f / "b" / "1.bmp"),
        lambda f: (f / "a").rename(f / "c"), lambda f: (f / "a" / "1.bmp").rename(f / "a" / "5.bmp"),
    ]  # fmt: skip
    prints = [other(lambda f: None), *map(other, changes), Folder(folder, 9).fingerprint(), Folder(folder, 8, channels=1).fingerprint()]
    assert prints[0] == Folder(folder, 8).fingerprint() and len(set(prints)) == len(prints)


def test_a_file_is_read_once_unless_it_may_have_changed(folder, tmp_path, monkeypatch):
    import bitmosaic.images.contents as contents

    opened = []
    monkeypatch.setattr(contents, "open", lambda path, *a, **k: opened.append(os.path.basename(path)) or open(path, *a, **k), raising=False)
    monkeypatch.setattr(contents, "FRESH", 0)
    first = Folder(folder, 8).contents()
    assert sorted(opened) == ["1.bmp", "2.bmp", "3.bmp", "4.bmp"]
    first.save(tmp_path / "kept.npz")
    kept = Contents.load(tmp_path / "kept.npz")
    assert kept.names == ["a/1.bmp", "a/2.bmp", "b/3.bmp", "b/4.bmp"] and kept.same_looks(first) and np.array_equal(kept.sums, first.sums)
    opened.clear()
    told = []
    assert np.array_equal(Folder(folder, 8).contents(kept, told.append).sums, first.sums) and opened == [] and sum(told) == 4
    os.utime(folder / "a" / "1.bmp", (7, 7))
    edited(folder / "b" / "3.bmp")
    now = Folder(folder, 8).contents(kept)
    assert sorted(opened) == ["1.bmp", "3.bmp"] and now.changes(kept) == "1 changed (b/3.bmp)" and kept.changes(kept) == ""


def test_a_file_that_changed_a_moment_ago_is_read_again(folder):
    first = Folder(folder, 8).contents()
    assert (first.stats == -1).all(), "a second change within the same tick of the clock would not be seen"
    assert Folder(folder, 8).contents(first).changes(first) == ""


def test_changes_are_counted_and_named(folder):
    before = Folder(folder, 8).contents()
    (folder / "a" / "1.bmp").rename(folder / "b" / "new\n.bmp")
    (folder / "b" / "4.bmp").unlink()
    picture(folder / "a" / "5.bmp", 77)
    told = Folder(folder, 8).contents().changes(before)
    assert told == r"2 added (a/5.bmp, b/new\n.bmp), 2 removed (a/1.bmp, b/4.bmp); 1 of these under another name only"


@pytest.mark.parametrize("how", ["none", "cut", "noise", "other"])
def test_a_list_that_is_damaged_is_as_none(folder, tmp_path, how):
    kept = tmp_path / "kept.npz"
    Folder(folder, 8).contents().save(kept)
    data = kept.read_bytes()
    kept.write_bytes({"none": b"", "cut": data[: len(data) // 2], "noise": bytes(reversed(data)), "other": data}[how])
    if how == "other":
        np.savez(kept, names=np.zeros(3, np.uint8), stats=np.zeros((9, 3), np.int64), sums=np.zeros((9, 16), np.uint8))
    assert Contents.load(kept) is None


def test_names_may_hold_anything(tmp_path):
    name = os.fsdecode(b"\xff\n.png")
    picture(tmp_path / "data" / name)
    Folder(tmp_path / "data", 8).contents().save(tmp_path / "kept.npz")
    assert Contents.load(tmp_path / "kept.npz").names == [name]


def test_files_that_cannot_be_read_are_part_of_what_there_is(folder):
    held = Folder(folder, 8).fingerprint()
    (folder / "a" / "3.bmp").symlink_to("nowhere.bmp")
    images = Folder(folder, 8)
    if len(images) == 5:  # where a scan lists what leads nowhere
        assert images.fingerprint() != held and images.image(2) is None and "a/3.bmp (" in images.unreadable_summary()
    images.check_there()


# ---- gone


def test_images_that_go_are_counted_and_not_passed_over(folder):
    images = Folder(folder, 8, cache_bytes=0)
    images.check_there()
    batches = Batches(images, 4, seed=0)
    held = batches(0)
    shutil.move(folder / "b", folder.with_name("aside"))
    for ask in (images.check_there, lambda: batches(1), lambda: list(in_order(images, 2))):
        with pytest.raises(ImagesGone, match="images: 2 are gone, .* of 4 that were there at the start, such as .*/b/") as told:
            ask()
        assert (told.value.gone, told.value.of) == (2, 4)
    assert not images.unreadable
    shutil.move(folder.with_name("aside"), folder / "b")
    images.check_there()
    assert (batches(0).images == held.images).all()
    (folder / "a" / "1.bmp").unlink()
    with pytest.raises(ImagesGone, match="images: 1 is gone"):
        images.check_there()


def test_links_whose_storage_goes_are_gone(folder, tmp_path):
    links = tmp_path / "links"
    for path in folder.rglob("*.bmp"):
        (links / path.parent.name).mkdir(parents=True, exist_ok=True)
        (links / path.parent.name / path.name).symlink_to(path)
    images = Folder(links, 8, cache_bytes=0)
    folder.rename(tmp_path / "elsewhere")
    with pytest.raises(ImagesGone, match="4 are gone"):
        images.image(0)
    with pytest.raises(ImagesGone):
        images.check_there()


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT])
def test_a_disk_that_fails_is_no_broken_picture(folder, monkeypatch, number):
    images = Folder(folder, 8, cache_bytes=0)

    def fails(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(reading.Image, "open", fails)
    with pytest.raises(ImagesGone, match="1 is gone, or cannot be reached or read any more, of 4"):
        images.image(1)
    assert not images.unreadable


def test_a_picture_that_is_cut_is_unreadable_and_no_reason_to_stop(folder):
    data = (folder / "a" / "1.bmp").read_bytes()
    (folder / "a" / "1.bmp").write_bytes(data[: len(data) // 2])
    images = Folder(folder, 8)
    assert images.image(0) is None and len(images.unreadable) == 1
    images.check_there()
