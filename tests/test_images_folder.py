"""A folder of pictures: classes, order, what is passed over, and what is said of files that cannot be read."""

import os

import numpy as np
import pytest
import torch
from PIL import Image

from bitmosaic.images import Batches, Folder, in_order, scan

pytestmark = pytest.mark.filterwarnings("error")


def picture(path, grey=128, size=(9, 7)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, grey).save(path)


def broken(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x89PNG\r\n\x1a\n and no more")


def test_classes_are_the_sub_folders(tmp_path):
    for name in ("b/2.png", "b/10.png", "a/deep/er/x.jpg", "a/Z.PNG", "a/y.webp", "c/c.bmp",
                 "c/.hidden.png", ".git/x.png", "c/.d/x.png"):
        picture(tmp_path / name)
    for name in ("notes.txt", "a/labels.json", "b/weights.h5"):
        (tmp_path / name).write_text("{}")
    found = scan(tmp_path)
    assert found.names == ["a/Z.PNG", "a/deep/er/x.jpg", "a/y.webp", "b/10.png", "b/2.png", "c/c.bmp"]
    assert found.files[0] == tmp_path / "a" / "Z.PNG" and found.class_names == ("a", "b", "c")
    assert found.labels.tolist() == [0, 0, 0, 1, 1, 2] and found.labels.dtype == torch.int64


def test_no_sub_folders_no_classes(tmp_path):
    for grey in (30, 10, 20):
        picture(tmp_path / f"{grey}.png", grey)
    (tmp_path / "empty").mkdir()
    folder = Folder(str(tmp_path), (4, 6), channels=1)
    assert (len(folder), folder.size, folder.channels, folder.labels, folder.class_names) == (3, (4, 6), 1, None, ())
    assert [folder.image(i).unique().tolist() for i in range(3)] == [[10], [20], [30]]
    assert folder.image(0).shape == (1, 4, 6) and folder.image(0).dtype == torch.uint8


def test_links_are_followed_and_never_in_circles(tmp_path):
    picture(tmp_path / "a" / "1.png")
    picture(tmp_path / "b" / "2.png")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "self").symlink_to("self")
    (tmp_path / "a" / "again").symlink_to(tmp_path / "a")
    (tmp_path / "b" / "other").symlink_to(tmp_path / "a")
    assert scan(tmp_path).names == ["a/1.png", "b/2.png", "b/other/1.png"]
    assert scan(tmp_path, classes=False).names == ["a/1.png", "b/2.png"]


@pytest.mark.parametrize("files, complaint", [
    ([], "is empty"), (["a.txt"], "holds no images"), (["a/b.txt", ".x.png"], "holds no images"),
    (["a/1.png", "b/b.txt"], "class 'b' .* has no image"),
])
def test_folders_that_do_not_do(tmp_path, files, complaint):
    for name in files:
        picture(tmp_path / name.replace(".txt", ".png"))
        if name.endswith(".txt"):
            (tmp_path / name.replace(".txt", ".png")).rename(tmp_path / name)
    with pytest.raises(ValueError, match=f"path: .*{complaint}"):
        Folder(tmp_path, 8)


def test_missing_path_and_path_of_a_file(tmp_path):
    with pytest.raises(ValueError, match="nowhere does not exist; give a folder"):
        Folder(tmp_path / "nowhere", 8)
    picture(tmp_path / "a.png")
    with pytest.raises(ValueError, match="a.png is not a folder"):
        Folder(tmp_path / "a.png", 8)


def test_a_class_with_nothing_readable(tmp_path):
    picture(tmp_path / "a" / "1.png")
    broken(tmp_path / "b" / "1.png")
    broken(tmp_path / "b" / "2.png")
    with pytest.raises(ValueError, match=r"class 'b' .* no readable image among 2.*b/1.png \(.*\); put in"):
        Folder(tmp_path, 8)
    with pytest.raises(ValueError, match=r"b has no readable image among 2"):
        Folder(tmp_path / "b", 8)


