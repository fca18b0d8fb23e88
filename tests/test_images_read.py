"""Pictures of every kind become the same uint8 tensor; what cannot be read says why."""

import os
import struct
import warnings
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from bitmosaic.images import UnreadableImage, centre_crop, read_image

pytestmark = pytest.mark.filterwarnings("error")


def gradient(width=40, height=30):
    across, down = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([across, down, across[:, ::-1]], -1).astype(np.uint8))


def png(width, height, depth, kind, rows, **chunks):
    """A PNG written by hand, for what Pillow does not write; rows hold their filter bytes."""
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
    middle = b"".join(chunk(name.encode(), data) for name, data in chunks.items())
    return b"\x89PNG\r\n\x1a\n" + head + middle + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "La", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr",
                                  "HSV", "LAB", "I;16", "I;16B", "I", "F"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_mode_gives_the_same_kind_of_tensor(mode, channels):
    image = read_image(Image.new(mode, (7, 5)), channels=channels)
    assert image.shape == (channels, 5, 7) and image.dtype == torch.uint8 and image.is_contiguous()


@pytest.mark.parametrize("ending, exact", [("png", 0), ("bmp", 0), ("tif", 0), ("ppm", 0), ("webp", 30), ("jpg", 30),
                                           ("gif", 60)])
def test_files_of_several_formats(tmp_path, ending, exact):
    path = tmp_path / f"a.{ending}"
    gradient().save(path)
    wanted = torch.from_numpy(np.array(gradient())).permute(2, 0, 1)
    for given in (path, str(path), path.read_bytes()):
        assert (read_image(given).int() - wanted.int()).abs().max() <= exact


@pytest.mark.parametrize("mode", ["L", "1"])
def test_grey_files(tmp_path, mode):
    half = Image.fromarray(np.repeat(np.uint8([[0, 255]]), 4, 1)).convert(mode)
    half.save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", channels=1).tolist() == [[[0] * 4 + [255] * 4]]
    assert read_image(tmp_path / "a.png").tolist() == [[[0] * 4 + [255] * 4]] * 3


def test_transparency_lies_on_white(tmp_path):
    for mode, see_through, half in (("RGBA", (0, 0, 0, 0), (0, 0, 0, 128)), ("LA", (0, 0), (0, 128))):
        image = Image.new(mode, (2, 1), see_through)
        image.putpixel((1, 0), half)
        image.save(tmp_path / "a.png")
        assert read_image(tmp_path / "a.png", channels=1).tolist() == [[[255, 127]]]


def test_transparent_palette_lies_on_white(tmp_path):
    image = Image.new("P", (3, 1))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.putdata([0, 1, 2])
    image.save(tmp_path / "plain.png")
    image.save(tmp_path / "one.gif", transparency=1)
    image.save(tmp_path / "bytes.png", transparency=b"\x00\xff\x80")
    red, green, blue, white = [255, 0, 0], [0, 255, 0], [0, 0, 255], [255] * 3
    assert read_image(tmp_path / "plain.png")[:, 0].T.tolist() == [red, green, blue]
    assert read_image(tmp_path / "one.gif")[:, 0].T.tolist() == [red, white, blue]
    assert read_image(tmp_path / "bytes.png")[:, 0].T.tolist() == [white, green, [127, 127, 255]]


def test_sixteen_bits_are_scaled_not_cut(tmp_path):
    values = np.array([[0, 128, 129, 257 * 7, 32768, 65535]], np.uint16)
    wanted = [[[0, 0, 1, 7, 128, 255]]]
    for ending in ("png", "tif"):
        Image.fromarray(values).save(tmp_path / f"a.{ending}")
        assert read_image(tmp_path / f"a.{ending}", channels=1).tolist() == wanted
    (tmp_path / "a.pgm").write_bytes(b"P5 6 1 65535\n" + values.astype(">u2").tobytes())
    assert read_image(tmp_path / "a.pgm", channels=1).tolist() == wanted
    assert read_image(Image.fromarray(values.astype(np.int32)), channels=1).tolist() == wanted
    assert read_image(Image.fromarray(values.astype(">u2")), channels=1).tolist() == wanted


