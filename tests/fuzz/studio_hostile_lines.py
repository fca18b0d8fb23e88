"""Malformed lines and connections: paths, headers, tokens, bodies that are cut off, chunked or slow, and what is no HTTP."""

import random

from studio_hostile_base import GETS, POSTS, TOKEN, Case, dumped, message, valid


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
