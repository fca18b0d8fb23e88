"""Malformed requests for a studio, by kind: what is sent on a socket, made from a random generator."""

import base64
import copy
import io
import json
import random
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from PIL import Image
from studio_jobs import request

TOKEN = "a-token-of-the-fuzz-test"
LIMITS = {"bytes": 2**20, "seconds": 20}  # of the studio that is asked
CLASSES = ["bag", "sandal", "coat", "shirt"]
GETS = ["/", "/health", "/metrics", "/openapi.json", "/v1/pipelines", "/v1/bundled/3", "/v1/classes/fashion/1.png", "/static/index.html"]
POSTS = ["generate", "inpaint", "edit", "outpaint", "interpolate", "enrich", "encode", "decode", "features", "neighbours"]
ODD: list[Any] = [
    None, True, False, 0, -1, 1, 3, 65, 10**6, -(2**63), 2**64, 10**400, 0.5, -0.5, 1e308, -1e308, 1e-300, float("nan"), float("inf"), "",
    " ",
    "0", "null", "bag", "\x00", "\ud800", "é" * 50, "A" * 5000, "../../etc/passwd", "file:///etc/passwd", "http://127.0.0.1/", "fashion:0",
    "fashion:99999", "fashion:-1", "fashion:٣", "data:image/png;base64,", "data:,", "====", "AAAA", "<svg/>", [], [[]], [0], [1, 2, 3, 4],
    [-1] * 4,
    [2**40] * 4, ["bag"], [None] * 100, [[0, 0]] * 50, [[-1, 99]], [0.5] * 3, {}, {"": 0}, {"bag": 1}, {"bag": -1, "coat": 2},
    {"bag": 1e300},
    {"box": [0, 0, 0, 0]}, {"box": [28, 28, 0, 0]}, {"box": [0, 0, 10**9, 10**9]}, {"places": [[99, 99]]}, {"places": []},
    {"box": [], "places": []},
    {"none": 0.5, "bag": 0.5}, {"steps": 10**9}, {"steps": 0}, {"temperature": 0}, {"guidance_scale": 1e30}, {"sampler": "raster"},
    {"sampler": "entropy-budget", "budget": -3}, {"procedure": "posterior"}, {"shortlist": 1e-9}, {"x": {"y": {"z": []}}},
]  # fmt: skip


@dataclass(frozen=True)
class Case:
    """What is done: bytes that are sent, in parts with a pause between, and how the connection ends."""

    kind: str
    parts: tuple[bytes, ...]
    pause: float = 0.0
    end: str = "wait"  # wait: for an answer; shut: nothing more will be sent, then wait; drop; reset
    http: bool = True  # whether it is HTTP, so that an error is told in JSON
    method: str = "POST"
    path: str = ""


def message(
    rng: random.Random, method: str, path: str, body: bytes = b"", kind: str | None = "application/json", headers: tuple[bytes, ...] = (),
    token: bool = True, host: bytes | None = b"127.0.0.1", length: bool = True,
) -> bytes:  # fmt: skip
    """A request as bytes."""
    lines = [f"{method} {path} HTTP/1.1".encode("utf-8", "surrogatepass"), b"Connection: close"]
    lines += [b"Host: " + host] if host is not None else []
    lines += [f"Authorization: Bearer {TOKEN}".encode()] if token else []
    lines += [f"Content-Type: {kind}".encode("utf-8", "surrogatepass")] if kind is not None and body else []
    lines += [f"Content-Length: {len(body)}".encode()] if body and length else []
    return b"\r\n".join([*lines, *headers]) + b"\r\n\r\n" + body


def valid(rng: random.Random) -> tuple[str, dict[str, Any]]:
    """A small request that could be answered."""
    name, body = request(rng, CLASSES)
    if "count" in body and name != "neighbours":
        body["count"] = 1
    if "settings" in body:
        body["settings"] = {"steps": 1, "evaluations": 1}
    return name, body


def dumped(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=True).encode()