def test_sixteen_bits_in_colour_and_transparent():
    colour = png(2, 1, 16, 2, b"\0" + struct.pack(">6H", 65535, 0, 32896, 257, 514, 771))
    assert read_image(colour)[:, 0].T.tolist() == [[255, 0, 128], [1, 2, 3]]
    grey = png(3, 1, 16, 0, b"\0" + struct.pack(">3H", 1000, 2570, 65535), tRNS=struct.pack(">H", 1000))
    assert read_image(grey, channels=1).tolist() == [[[255, 10, 255]]]
    assert read_image(grey, channels=1, background="black").tolist() == [[[0, 10, 255]]]


def test_floats_in_either_range(tmp_path):
    for top in (1, 255):
        Image.fromarray(np.float32([[0, 0.2 * top, top]])).save(tmp_path / "a.tif")
        assert read_image(tmp_path / "a.tif", channels=1).tolist() == [[[0, 51, 255]]]
    for values in ([[0, 256.0]], [[-1.0, 0]], [[np.nan, 0]], [[0, 0.5, 1.02]], [[0, 1.9]]):
        Image.fromarray(np.float32(values)).save(tmp_path / "a.tif")
        with pytest.raises(UnreadableImage, match=r"mode F; they should lie in \[0, 1\] or \[0, 255\]"):
            read_image(tmp_path / "a.tif")


def test_cmyk(tmp_path):
    image = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    for ending in ("tif", "jpg"):
        image.save(tmp_path / f"a.{ending}")
        assert (read_image(tmp_path / f"a.{ending}")[:, 8, 8].int() - torch.tensor([0, 255, 255])).abs().max() <= 3


@pytest.mark.parametrize("orientation, corner", [(1, (0, 0)), (2, (0, -1)), (3, (-1, -1)), (4, (-1, 0)), (5, (0, 0)),
                                                 (6, (0, -1)), (7, (-1, -1)), (8, (-1, 0))])
@pytest.mark.parametrize("ending", ["jpg", "png", "webp"])
def test_exif_orientation_is_undone(tmp_path, orientation, corner, ending):
    image = Image.new("L", (32, 16))
    image.paste(255, (0, 0, 8, 8))  # where this corner belongs, by the EXIF standard
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.convert("RGB").save(tmp_path / f"a.{ending}", exif=exif)
    upright = read_image(tmp_path / f"a.{ending}", channels=1)[0]
    assert upright.shape == ((16, 32) if orientation < 5 else (32, 16))
    assert upright[corner] > 200 and (upright > 128).float().mean().item() == pytest.approx(1 / 8, abs=0.02)


def test_damaged_exif_hides_no_picture(tmp_path):
    gradient().save(tmp_path / "a.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12\0\x99")
    assert read_image(tmp_path / "a.jpg").shape == (3, 30, 40)


@pytest.mark.parametrize("given, size", [((1, 1), 8), ((100, 30), 16), ((31, 300), (8, 12)), ((64, 64), 64),
                                         ((5, 9), (7, 3)), ((1, 50), 4)])
def test_crop_is_of_the_size_asked(given, size):
    image = centre_crop(gradient(*given), size)
    assert image.size == ((size, size) if isinstance(size, int) else size[::-1])
    assert read_image(gradient(*given), size).shape[1:] == image.size[::-1]


def adm_crop(image, side):
    """ADM's words, step by step."""
    while min(image.size) >= 2 * side:
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    scale = side / min(image.size)
    image = image.resize((round(scale * image.width), round(scale * image.height)), Image.Resampling.BICUBIC)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


@pytest.mark.parametrize("width, height, side", [(40, 30, 20), (123, 77, 16), (31, 64, 10), (20, 20, 33), (64, 65, 32),
                                                 (9, 400, 11)])
def test_crop_is_adm_crop(width, height, side):
    # of middling greys: where bicubic overshoots, Pillow's own result depends on which axis it scales first
    noise = Image.fromarray(np.random.default_rng(0).integers(64, 192, (height, width, 3), np.uint8))
    ours, theirs = (np.asarray(image).astype(int) for image in (centre_crop(noise, side), adm_crop(noise, side)))
    assert abs(ours - theirs).max() <= 1


def test_crop_keeps_the_centre_and_is_exact_at_its_own_size():
    image = Image.new("L", (90, 30))
    image.paste(255, (30, 0, 60, 30))
    assert np.asarray(centre_crop(image, 30)).min() == 255
    assert np.array_equal(np.asarray(centre_crop(gradient(40, 30), (30, 40))), np.asarray(gradient(40, 30)))
    tall = np.asarray(centre_crop(image.transpose(Image.Transpose.ROTATE_90), (30, 30)))
    assert tall.min() == 255