def test_unreadable_files_are_replaced_and_recorded_once(tmp_path):
    for grey in range(10, 16):
        picture(tmp_path / f"{grey}.png", grey)
    broken(tmp_path / "00.png")
    (tmp_path / "99.jpg").write_bytes(b"")
    folder = Folder(tmp_path, 4, channels=1)
    batches = Batches(folder, 8, seed=3)
    batch = batches(0)  # a whole epoch
    greys = batch.images.flatten(1).unique(dim=1).flatten().tolist()
    assert set(greys) == set(range(10, 16)) and 0 not in batch.indices and 7 not in batch.indices
    assert greys == [9 + i for i in batch.indices.tolist()]
    batches(1)
    assert sorted(map(os.path.basename, folder.unreadable)) == ["00.png", "99.jpg"]
    assert folder.unreadable_summary().startswith("skipped 2 unreadable of 8 images: ")
    assert "99.jpg (it is not" in folder.unreadable_summary()
    assert folder.unreadable_summary(at_most=1).endswith("), and 1 more")
    assert folder.image(0) is None and len(folder) == 8
    assert [batch.indices.tolist() for batch in in_order(folder, 3)] == [[1, 2], [3, 4, 5], [6]]


def test_what_was_unreadable_stays_so_and_can_be_printed(tmp_path):
    picture(tmp_path / "good.png")
    name = os.fsdecode(b"\xff.png")  # no text in any encoding we use
    broken(tmp_path / name)
    folder = Folder(tmp_path, 4)
    assert folder.image(1) is None and folder.fingerprint()
    picture(tmp_path / name)
    assert folder.image(1) is None and Folder(tmp_path, 4).image(1) is not None
    folder.unreadable_summary().encode("utf-8")


def test_a_good_folder_has_nothing_to_say(tmp_path):
    picture(tmp_path / "a" / "1.png", size=(1, 1))
    folder = Folder(tmp_path, 4)
    assert folder.unreadable_summary() == "" and folder.image(0).shape == (3, 4, 4)


def test_all_files_gone_is_an_error_not_a_circle(tmp_path):
    for i in range(3):
        picture(tmp_path / f"{i}.png")
    folder = Folder(tmp_path, 4, cache_bytes=0)
    for i in range(3):
        (tmp_path / f"{i}.png").unlink()
    with pytest.raises(ValueError, match="3 are gone, or cannot be reached or read any more, of 3"):
        Batches(folder, 2, seed=0)(0)


def test_decoded_images_are_kept_up_to_the_limit(tmp_path):
    for i in range(3):
        picture(tmp_path / f"{i}.png", grey=i)
    folder = Folder(tmp_path, 4, channels=1, cache_bytes=2 * 16)
    assert [folder.image(i).max().item() for i in range(3)] == [0, 1, 2]
    for i in range(3):
        picture(tmp_path / f"{i}.png", grey=100)
    assert [folder.image(i).max().item() for i in range(3)] == [0, 1, 100]


def test_fingerprint_changes_with_the_data(tmp_path):
    picture(tmp_path / "a" / "1.png")
    prints = [Folder(tmp_path, 8).fingerprint()]
    assert Folder(str(tmp_path), (8, 8)).fingerprint() == prints[0]
    prints += [Folder(tmp_path, 9).fingerprint(), Folder(tmp_path, 8, channels=1).fingerprint()]
    picture(tmp_path / "a" / "1.png", grey=1)
    prints.append(Folder(tmp_path, 8).fingerprint())
    picture(tmp_path / "a" / "2.png")
    prints.append(Folder(tmp_path, 8).fingerprint())
    (tmp_path / "a").rename(tmp_path / "b")
    prints.append(Folder(tmp_path, 8).fingerprint())
    assert len(set(prints)) == len(prints)


def test_pictures_of_all_kinds_side_by_side(tmp_path):
    kinds = [("RGB", "jpg"), ("L", "png"), ("RGBA", "png"), ("P", "gif"), ("CMYK", "tif"), ("1", "bmp")]
    for i, (mode, ending) in enumerate(kinds):
        Image.new(mode, (5 + 40 * i, 30)).save(tmp_path / f"{i}.{ending}")
    Image.fromarray(np.full((3, 3), 65535, np.uint16)).save(tmp_path / "6.png")
    assert Batches(Folder(tmp_path, 16), 7, seed=0)(0).images.shape == (7, 3, 16, 16)


def test_images_beside_classes_are_passed_over_and_named(tmp_path):
    for name in ("1.png", "a/2.png", "b/3.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("L", (9, 9), 200).save(tmp_path / name)
    folder = Folder(tmp_path, 8)
    assert folder.class_names == ("a", "b") and len(folder) == 2
    assert folder.unreadable == {} and "1 beside the classes, in none of them (1.png)" in folder.told()[1]
    assert [file.name for file in Folder(tmp_path, 8, classes=False).files] == ["1.png", "2.png", "3.png"]