def broken_json(rng: random.Random) -> Case:
    """Bytes that are no JSON, or JSON that nobody expects."""
    name, body = valid(rng)
    good = dumped(body)
    at = rng.randrange(len(good))
    depth = rng.choice([100, 1000, 100_000])
    sent = rng.choice([
        good[:at], good[at:], good[:at] + bytes([rng.randrange(256)]) + good[at + 1 :], rng.randbytes(rng.randrange(200)), b"[" * depth,
        b'{"class":' * depth + b"null" + b"}" * depth, b'{"settings":' + b"[" * depth + b"]" * depth + b"}", b'{"seed": 1e999}',
        b'{"seed": NaN}',
        b'{"seed": ' + b"9" * rng.choice([30, 5000, 100_000]) + b"}", b'{"seed": -0}', b'{"seed": 1, "seed": 2, "class": "nobody"}',
        b'{"class": "\\ud800"}', b'{"class": "\xff\xfe"}', b"\xef\xbb\xbf" + good, good.decode().encode("utf-16"), b"\x00" * 50, b"null",
        b"[]",
        b'"generate"', b"0", b" " * rng.randrange(1, 1000), b"{}" + good, good + b"\x00", b"{'class': 'bag'}", b'{"class": "bag",}',
        b"{" + b'"a":1,' * 20_000 + b'"b":2}',
    ])  # fmt: skip
    return post("broken JSON", rng, name, sent or b" ")


def post(kind: str, rng: random.Random, name: str, body: bytes, media: str | None = "application/json", **more: Any) -> Case:
    accept = rng.choice(
        [b"Accept: */*", b"Accept: application/json", b"Accept: image/png", b"Accept: text/event-stream", b"Accept: text/html;q=x"]
    )
    return Case(kind, (message(rng, "POST", f"/v1/{name}", body, media, (accept,), **more),), path=f"/v1/{name}")


def odd(rng: random.Random) -> Any:
    """A value that hardly any field may have."""
    return copy.deepcopy(rng.choice(ODD))


def odd_fields(rng: random.Random) -> Case:
    """A request that is right, with one to three fields odd, missing or unknown."""
    name, body = valid(rng)
    for _ in range(rng.randint(1, 3)):
        way, key = rng.randrange(5), rng.choice([*body, "seed", "count", "class", "pipeline", "timeout", "format", "entropy", "settings"])
        if way == 0:
            body.pop(key, None)
        elif way == 1:
            body[rng.choice(["unknown", "", "__class__", "Class", "a" * 300, "\u202e", "image ", "mask"])] = odd(rng)
        elif way == 2 and isinstance(body.get("settings"), dict):
            field = rng.choice(
                ["guidance_scale", "steps", "evaluations", "temperature", "sampler", "procedure", "shortlist", "budget", "x"]
            )
            body["settings"][field] = odd(rng)
        else:
            body[key] = odd(rng)
    return post("odd fields", rng, name, dumped(body))


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


def damaged(data: bytes, rng: random.Random) -> bytes:
    """With bits flipped, cut, or longer."""
    data = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data) + 1) if rng.random() < 0.5 else min(len(data), rng.randrange(64))
        way = rng.randrange(4)
        if way == 0 and data:
            data[at % len(data)] ^= 1 << rng.randrange(8)
        elif way == 1:
            del data[at:]
        elif way == 2:
            data[at:at] = rng.randbytes(rng.randrange(1, 20))
        elif data:
            data[at % len(data)] = rng.choice([0, 1, 127, 128, 255])
    return bytes(data)


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


def form(
    kind: str, rng: random.Random, name: str, parts: list[tuple[str, str | None, bytes]], edge: str = "edge", media: str | None = None
) -> Case:
    found = b""
    for part, file, data in parts:
        head = f'--{edge}\r\nContent-Disposition: form-data; name="{part}"' + (f'; filename="{file}"' if file is not None else "")
        found += head.encode("utf-8", "surrogatepass") + b"\r\n\r\n" + data + b"\r\n"
    return post(kind, rng, name, found + f"--{edge}--\r\n".encode(), media or f"multipart/form-data; boundary={edge}")


