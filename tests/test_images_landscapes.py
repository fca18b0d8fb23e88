"""Landscapes: which crops are taken, how they are split, and what is said where the photographs are not there."""

import pytest
import torch
from PIL import Image

from bitmosaic.images import LANDSCAPE_KINDS, Landscapes, landscapes_sample
from bitmosaic.images.specs import LandscapesSpec


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """A folder as Debian's, of small pictures of one colour each: red is the photograph's number."""
    folder = tmp_path_factory.mktemp("photographs")
    for number, name in enumerate(name for of in LANDSCAPE_KINDS.values() for name in of.split()):
        Image.new("RGB", (144, 72), (number, 100, 200)).save(folder / f"{name}.jpg", quality=95)
    return folder


def test_photographs_are_split_and_none_is_in_both(photographs):
    train, test = Landscapes(photographs, "train"), Landscapes(photographs, "test")
    assert {file.name for file in train.files}.isdisjoint(file.name for file in test.files)
    assert len(train.files) + len(test.files) == sum(len(of.split()) for of in LANDSCAPE_KINDS.values()) == 149
    assert len(train.class_names) == len(train.labels.unique()) == len(test.labels.unique()) == 10


def test_a_photograph_has_one_kind():
    names = [name for of in LANDSCAPE_KINDS.values() for name in of.split()]
    assert len(names) == len(set(names))


def test_a_crop_is_its_numbers(photographs):
    first, second = Landscapes(photographs, size=(16, 24), crops=4), Landscapes(photographs, size=(16, 24), crops=4)
    assert len(first) == 4 * len(first.files) == len(first.labels)
    late = first.image(len(first) - 1)
    assert late.shape == (3, 16, 24) and late.dtype == torch.uint8
    assert torch.equal(late, second.image(len(second) - 1))
    assert first.fingerprint() == second.fingerprint() != Landscapes(photographs, size=(16, 24), crops=5).fingerprint()


def test_crops_beyond_the_cache_are_the_same(photographs, monkeypatch):
    wanted = Landscapes(photographs, size=8, crops=2)
    monkeypatch.setattr("bitmosaic.images.landscapes.CACHE", 3 * 8 * 8 * 5)
    small = Landscapes(photographs, size=8, crops=2)
    for index in (0, 1, 2, 3, 4, 5, 6, 0, 6):
        assert torch.equal(small.image(index), wanted.image(index))
    assert len(small._kept) == 5


def test_crops_lie_inside_and_differ(photographs):
    images = Landscapes(photographs, crops=8)
    boxes = [images.box(i, 720, 360) for i in range(len(images))]
    assert len(set(boxes)) == len(boxes)
    for left, top, right, bottom in boxes:
        assert 0 <= left < right <= 720 and 0 <= top < bottom <= 360
        assert 0.65 * 360 - 1e-6 <= bottom - top <= 360
        assert 0.9 - 1e-6 <= (right - left) / (bottom - top) <= 1.1 + 1e-6


def test_labels_are_those_of_the_photographs(photographs):
    images = Landscapes(photographs, size=8, crops=2)
    for index in (0, 40, len(images) - 1):
        kind = LANDSCAPE_KINDS[images.class_names[int(images.labels[index])]].split()
        assert images.files[index % len(images.files)].stem in kind


def test_they_are_looked_for_where_the_variable_says(photographs, monkeypatch, tmp_path):
    (tmp_path / "landscapes").symlink_to(photographs)
    monkeypatch.setenv("BITMOSAIC_DATA", str(tmp_path))
    assert len(LandscapesSpec(crops=1).build()) == 128


def test_absent_photographs_are_named(photographs, tmp_path):
    with pytest.raises(ValueError, match="apt-get install endless-sky-data"):
        Landscapes(tmp_path)
    for file in photographs.iterdir():
        if file.name != "city1.jpg":
            (tmp_path / file.name).symlink_to(file)
    with pytest.raises(ValueError, match="lacks 1 of 149 photographs, such as city1.jpg"):
        Landscapes(tmp_path)
    (tmp_path / "city1.jpg").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="cannot read .*city1.jpg"):
        images = Landscapes(tmp_path, crops=1)
        [images.image(i) for i in range(len(images))]
    with pytest.raises(ValueError, match="split: got 'val'"):
        Landscapes(photographs, "val")
    with pytest.raises(ValueError, match="crops: got 0"):
        Landscapes(photographs, crops=0)


def test_the_crops_that_ship_are_those_of_the_test_photographs():
    shipped = landscapes_sample()
    assert shipped.pixels.shape == (252, 3, 64, 64) and shipped.class_names == tuple(LANDSCAPE_KINDS)
    try:
        read = Landscapes(split="test", crops=12)
    except ValueError:
        pytest.skip("Debian's endless-sky-data is not here")
    pixels, _ = read.read(torch.arange(252))
    assert torch.equal(read.labels, shipped.labels)
    assert (pixels.int() - shipped.pixels.int()).abs().max() <= 4  # JPEG may be read otherwise by another library
