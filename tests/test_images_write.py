"""Tensors to pictures and files."""

import numpy as np
import pytest
import torch
from PIL import Image

from bitmosaic.images import animation, grid, read_image, save, sheet, to_pil, to_uint8

pytestmark = pytest.mark.filterwarnings("error")


def noise(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


def test_to_uint8_rounds_halves_to_even_and_clamps():
    values = torch.tensor([-1, 0, 0.5 / 255, 1.5 / 255, 2.5 / 255, 1, 7], dtype=torch.float64)
    assert to_uint8(values).tolist() == [0, 0, 0, 2, 2, 255, 255]
    assert torch.equal(to_uint8(torch.arange(256) / 255), torch.arange(256, dtype=torch.uint8))
    assert to_uint8(torch.ones(1, dtype=torch.bfloat16)).item() == 255
    for bad in (torch.tensor([float("nan")]), torch.tensor([3]), torch.tensor([True])):
        with pytest.raises(ValueError, match="images: got"):
            to_uint8(bad)


@pytest.mark.parametrize("channels, mode", [(1, "L"), (3, "RGB")])
def test_to_pil_and_back(channels, mode):
    image = to_uint8(noise(channels, 5, 7))
    assert to_pil(image).mode == mode and to_pil(image).size == (7, 5)
    assert torch.equal(read_image(to_pil(image), channels=channels), image)
    with pytest.raises(ValueError, match=r"image: got shape \(2, 5, 7\)"):
        to_pil(torch.zeros(2, 5, 7))


def test_grid_places_every_image():
    images = to_uint8(noise(5, 3, 4, 6))
    picture = torch.from_numpy(np.array(grid(images, columns=3, scale=2, gap=3, background=9))).permute(2, 0, 1)
    assert picture.shape == (3, 2 * 8 + 3, 3 * 12 + 6)
    assert torch.equal(picture[:, 11:19:2, 15:27:2], images[4])
    assert torch.equal(picture[:, 12:19:2, 16:27:2], images[4])
    assert (picture[:, 11:, 27:] == 9).all() and (picture[:, 8:11] == 9).all()
    assert grid(images[:1, :1], 1, gap=0).size == (6, 4) and grid(images[:1, :1], 1).mode == "L"
    for bad in ({"columns": 0}, {"columns": 2, "scale": 0}, {"columns": 2, "gap": -1}):
        with pytest.raises(ValueError, match="columns, scale, gap"):
            grid(images, **bad)


@pytest.mark.parametrize("channels", [1, 3])
def test_sheet_shows_images_beside_their_names(channels):
    images = torch.zeros(2, 3, channels, 14, 14)
    short, long = (sheet(images, names, scale=2, title="a title") for names in (["a", "b"], ["a", "much longer name"]))
    assert short.mode == "RGB" and long.width > short.width and long.height == short.height
    for picture, shown in ((short, "names"), (sheet(images, ["", ""], scale=2), "no names")):
        dark = (np.asarray(picture.convert("L")) < 5).sum()
        assert dark == 6 * 28 * 28, shown
    blank = np.asarray(sheet(images, ["", ""], scale=2, title="a title").convert("L"))
    ink = (np.asarray(sheet(images, ["name", ""], scale=2, title="a title").convert("L")) < 120)[:, :-100].any(1)
    assert (blank[:40] < 120).any() and ink[40:70].any()
    assert sheet(images, ["", ""], title="a title that is much wider than the little images below it").width > 300
    with pytest.raises(ValueError, match="row_names: got 1"):
        sheet(images, ["a"])


def test_save_keeps_text_and_leaves_nothing_beside(tmp_path):
    image = to_pil(noise(3, 8, 8))
    save(image, tmp_path / "new" / "a.png", seed=3, prompt="ankle boot \u2603")
    with Image.open(tmp_path / "new" / "a.png") as read:
        assert read.text == {"seed": "3", "prompt": "ankle boot \u2603"}
        assert np.array_equal(np.asarray(read), np.asarray(image))
    for ending in ("jpg", "webp", "BMP"):
        save(image, str(tmp_path / "new" / f"a.{ending}"), seed=3)
        assert read_image(tmp_path / "new" / f"a.{ending}").shape == (3, 8, 8)
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["a.BMP", "a.jpg", "a.png", "a.webp"]
    for name in ("a", "a.xyz"):
        with pytest.raises(ValueError, match="path: got .*end it in .png"):
            save(image, tmp_path / name)


def test_a_reader_of_the_old_file_keeps_it_whole(tmp_path):
    save(to_pil(noise(1, 4, 4)), tmp_path / "a.png")
    before = (tmp_path / "a.png").read_bytes()
    with open(tmp_path / "a.png", "rb") as reader:
        save(to_pil(noise(3, 9, 9)), tmp_path / "a.png")
        assert reader.read() == before
    assert read_image(tmp_path / "a.png").shape == (3, 9, 9)


def test_a_failed_save_leaves_the_old_file(tmp_path):
    save(to_pil(noise(1, 4, 4)), tmp_path / "a.jpg")
    before = (tmp_path / "a.jpg").read_bytes()
    with pytest.raises(OSError, match="RGBA"):
        save(Image.new("RGBA", (4, 4)), tmp_path / "a.jpg")
    assert (tmp_path / "a.jpg").read_bytes() == before and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("ending", ["gif", "webp"])
@pytest.mark.parametrize("channels", [1, 3])
def test_animation_loops_and_holds_its_last_frame(tmp_path, ending, channels):
    frames = [to_pil(torch.full((channels, 8, 8), level)) for level in (0.0, 0.5, 1.0)]
    animation(frames, tmp_path / f"a.{ending}", seconds_per_frame=0.2, hold_last=0.7)
    with Image.open(tmp_path / f"a.{ending}") as read:
        assert read.n_frames == 3 and read.info["loop"] == 0
        durations, levels = [], []
        for at in range(3):
            read.seek(at)
            read.load()
            durations.append(read.info["duration"])
            levels.append(read.convert("L").getpixel((4, 4)))
    assert durations == [200, 200, 700] and np.allclose(levels, [0, 128, 255], atol=4)


def test_animations_that_cannot_be(tmp_path):
    frame = Image.new("L", (4, 4))
    for frames, name, times, complaint in (
        ([], "a.gif", {}, "frames: got 0"), ([frame, Image.new("L", (5, 4))], "a.gif", {}, "2 sizes"),
        ([frame], "a.mp4", {}, "end it in .gif or .webp"), ([frame], "a.gif", {"hold_last": 0}, "hold_last"),
    ):
        with pytest.raises(ValueError, match=complaint):
            animation(frames, tmp_path / name, **times)
    assert not list(tmp_path.iterdir())