def forms(rng: random.Random) -> Case:
    """Forms with odd parts, or with none."""
    name = rng.choice(["encode", "inpaint", "generate", "features"])
    image = saved("PNG")
    one = [("request", None, b"{}"), ("image", "a.png", image)]
    parts = rng.choice([
        [], one, one * 2, one[:1], one[1:], [*one, ("mask", "m.png", image)], [*one, ("file", "x", image)], [("image", None, image)],
        [("request", "r.json", b"{}"), *one[1:]],
        [("request", None, b'{"image": "fashion:1"}'), one[1]], [("request", None, b"[]"), one[1]], [("request", None, b"[" * 100_000)],
        [("request", None, b"\xff"), one[1]],
        [("", "", b"")], [("a" * 20_000, None, b"")], [("image", "../../../etc/passwd", image), one[0]],
        [("image", "a" * 20_000, image), one[0]], [("image", "\x00\ud800", image), one[0]],
        [("x", None, b"")] * 1000, [("x", "f", b"")] * 1000, [("request", None, b"{}"), ("image", "b.png", hostile_picture(rng))],
    ])  # fmt: skip
    edge = rng.choice(["edge", "edge", "e" * 70, "e" * 5000, "-", " "])
    media = rng.choice([
        None, None, None, "multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=other",
        'multipart/form-data; boundary="edge',
        "multipart/form-data; boundary=edge; charset=nonsense", "multipart/mixed; boundary=edge", "Multipart/Form-Data; BOUNDARY=edge",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=\xe9\xe9", "multipart/form-data; boundary=edge; charset=utf-16",
    ])  # fmt: skip
    case = form("odd forms", rng, name, parts, edge, media)
    if rng.random() < 0.3:  # the bytes of the form damaged
        head, _, body = case.parts[0].partition(b"\r\n\r\n")
        body = damaged(body, rng) or b"x"
        lines = [line for line in head.split(b"\r\n") if not line.startswith(b"Content-Length")]
        case = Case(case.kind, (b"\r\n".join([*lines, b"Content-Length: %d" % len(body)]) + b"\r\n\r\n" + body,), path=case.path)
    return case


def content_types(rng: random.Random) -> Case:
    """A body that says it is something else."""
    name, body = valid(rng)
    media = rng.choice([
        "text/plain", "text/html", "image/png", "application/xml", "application/json; charset=utf-16", "application/json;" + "x" * 3000,
        "APPLICATION/JSON", "", ";", "*/*",
        "application/x-www-form-urlencoded", "application/jsonp", "multipart/form-data", "\xff\xff", "application/json, text/plain",
        "application/octet-stream",
    ])  # fmt: skip
    return post("content types", rng, name, dumped(body), media)


