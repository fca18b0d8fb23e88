"""An index and the files of its images: written over, gone, moved, with names of any bytes; the picture itself among its neighbours."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_search import photos

from bitmosaic.cli import main
from bitmosaic.images import fashion_sample, save, to_pil
from bitmosaic.search import Index

__all__ = ["photos"]


def picture(i):
    return to_pil(fashion_sample().pixels[i].float() / 255)


@pytest.fixture
def say(tmp_path, capsys):
    """Runs a command, and gives what it printed; its output lies in tmp_path / "s"."""

    def run(*arguments, status=0):
        capsys.readouterr()
        more = [] if arguments[0] == "index" else ["--out", tmp_path / "s"]
        assert main([str(a) for a in (*arguments, *more)]) == status, capsys.readouterr().err
        told = capsys.readouterr()
        return told.err if status else told.out

    return run


def nearest(say, out, image, *more):
    """(name, distance) of what is found, nearest first."""
    lines = [line.split() for line in say("search", out, image, *more).splitlines() if line.endswith("differ")]
    return [(line[1], float(line[-3])) for line in lines]


def test_a_picture_that_was_written_over_is_indexed_again(photos, tmp_path, say):
    out = tmp_path / "index"
    assert "12 images by codes, 12 new:" in say("index", photos, out)
    held = os.stat(photos / "3.png")
    picture(100).save(photos / "new.bmp")  # of the same size and the same times as what it takes the place of
    picture(3).save(photos / "old.bmp")
    assert "2 new" in say("index", photos, out)
    times = os.stat(photos / "old.bmp")
    shutil.copy(photos / "new.bmp", photos / "old.bmp")
    os.utime(photos / "old.bmp", ns=(times.st_atime_ns, times.st_mtime_ns))
    save(picture(101), photos / "3.png")
    os.utime(photos / "3.png", ns=(held.st_atime_ns, held.st_mtime_ns))
    picture(102).save(photos / "5.png")
    os.utime(photos / "7.png")  # touched alone
    assert "14 images by codes, 0 new, 3 changed:" in say("index", photos, out)
    assert "14 images by codes, 0 new:" in say("index", photos, out)
    for name, i in (("old.bmp", 100), ("3.png", 101), ("5.png", 102)):
        picture(i).save(tmp_path / "asked.png")
        assert {name for name, distance in nearest(say, out, tmp_path / "asked.png") if distance == 0} >= {name}
    picture(3).save(tmp_path / "asked.png")
    assert all(distance for _, distance in nearest(say, out, tmp_path / "asked.png"))  # the old content is found no more
    assert len(Index.open(out)) == 14


def test_files_that_are_as_they_were_are_not_read_again(photos, tmp_path, say, monkeypatch):
    out, later = tmp_path / "index", 3600 * 10**9
    monkeypatch.setattr("bitmosaic.images.contents.time.time_ns", lambda: os.stat(photos / "0.png").st_ctime_ns + later)
    say("index", photos, out)
    os.utime(photos / "7.png", ns=(0, 0))
    assert "0 new:" in say("index", photos, out)  # reads one, and notes its time
    monkeypatch.setattr("bitmosaic.images.contents.open", lambda *_, **__: pytest.fail("a file was read"), raising=False)
    assert "12 images by codes, 0 new:" in say("index", photos, out)


def test_a_picture_replaced_by_what_is_none_is_found_no_more(photos, tmp_path, say, capsys):
    out = tmp_path / "index"
    say("index", photos, out)
    (photos / "3.png").write_bytes(b"no picture")
    assert main(["index", str(photos), str(out)]) == 0
    told = capsys.readouterr()
    assert "11 images by codes, 0 new, 1 removed:" in told.out and "3.png" in told.err
    assert "3.png" not in [name for name, _ in nearest(say, out, photos / "4.png", "-k", "99")]
    picture(3).save(photos / "3.png")
    assert "12 images by codes, 1 new:" in say("index", photos, out)
    assert nearest(say, out, photos / "3.png")[0] == ("3.png", 0)


@pytest.mark.parametrize("structure", ["flat", "hnsw"])
def test_prune_takes_out_what_is_gone_and_nothing_else(photos, tmp_path, say, structure):
    out, kind = tmp_path / "index", ["--structure", structure]
    say("index", photos, out, *kind)
    (photos / "sub").mkdir()
    save(picture(50), photos / "sub" / "50.png")
    assert "13 images by codes, 1 new:" in say("index", photos, out, "--prune", *kind)
    (photos / "3.png").rename(photos / ".hidden.png")
    (photos / "5.png").unlink()
    shutil.rmtree(photos / "sub")
    os.mkfifo(photos / "6.pipe.png")
    said = say("index", photos, out, *kind)
    assert "13 images by codes, 0 new, 3 gone from the folder (--prune takes them out):" in said
    said = say("index", photos, out, "--prune", *kind)
    assert "10 images by codes, 0 new, 3 removed:" in said
    assert {"3.png", "5.png", "sub/50.png"}.isdisjoint(name for name, _ in nearest(say, out, photos / "4.png", "-k", "99"))
    assert "10 images by codes, 0 new:" in say("index", photos, out, "--prune", *kind)


def test_what_lies_there_is_kept_though_it_is_listed_no_more(photos, tmp_path, say, monkeypatch):
    out = tmp_path / "index"
    say("index", photos, out)
    from bitmosaic.images import scan as module  # noqa: F401  the function; the list of endings is elsewhere

    real = os.stat

    def denied(path, *more, **how):
        if str(path).endswith("3.png"):
            raise PermissionError(13, "Permission denied")
        return real(path, *more, **how)

    (photos / "3.png").rename(tmp_path / "3.png")
    monkeypatch.setattr("bitmosaic.search.indexing.os.stat", denied)  # whether it is gone cannot be told
    assert "12 images by codes, 0 new:" in say("index", photos, out, "--prune")


def test_a_library_that_moves_is_followed(photos, tmp_path, say, capsys):
    out = tmp_path / "index"
    (photos / "sub").mkdir()
    save(picture(50), photos / "sub" / "50.png")
    say("index", photos, out)
    moved = tmp_path / "elsewhere" / "pictures"
    moved.parent.mkdir()
    photos.rename(moved)
    save(picture(51), moved / "51.png")
    assert main(["index", str(moved), str(out)]) == 0
    told = capsys.readouterr()
    assert "14 images by codes, 1 new:" in told.out and f"moved from {photos} to {moved}" in told.err
    assert nearest(say, out, moved / "sub" / "50.png")[0] == ("sub/50.png", 0)
    other = tmp_path / "other"
    other.mkdir()
    for i in range(12):
        save(picture(200 + i), other / f"{i}.png")
    told = say("index", other, out, status=2)
    assert str(moved) in told and "0 of its 14 images" in told and len(told.splitlines()) == 1
    assert "give" in say("index", "fashion-mnist", out, status=2)
    assert "14 images by codes, 0 new:" in say("index", moved, out)


def test_a_library_that_moves_together_with_its_index_is_found(photos, tmp_path, say):
    (tmp_path / "both").mkdir()
    photos = photos.rename(tmp_path / "both" / "photos")
    say("index", photos, tmp_path / "both" / "index")
    both = (tmp_path / "both").rename(tmp_path / "moved")
    say("search", both / "index", both / "photos" / "3.png", "-k", "1")
    pixels = np.asarray(Image.open(tmp_path / "s" / "3-search.png").convert("L"))
    assert (pixels == 128).mean() < 0.5  # it is shown, and not grey
    assert "(itself)" in say("search", both / "index", both / "photos" / "3.png", "-k", "1")
    assert "12 images by codes, 0 new:" in say("index", both / "photos", both / "index")


def test_pictures_in_linked_folders_have_names_below_the_library(photos, tmp_path, say):
    library = tmp_path / "library"
    library.mkdir()
    (library / "linked").symlink_to(photos)
    (library / "one.png").symlink_to(photos / "3.png")
    out = tmp_path / "index"
    assert "13 images by codes, 13 new:" in say("index", library, out)
    assert sorted(Index.open(out).present())[:2] == ["linked/0.png", "linked/1.png"]
    found = [line for line in say("search", out, photos / "3.png").splitlines() if "itself" in line]
    assert len(found) == 2 and "linked/3.png" in found[0] and "one.png" in found[1]


def test_names_that_are_no_text(photos, tmp_path, say, capsys):
    out, odd = tmp_path / "index", os.fsdecode(b"caf\xe9 <b>\x1b[31m\n.png")
    (photos / "3.png").rename(photos / odd)
    shutil.copy(photos / odd, photos / os.fsdecode(b"copy\xff.png"))
    say("index", photos, out)
    for asked in (photos / odd, photos / "4.png"):
        said = say("search", out, asked, "-k", "20")
        assert "caf\\udce9 <b>\\x1b[31m\\n.png" in said and "copy\\udcff.png" in said
    page = (tmp_path / "s" / "4-search.html").read_text(encoding="utf-8")
    assert "caf\\udce9 &lt;b&gt;\\x1b[31m\\n.png" in page
    said = say("duplicates", out)
    assert "caf\\udce9 <b>\\x1b[31m\\n.png, copy\\udcff.png" in said or "copy\\udcff.png, caf\\udce9 <b>\\x1b[31m\\n.png" in said
    (photos / odd).write_bytes(b"no picture")
    assert main(["index", str(photos), str(out)]) == 0
    assert "caf\\udce9" in capsys.readouterr().err
    (photos / odd).unlink()
    assert "12 images by codes, 0 new:" in say("index", photos, out, "--prune")


@pytest.mark.parametrize("by", ["codes", "features"])
def test_folders_whose_names_are_no_text(photos, tmp_path, say, by):
    library, out = photos.rename(tmp_path / os.fsdecode(b"lib\xe9")), tmp_path / os.fsdecode(b"out\xff")
    assert "lib\\udce9" in say("index", library, out, "--by", by)
    assert "12 images" in say("index", library, out, "--by", by)
    assert "(itself)" in say("search", out, library / "3.png") and "of 12 images" in say("duplicates", out)
    next(out.glob("*.faiss")).write_bytes(b"cut")
    assert "(itself)" in say("search", out, library / "3.png")


def test_the_picture_itself_is_marked_and_left_out_when_asked(photos, tmp_path, say, monkeypatch):
    out = tmp_path / "index"
    shutil.copy(photos / "3.png", photos / "copy.png")
    say("index", photos, out)
    said = say("search", out, photos / "3.png", "-k", "3").splitlines()
    assert sum("(itself)" in line for line in said) == 1 and "3.png (itself)" in said[0] + said[1]
    found = nearest(say, out, photos / "3.png", "-k", "12", "--exclude-self")
    assert len(found) == 12 and found[0] == ("copy.png", 0) and "3.png" not in dict(found)
    monkeypatch.chdir(photos)
    assert nearest(say, out, Path("3.png"), "-k", "12", "--exclude-self") == found
    shutil.copy(photos / "3.png", tmp_path / "abroad.png")  # a copy that is not in the index has no self there
    assert {name for name, _ in nearest(say, out, tmp_path / "abroad.png", "-k", "2", "--exclude-self")} == {"3.png", "copy.png"}


@pytest.mark.slow
def test_a_test_image_is_itself_among_the_test_images(tmp_path, say):
    say("index", "fashion-mnist", tmp_path / "index")
    assert "fashion-mnist:17 (itself)" in say("search", tmp_path / "index", "fashion:17", "-k", "2")
    assert "fashion-mnist:17" not in dict(nearest(say, tmp_path / "index", "fashion:17", "--exclude-self"))
