"""Malformed bodies: broken JSON, odd fields, odd forms, false content types, too many bytes."""

import random

from studio_hostile_base import LIMITS, POSTS, Case, damaged, dumped, form, message, odd, post, valid
from studio_hostile_pictures import hostile_picture, saved


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
        b"{" + b'"a":1,' * 20_000 + b'"b":2}', b'{"weights": [[' + b"0," * 100_000 + b"1]]}", b'{"settings": {"steps": [' + b"[]," * 9_000,
        b'{"mask": {"places": [' + b"[0,0]," * 60_000 + b"[1,1]]}}", b'{"codes": [' + b'"",' * 60_000 + b'""]}',
    ])  # fmt: skip
    return post("broken JSON", rng, name, sent or b" ")


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
                ["guidance_scale", "steps", "evaluations", "temperature", "sampler", "shortlist", "x"]
            )
            body["settings"][field] = odd(rng)
        else:
            body[key] = odd(rng)
    return post("odd fields", rng, name, dumped(body))


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


def large(rng: random.Random) -> Case:
    """More bytes than there may be."""
    name, size = rng.choice(POSTS), rng.choice([LIMITS["bytes"] + 1, 2 * LIMITS["bytes"], 10**12])
    head = message(rng, "POST", f"/v1/{name}", b"", headers=(b"Content-Type: application/json", b"Content-Length: %d" % size))
    return Case("too large", (head, b" " * min(size, 2**21)), path=f"/v1/{name}")
