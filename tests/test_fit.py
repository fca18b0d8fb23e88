"""Pictures that meet a pipeline: of another size, in colour, transparent; masks that say nothing; values of more than eight bits."""

import io
import json
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from bitmosaic.cli import main
from bitmosaic.images import background_of, centre_crop, fashion_sample, fitted, read_image, read_mask, to_pil
from bitmosaic.images.masks import crop_with_mask
from bitmosaic.pipelines import Pipeline

pytestmark = pytest.mark.filterwarnings("error")
FEW = ["--count", "1", "--steps", "2", "--evaluations", "2"]


@pytest.fixture(scope="module")
def pipe() -> Pipeline:
    return Pipeline.from_pretrained("fashion")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A photograph, one of the right size in colour, one in grey stored as colour, and a transparent one."""
    noise = np.random.default_rng(0).integers(0, 255, (300, 400, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "photo.png")
    Image.fromarray(noise[:28, :28]).save(tmp_path / "small.png")
    grey = to_pil(fashion_sample().image(3))
    grey.convert("RGB").save(tmp_path / "grey.jpg", quality=90)
    clear = Image.new("RGBA", (28, 28), (200, 200, 200, 255))
    clear.paste((0, 0, 0, 0), (0, 0, 28, 14))
    clear.save(tmp_path / "clear.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


# ---- another size, another colour


COMMANDS = (
    ["compress", "{}", "--coder", "static"], ["encode", "{}"], ["reconstruct", "{}"], ["bits", "{}", "--count", "4"],
    ["inpaint", "{}", "--places", "2,3", *FEW], ["edit", "{}", "--class", "bag", "--places", "2,3", *FEW],
    ["enrich", "{}", *FEW, "--repeats", "1"],
)  # fmt: skip


@pytest.mark.parametrize("line", COMMANDS, ids=[line[0] for line in COMMANDS])
def test_one_rule_for_every_command(here, capsys, line):
    for i, (name, said) in enumerate((("photo.png", "400 x 300 pixels"), ("small.png", "28 x 28 pixels in colour"))):
        words = [word.format(name) for word in line] + ["--out", f"out{i}.safetensors"]
        assert main(words) == 2
        told = capsys.readouterr().err
        assert said in told and "crop" in told and told.count("\n") == 1 and not (here / f"out{i}.safetensors").exists()
        assert i or main([*words, "--fit", "crop"]) == 0, capsys.readouterr().err
    assert main([word.format("grey.jpg") for word in line] + ["--out", "out3.safetensors"]) == 0, capsys.readouterr().err


def test_index_and_search_too(here, capsys):
    pytest.importorskip("faiss")
    (here / "photos").mkdir()
    (here / "photo.png").rename(here / "photos" / "photo.png")
    (here / "small.png").rename(here / "photos" / "small.png")
    assert main(["index", "photos", "found"]) == 2 and "400 x 300 pixels" in capsys.readouterr().err
    assert main(["index", "photos", "found", "--fit", "crop"]) == 0
    assert main(["search", "found", "photos/photo.png", "-k", "1"]) == 2 and "fit 'crop'" in capsys.readouterr().err
    assert main(["search", "found", "photos/photo.png", "-k", "1", "--fit", "crop"]) == 0
    assert "photo.png (itself)  0 bits" in capsys.readouterr().out


def test_sizes_are_told_before_any_work(here, capsys):
    for i in range(5):
        Image.new("L", (28, 28)).save(here / f"{i}.png")
    Image.new("L", (30, 28)).save(here / "9.png")
    assert main(["compress", *[f"{i}.png" for i in (0, 1, 2, 3, 4, 9)], "photo.png"]) == 2
    assert "2 of 7 pictures are of another size than this pipeline's 28 x 28, such as 9.png with 30 x 28 pixels" in capsys.readouterr().err


def test_one_rule_in_python(pipe, here):
    photo, small = Image.open(here / "photo.png"), Image.open(here / "small.png")
    for image in (photo, small, np.asarray(photo), torch.zeros(3, 1, 27, 28)):
        for ask in (pipe.encode, pipe.features, pipe.forward_intermediates, pipe.forward_features, pipe.compress):
            with pytest.raises(ValueError, match=r"this pipeline works on 28 x 28.*fit 'crop'"):
                ask(image)
    cropped = np.asarray(centre_crop(photo.convert("L"), 28))
    assert torch.equal(pipe.encode(photo, fit="crop").digits, pipe.encode(cropped).digits)
    assert torch.equal(pipe.features(photo, fit="crop"), pipe.features(cropped))
    with pytest.raises(ValueError, match="fit: got 'squash'"):
        pipe.encode(photo, fit="squash")
    with pytest.raises(ValueError, match="small.png has 28 x 28 pixels in colour; this pipeline works on 28 x 28 in grey"):
        pipe.encode(str(here / "small.png"))
    assert fitted(small, (28, 28), 3).shape == (3, 28, 28)


# ---- transparency


def test_the_background_is_that_of_the_data_the_model_saw(pipe, here, capsys):
    assert pipe.background == "black" and background_of(fashion_sample().pixels[:64]) == "black"
    black = np.full((28, 28), 200, np.uint8)
    black[:14] = 0
    assert torch.equal(pipe.encode(Image.open(here / "clear.png")).digits, pipe.encode(black).digits)
    codes = {}
    for name, asked in (("own", []), ("white", ["--background", "white"]), ("grey", ["--background", "#808080"])):
        assert main(["inpaint", "clear.png", "--box", "0", "20", "28", "28", "--out", name, *FEW, *asked]) == 0
        codes[name] = int(np.asarray(Image.open(here / name / "clear-1.png"))[0, 0])
    assert codes == {"own": 0, "white": 255, "grey": 128}
    assert main(["encode", "clear.png", "--background", "tartan"]) == 2 and "background: got 'tartan'" in capsys.readouterr().err
    assert main(["outpaint", "clear.png", "--padding", "2", "--out", "wide", *FEW]) == 0
    assert np.asarray(Image.open(here / "wide" / "clear-1.png"))[2:16, 2:30].max() == 0


def test_backgrounds_of_images():
    rng = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 256, (50, 3, 16, 16), generator=rng).byte()
    framed = noise.clone()
    framed[..., [0, -1], :] = framed[..., :, [0, -1]] = torch.tensor([10, 60, 200]).byte()[:, None, None]
    assert background_of(noise) == "white" and background_of(framed) == "#0a3cc8"
    assert background_of(torch.full((3, 1, 8, 8), 250).byte()) == "white"
    assert background_of(torch.full((3, 1, 8, 8), 128).byte()) == "#808080"


def test_a_pipeline_keeps_its_background(pipe, tmp_path):
    pipe.save_pretrained(tmp_path / "pipe")
    assert Pipeline.from_pretrained(tmp_path / "pipe").background == "black"
    config = json.loads((tmp_path / "pipe" / "config.json").read_text())
    for wrong in ("tartan", 7, None):
        (tmp_path / "pipe" / "config.json").write_text(json.dumps({**config, "background": wrong}))
        with pytest.raises(ValueError, match="config.json: background: got"):
            Pipeline.from_pretrained(tmp_path / "pipe")
    del config["background"]  # as those that were saved before
    (tmp_path / "pipe" / "config.json").write_text(json.dumps(config))
    assert Pipeline.from_pretrained(tmp_path / "pipe").background == "white"


# ---- masks


def half(white: int, mode: str = "L") -> Image.Image:
    values = np.zeros((28, 28), np.uint8)
    values[14:] = white
    return Image.fromarray(values).convert(mode)


def labelled() -> Image.Image:
    """A map of labels, with the colours of VOC."""
    made = Image.frombytes("P", (28, 28), half(1).tobytes())
    made.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    return made


@pytest.mark.parametrize("mask, said", [
    (half(1), "no pixel of it is white.*it holds 0, 1 of 255"), (half(1, "RGB"), "it holds 0, 1 of 255"), (half(0), "it holds 0 of 255"),
    (half(127), "it holds 0, 127 of 255"), (labelled(), r"it has colours, such as \(128, 0, 0\), as maps of labels have"),
    (Image.fromarray(np.asarray(half(1)).astype(np.uint16)), "it holds 0, 1 of 255"),
    (Image.fromarray(np.asarray(half(1)).astype(np.int32)), "it holds 0, 1 of 255"),
], ids=["0 and 1", "0 and 1 in RGB", "empty", "dark", "palette", "16 bits", "32 bits"])  # fmt: skip
def test_masks_in_which_nothing_is_white_are_refused(tmp_path, capsys, mask, said):
    mask.save(tmp_path / "mask.tif" if mask.mode == "I" else tmp_path / "mask.png")
    path = next(tmp_path.iterdir())
    with pytest.raises(ValueError, match=f"mask: .*{said}"):
        read_mask(path, (28, 28), 4)
    assert main(["inpaint", "fashion:1", "--mask", str(path), "--out", str(tmp_path / "out"), *FEW]) == 2
    assert capsys.readouterr().err.count("\n") == 1 and not (tmp_path / "out").exists()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "1", "P", "RGB", "I;16"])
def test_opaque_masks_of_every_mode_are_one(tmp_path, mode):
    mask = half(255, "L")
    mask = Image.fromarray(np.asarray(mask).astype(np.uint16) * 257) if mode == "I;16" else mask.convert(mode)
    mask.save(tmp_path / "mask.png")
    wanted = torch.zeros(28, 28, dtype=torch.bool)
    wanted[14:] = True
    for given in (tmp_path / "mask.png", (tmp_path / "mask.png").read_bytes(), mask):
        assert torch.equal(read_mask(given, (28, 28), 4), wanted)
    if mode in ("RGBA", "LA"):
        assert torch.equal(read_mask(np.asarray(mask), (28, 28), 4), wanted)
        assert torch.equal(read_mask(torch.from_numpy(np.asarray(mask).copy()).movedim(-1, 0), (28, 28), 4), wanted)
        mask.putpixel((3, 3), (0, 0, 0, 254) if mode == "RGBA" else (0, 254))
        with pytest.raises(ValueError, match="it has transparency, which does not say"):
            read_mask(mask, (28, 28), 4)


@pytest.mark.parametrize("side", [280, 56, 140, 14])
def test_a_crop_widens_no_mask(pipe, side):
    """Half of a picture is half of its crop, and what lay under the mask has no influence on the pixels beside it."""
    rng = np.random.default_rng(0)
    values = rng.integers(0, 255, (side, side), dtype=np.uint8)
    mask = torch.zeros(side, side, dtype=torch.bool)
    mask[side // 2 :] = True
    pixels, cropped = crop_with_mask(Image.fromarray(values), mask, (28, 28), 1)
    wanted = torch.zeros(28, 28, dtype=torch.bool)
    wanted[14:] = True
    assert torch.equal(cropped, wanted)
    other = np.where(mask, 255 - values, values)
    assert torch.equal(crop_with_mask(Image.fromarray(other), mask, (28, 28), 1)[0][..., :14, :], pixels[..., :14, :])
    plain = read_image(values, 28, 1)
    assert torch.equal(plain[:, :9], pixels[:, :9]) and (plain[:, :14].float() - pixels[:, :14].float()).abs().max() < 64
    flat = np.full((side, side), 77, np.uint8)
    assert (crop_with_mask(Image.fromarray(flat), mask, (28, 28), 1)[0][:, :14] == 77).all()
    made = pipe.inpaint(Image.fromarray(values), Image.fromarray(mask.numpy()), "bag", fit="crop", steps=2, evaluations=2, output_type="np")
    assert np.array_equal(made.images[0, :14, :, 0], pixels[0, :14])


def test_a_mask_outside_the_crop_is_refused(pipe):
    mask = np.zeros((40, 400), np.uint8)
    mask[:, :20] = 255
    with pytest.raises(ValueError, match="lies outside the centre that fit 'crop' keeps"):
        pipe.inpaint(np.zeros((40, 400), np.uint8), mask, "bag", fit="crop")


# ---- more than eight bits


def png16(values: np.ndarray, kind: int) -> bytes:
    """A PNG of 16 bits a channel: kind 0 grey, 2 colour, 4 and 6 the same with transparency."""
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    head = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def tiff16(values: np.ndarray, order: str) -> bytes:
    """A TIFF of three channels of 16 bits, not compressed, which Pillow does not write."""
    height, width, channels = values.shape
    data = values.astype(f"{order}u2").tobytes()
    entries = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 3, None), (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, None),
               (277, 3, 1, channels), (278, 4, 1, height), (279, 4, 1, len(data)), (284, 3, 1, 1)]  # fmt: skip
    after = 8 + 2 + 12 * len(entries) + 4
    fields = b""
    for tag, kind, count, value in entries:
        value = after if tag == 258 else after + 6 if tag == 273 else value
        wide = kind == 4 or tag == 258
        packed = struct.pack(f"{order}I", value) if wide else struct.pack(f"{order}HH", value, 0)
        fields += struct.pack(f"{order}HHI", tag, kind, count) + packed
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8) + struct.pack(f"{order}H", len(entries))
    return head + fields + bytes(4) + struct.pack(f"{order}3H", 16, 16, 16) + data


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_values_are_read_by_the_bits_they_use(bits):
    top = 2**bits - 1
    rng = np.random.default_rng(bits)
    values = rng.integers(0, top + 1, (9, 7, 4))
    values[0, 0], values[..., 3] = top, 65535
    tolerance = 1.0 if bits == 16 else 0.5  # of 16 bits in colour Pillow keeps the upper eight, as ever

    def near(found, wanted):
        return np.abs(found.numpy().transpose(1, 2, 0) - wanted * (255 / top)).max() <= tolerance

    for kind, channels in ((0, 1), (2, 3), (4, 2), (6, 4)):
        given = np.concatenate([values[..., : 3 if channels > 2 else 1], values[..., 3:]], -1)[..., :channels]
        given = given[..., :1] if kind == 0 else given
        colours = 3 if kind in (2, 6) else 1
        assert near(read_image(png16(given, kind), None, colours), given[..., :colours]), kind
    for order in "<>":
        assert near(read_image(tiff16(values[..., :3], order)), values[..., :3])
    for kind in (np.uint16, np.int32):
        data = io.BytesIO()
        Image.fromarray(values[..., 0].astype(kind)).save(data, "TIFF")
        assert near(read_image(data.getvalue(), None, 1), values[..., :1])