def paths(rng: random.Random) -> Case:
    """Methods and paths that there are not."""
    method = rng.choice(["GET", "GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "CONNECT", "BREW", "get", "X" * 300])
    inside = rng.choice(
        [
            "../",
            "%2e%2e/",
            "..%2f",
            "%00",
            "\\..\\",
            "//",
            "./",
            "%c0%ae/",
            "%252e/",
            ";",
            "%",
            "%zz",
            "é",
            "\x7f",
            "%F0%9F%98%80",
            "a" * 4000,
        ]
    )
    path = rng.choice([
        "/static/" + inside * rng.randint(1, 8) + "etc/passwd", "/" + inside, "/v1/" + inside, "/v1/generate/" + inside, "/static",
        "/static/", "/static//etc/passwd", "*",
        "http://example.org/", "/v1/bundled/" + rng.choice(["-1", "10000", "9" * 50, "1.5", "x", "٣", "%00", "0x1", "9" * 5000]),
        "/v1/classes/" + rng.choice(["fashion", "nobody", "..", "%2e%2e", "a/b", "é"]) + "/" + rng.choice(["0", "99", "-1", "9" * 30,
        "x"]) + rng.choice([".png", "", ".gif"]),
        *(f"/v1/{name}" for name in POSTS), *(path + "?" + "a=" * 100 for path in GETS), *GETS, "/docs", "/admin", "/.git/config", "/v1",
        "/v1/",
    ])  # fmt: skip
    sent = rng.choice([b"", b"", b"{}", rng.randbytes(20)])
    http = method.isupper() and path.isascii() and "\x7f" not in path and method != "CONNECT"
    return Case("methods and paths", (message(rng, method, path, sent),), http=http, method=method, path=path)


def headers(rng: random.Random) -> Case:
    """Headers too large, too many, twice, or from elsewhere."""
    method, path = rng.choice(
        [("GET", "/health"), ("GET", "/v1/pipelines"), ("POST", "/v1/encode"), ("OPTIONS", "/v1/encode"), ("GET", "/")]
    )
    body = dumped({"image": "fashion:1"}) if method == "POST" else b""
    host = rng.choice(
        [
            b"127.0.0.1",
            b"localhost:99999",
            b"example.org",
            b"",
            b"[::1",
            b"127.0.0.1\xff",
            b"127.0.0.1@evil",
            b"a" * 3000,
            None,
            b"[::1]:80",
            b"0.0.0.0",
            b"127.0.0.1:x",
        ]
    )
    more = rng.choice([
        [b"X: " + b"a" * rng.choice([1000, 70_000, 200_000])], [b"X%d: y" % i for i in range(rng.choice([50, 3000]))],
        [b"Origin: https://evil.example"], [b"Origin: null"],
        [b"Origin: https://example.org"], [b"Origin: https://example.org", b"Origin: https://evil.example"], [b"Origin: \xff\xfe"],
        [b"Sec-Fetch-Site: cross-site"], [b"Content-Length: -1"],
        [b"Content-Length: 5", b"Content-Length: 6"], [b"Content-Length: 9" + b"9" * rng.choice([10, 5000])], [b"Content-Length: \xb2"],
        [b"Content-Length: +5"], [b"Content-Length: 0x10"],
        [b"Transfer-Encoding: gzip"], [b"Transfer-Encoding: chunked", b"Content-Length: 5"], [b"Expect: 100-continue"],
        [b"Upgrade: websocket", b"Connection: Upgrade"],
        [b"Upgrade: h2c", b"Connection: Upgrade, HTTP2-Settings", b"HTTP2-Settings: AAMAAABk"],
        [b"Accept: " + rng.randbytes(20).replace(b"\n", b"").replace(b"\r", b"").replace(b"\x00", b"")],
        [b"Accept: text/html"], [b"Accept: " + b"x/y," * 4000], [b"Accept: image/png;q=nan, */*;q=0"], [b"Range: bytes=0-" + b"9" * 50],
        [b"Range: bytes=" + b"0-1," * 2000], [b"If-None-Match: *"],
        [b"If-Modified-Since: yesterday"], [b": empty"], [b"No colon"], [b" folded: x"], [b"X: a\x00b"], [b"Cookie: " + b"a=b;" * 1000],
        [b"Content-Encoding: gzip"], [b"Host: twice"],
        [b"X-Forwarded-For: 127.0.0.1", b"X-Forwarded-Proto: https"], [b"Connection: keep-alive, close, x"],
        [b"Authorization: Basic AAAA"], [b"Access-Control-Request-Method: POST", b"Origin: https://example.org"],
    ])  # fmt: skip
    known = rng.random() < 0.7
    sent = message(rng, method, path, body, headers=tuple(more), token=rng.random() < 0.8, host=b"127.0.0.1" if known else host)
    return Case("headers", (sent,), http=False, method=method, path=path)


def tokens(rng: random.Random) -> Case:
    """Without the token, or with another."""
    wrong = rng.choice(
        [
            b"",
            b"Bearer",
            b"Bearer ",
            b"Bearer x",
            b"Basic " + TOKEN.encode(),
            b"bearer\t" + TOKEN.encode(),
            b"Bearer " + TOKEN.encode() + b"x",
            b"Bearer \xff\xe9",
            b"Bearer " + b"a" * 9000,
        ]
    )
    method, path = rng.choice([*(("POST", f"/v1/{name}") for name in POSTS), *(("GET", path) for path in GETS)])
    body = dumped(valid(rng)[1]) if method == "POST" else b""
    return Case("tokens", (message(rng, method, path, body, headers=(b"Authorization: " + wrong,), token=False),), method=method, path=path)


def cut_off(rng: random.Random) -> Case:
    """The body, or the head, ends too early."""
    name, body = valid(rng)
    whole = message(rng, "POST", f"/v1/{name}", dumped(body))
    return Case("cut off", (whole[: rng.randrange(len(whole))],), end=rng.choice(["shut", "drop", "reset"]), http=False)


def chunked(rng: random.Random) -> Case:
    """Chunked bodies, right and wrong ones."""
    name, body = valid(rng)
    data = dumped(body)
    sizes = [
        b"%x" % len(data),
        b"%X;ext=1" % len(data),
        b"-1",
        b"",
        b"zz",
        b"f" * 16,
        b"f" * 40,
        b"%x" % (len(data) + 9),
        b"0x5",
        b" 5",
        b"1\x00",
    ]
    size = rng.choice([sizes[0], *sizes])
    ending = rng.choice([b"0\r\n\r\n", b"0\r\n\r\n", b"", b"0\r\nTrailer: x\r\n\r\n", b"0", b"zz\r\n"])
    sent = size + b"\r\n" + data + b"\r\n" + ending
    if rng.random() < 0.1:
        sent = (b"10000\r\n" + b"x" * 65536 + b"\r\n") * 20 + b"0\r\n\r\n"  # more than there may be
    if rng.random() < 0.1:
        sent = b"".join(b"1\r\n%c\r\n" % byte for byte in data) + b"0\r\n\r\n"
    head = message(rng, "POST", f"/v1/{name}", b"", headers=(b"Transfer-Encoding: chunked", b"Content-Type: application/json"))
    return Case("chunked", (head + sent,), end="shut", http=False, path=f"/v1/{name}")


def large(rng: random.Random) -> Case:
    """More bytes than there may be."""
    name, size = rng.choice(POSTS), rng.choice([LIMITS["bytes"] + 1, 2 * LIMITS["bytes"], 10**12])
    head = message(rng, "POST", f"/v1/{name}", b"", headers=(b"Content-Type: application/json", b"Content-Length: %d" % size))
    return Case("too large", (head, b" " * min(size, 2**21)), path=f"/v1/{name}")


def slow(rng: random.Random) -> Case:
    """A body that drips, or a head that does."""
    name, body = valid(rng)
    whole = message(rng, "POST", f"/v1/{name}", dumped(body))
    start = rng.choice([0, whole.index(b"\r\n\r\n") + 4])
    parts = [whole[:start]] if start else []
    step = max(1, (len(whole) - start) // rng.choice([4, 10, 40]))
    return Case(
        "slow",
        (*parts, *(whole[i : i + step] for i in range(start, len(whole), step))),
        pause=rng.choice([0.05, 0.3, 1.0]),
        http=False,
        path=f"/v1/{name}",
    )


def garbage(rng: random.Random) -> Case:
    """What is no HTTP, or another one."""
    sent = rng.choice([
        rng.randbytes(rng.randrange(1, 2000)), b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + rng.randbytes(500),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET /\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n", b"\r\n" * 100, b"\x00" * 100, b"A" * 100_000, b"GET  /  HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\nHost: 127.0.0.1\n\n", b"SSH-2.0-x\r\n", b"EHLO x\r\n",
        message(rng, "GET", "/health") * 3, b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 50, b"\xff\xf4\xff\xfd\x06",
        b"GET /" + rng.randbytes(50) + b" HTTP/1.1\r\n\r\n",
    ])  # fmt: skip
    return Case("garbage", (sent,), end=rng.choice(["shut", "drop", "reset"]), http=False, method="GET")


def dropped(rng: random.Random) -> Case:
    """Nothing at all, or a whole request whose answer nobody reads."""
    name, body = valid(rng)
    sent = rng.choice([(), (message(rng, "POST", f"/v1/{name}", dumped(body)),), (message(rng, "GET", "/v1/pipelines"),)])
    return Case("dropped", sent, end=rng.choice(["drop", "reset"]), http=False)


KINDS: dict[Callable[[random.Random], Case], int] = {  # and how often
    broken_json: 15, odd_fields: 25, pictures: 20, masks: 8, forms: 8, content_types: 4, paths: 10, headers: 10, tokens: 4, cut_off: 5,
    chunked: 5,
    large: 2, garbage: 6, dropped: 4,
}  # fmt: skip
SLOW = 250  # one in so many


def case(seed: int, number: int, kind: str | None = None) -> Case:
    """One of all, or of a kind by the name of its function."""
    rng = random.Random(f"{seed} {number}")
    if kind is not None:
        return globals()[kind](rng)
    return slow(rng) if number % SLOW == SLOW - 1 else rng.choices(list(KINDS), list(KINDS.values()))[0](rng)