def test_a_very_long_picture_does_not_fill_the_memory():
    assert centre_crop(Image.new("L", (1, 1_000_000), 77), 256).getextrema() == (77, 77)


def test_arrays_and_tensors():
    grey = np.uint8([[0, 51, 255]])
    for given in (grey, grey[:, :, None], grey / 255, (grey / 255).astype(np.float16), grey[:, ::-1][:, ::-1],
                  torch.tensor(grey), torch.tensor(grey)[None], torch.tensor(grey) / 255,
                  torch.tensor(grey / 255, requires_grad=True)):
        assert read_image(given, channels=1).tolist() == [[[0, 51, 255]]]
    colour = torch.randint(0, 256, (3, 4, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(read_image(colour), colour)
    assert torch.equal(read_image(colour.permute(1, 2, 0).numpy()), colour)
    assert torch.equal(read_image((colour / 255).double()), colour)
    assert read_image(np.uint8([[[0, 0, 0, 0]]])).flatten().tolist() == [255] * 3


@pytest.mark.parametrize("given, complaint", [
    (np.zeros((2, 3, 4, 3), np.uint8), r"shape \(2, 3, 4, 3\)"), (torch.zeros(1, 3, 4, 4), r"shape \(1, 3, 4, 4\)"),
    (torch.zeros(4), "shape"), (np.zeros((3, 8, 8)), r"array \(H, W, C\)"), (torch.zeros(8, 8, 3), r"tensor \(C"),
    (np.zeros((0, 5)), "shape"), (torch.tensor([[0.5, float("nan")]]), "nan"), (torch.tensor([[0.0, 2.0]]), "0 to 2"),
    (np.array([[-0.5]]), "-0.5"), (np.array([[float("inf")]]), "inf"), (torch.zeros(2, 2, dtype=torch.int64), "int64"),
    (np.zeros((2, 2), bool), "bool"), (None, "NoneType"), (7, "int"),
])
def test_other_arrays_are_the_callers_mistake(given, complaint):
    with pytest.raises(ValueError, match=f"image: got .*{complaint}"):
        read_image(given)


@pytest.mark.parametrize("size", [0, -3, 2.5, "8", (8,), (8, 0), (8, 8, 8), True])
def test_sizes_that_are_none(size):
    with pytest.raises(ValueError, match="size: got"):
        read_image(np.zeros((4, 4)), size)
    with pytest.raises(ValueError, match="channels: got 2"):
        read_image(np.zeros((4, 4)), channels=2)


def broken_files(folder):
    """Name -> what its reason says."""
    gradient(200, 200).save(folder / "a.png")
    gradient(200, 200).save(folder / "a.jpg")
    for ending in ("jpg", "png"):
        whole = (folder / f"a.{ending}").read_bytes()
        (folder / f"cut.{ending}").write_bytes(whole[:len(whole) // 2])
    (folder / "text.png").write_text("no picture")
    (folder / "empty.png").write_bytes(b"")
    (folder / "flipped.png").write_bytes(bytes(b ^ (at % 97 == 96) for at, b in enumerate(whole)))
    (folder / "large.png").write_bytes(png(10_000, 10_000, 8, 0, b""))
    (folder / "vast.png").write_bytes(png(200_000, 200_000, 8, 0, b""))
    (folder / "folder.png").mkdir()
    os.mkfifo(folder / "pipe.png")
    return {"cut.png": "truncated", "cut.jpg": "truncated", "flipped.png": "", "text.png": "not a picture",
            "empty.png": "not a picture", "large.png": "too large", "vast.png": "too large",
            "folder.png": "not a file", "pipe.png": "not a file", "none.png": "no such"}


def test_files_that_cannot_be_read_say_why(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, reason in broken_files(tmp_path).items():
            with pytest.raises(UnreadableImage, match=name) as caught:
                read_image(tmp_path / name)
            assert isinstance(caught.value, ValueError) and caught.value.name == str(tmp_path / name)
            assert reason in caught.value.reason
            assert str(caught.value) == f"image: cannot read {tmp_path / name}: {caught.value.reason}"


def test_a_picture_of_the_caller_stays_as_it_is():
    image = gradient()
    before = image.tobytes(), image.size, image.mode
    read_image(image, 8, channels=1)
    assert (image.tobytes(), image.size, image.mode) == before


def test_a_picture_without_pixels():
    with pytest.raises(UnreadableImage, match="cannot read the given image: it has no pixels"):
        read_image(Image.new("RGB", (0, 5)), 8)
