"""Damaged and hostile pictures and masks, most of them built by hand."""

import base64
import io
import random
import struct
import zlib
from typing import Any

from PIL import Image
from studio_hostile_base import ODD, Case, damaged, dumped, form, post


def chunk(name: bytes, data: bytes, check: int | None = None) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data) if check is None else check)


def png(width: int, height: int, *chunks: bytes, depth: int = 8, colour: int = 0, data: bytes | None = None) -> bytes:
    """A PNG by hand: whatever its header says, its data are as given."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    pixels = zlib.compress(b"\x00" * (29 * 28)) if data is None else data
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def saved(format: str, size: tuple[int, int] = (28, 28), mode: str = "L", **more: Any) -> bytes:
    data = io.BytesIO()
    Image.new(mode, size, 90).save(data, format, **more)
    return data.getvalue()


def animated(format: str, frames: int) -> bytes:
    images = [Image.new("L", (8, 8), i % 256) for i in range(frames)]
    data = io.BytesIO()
    images[0].save(data, format, save_all=True, append_images=images[1:])
    return data.getvalue()


BOMB = zlib.compress(b"\x00" * 2**26, 9)  # 64 MiB in 64 KiB
PICTURES: list[bytes] = [
    b"", b"\x00", b"GIF89a", b"BM", b"RIFF\x00\x00\x00\x00WEBP", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", png(28, 28), png(0, 0), png(0, 28),
    png(2**31 - 1, 1),
    png(60_000, 60_000), png(2048, 2048, data=BOMB), png(2048, 2047, data=zlib.compress(b"\x00" * 2049 * 2047)), png(28, 28, data=BOMB),
    png(28, 28, data=b"no zlib"),
    png(28, 28, depth=3), png(28, 28, colour=5), png(28, 28, colour=3), png(28, 28, chunk(b"zTXt", b"Software\x00\x00" + BOMB)),
    png(28, 28, chunk(b"iTXt", b"Request\x00\x01\x00\x00\x00" + BOMB)), png(28, 28, chunk(b"iCCP", b"profile\x00\x00" + BOMB)),
    png(28, 28, *[chunk(b"tEXt", b"Key\x00" + b"v" * 1000)] * 500), png(28, 28, chunk(b"eXIf", b"II*\x00" + b"\xff" * 200)),
    png(28, 28, chunk(b"eXIf", b"MM\x00*\x00\x00\x00\x08" + b"\xff" * 90)),
    png(28, 28, chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0))), png(28, 28, chunk(b"tEXt", b"no null")),
    png(28, 28, chunk(b"gAMA", b"")), png(28, 28, check := chunk(b"sBIT", b"\x09", 1)),
    b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) run",
    b"%PDF-1.4", b"P6 28 28 255\n" + b"\x00" * 2352, b"P5 99999 99999 255\n", saved("TIFF"), saved("PPM"), saved("ICO"), saved("TGA"),
    saved("PCX"), saved("BMP"), saved("JPEG"),
    saved("WEBP"), saved("GIF"), saved("PNG"), saved("PNG", mode="RGBA"), saved("PNG", mode="I;16"), saved("PNG", mode="P"),
    saved("PNG", mode="1"), saved("JPEG", mode="CMYK"),
    saved("PNG", (1, 1)), saved("PNG", (1, 3000)), saved("PNG", (3000, 1)), saved("PNG", (2048, 2048)), saved("PNG", (2049, 2048)),
    saved("JPEG", (2500, 2500)),
    animated("GIF", 1000), animated("PNG", 200), animated("WEBP", 100),
    b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 2**30, -(2**30), 1, 24, 0, 0, 1, 1, 0, 0),
    b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0x80, 0, 0) + b"\x00" * 6 + b"," + struct.pack("<HHHHB", 0, 0, 65535, 65535,
    0) + b"\x02\x02L\x01\x00;",
]  # fmt: skip


def hostile_picture(rng: random.Random) -> bytes:
    data = rng.choice(PICTURES)
    return damaged(data, rng) if rng.random() < 0.6 else data


def pictures(rng: random.Random) -> Case:
    """A damaged or hostile picture, in JSON or in a form."""
    name = rng.choice(["inpaint", "edit", "outpaint", "enrich", "encode", "features", "neighbours"])
    body = {
        "image": None,
        **{"inpaint": {"mask": {"box": [0, 0, 9, 9]}}, "edit": {"mask": {"box": [0, 0, 9, 9]}, "class": 1}, "outpaint": {"padding": 4}}.get(
            name, {}
        ),
    }
    if name in ("inpaint", "edit", "outpaint", "enrich"):
        body["settings"] = {"steps": 1, "evaluations": 1}
    if name in ("inpaint", "edit", "enrich") and rng.random() < 0.5:
        body["fit"] = "crop"
    data = hostile_picture(rng)
    if rng.random() < 0.4:
        del body["image"]
        return form("hostile pictures", rng, name, [("request", None, dumped(body)), ("image", "image.png", data)])
    text = base64.b64encode(data).decode()
    body["image"] = rng.choice(["", "data:image/png;base64,", "data:text/html;base64,"]) + text
    return post("hostile pictures", rng, name, dumped(body))


def masks(rng: random.Random) -> Case:
    """A mask of another size, outside of the image, or of no kind."""
    size = rng.choice([(28, 28), (27, 28), (1, 1), (28, 1), (100, 100), (3000, 3000), (56, 28)])
    odd = [value for value in ODD if isinstance(value, (dict, str, list))]
    mask = rng.choice([
        base64.b64encode(saved("PNG", size)).decode(), base64.b64encode(hostile_picture(rng)).decode(), rng.choice(odd), "fashion:3",
        {"box": [rng.randint(-5, 60) for _ in range(rng.choice([4, 4, 4, 3, 5]))]},
        {"places": [[rng.randint(-1, 9), rng.randint(0, 9)] for _ in range(rng.randint(0, 9))]},
        {"places": [[0, 0]] * 70_000}, {"box": [0, 0, 28, 28], "places": [[0, 0]]},
    ])  # fmt: skip
    body = {
        "image": "fashion:1",
        "mask": mask,
        "class": "bag",
        "feather": rng.choice([0, 0, 1, 28, 1024, 10**9]),
        "settings": {"steps": 1, "evaluations": 1},
    }
    return post("odd masks", rng, rng.choice(["inpaint", "edit"]), dumped(body))
