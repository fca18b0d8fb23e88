"""The studio's HTTP service: the same pixels as everywhere, whoever asks beside; streams; bodies; what is refused."""

import base64
import contextlib
import functools
import io
import json
import socket
import threading
import time
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin
from quick import quick_pipeline
from studio_server import BUNDLE, Limits, pixels, serving

from bitmosaic import Pipeline
from bitmosaic.cli import main
from bitmosaic.images import fashion_sample, landscapes_sample

FEW = {"steps": 2, "evaluations": 2}
JOBS = {
    "generate": {"class": "bag", "count": 2},
    "inpaint": {"image": "fashion:18", "mask": {"box": [0, 14, 28, 28]}, "class": "bag", "count": 2, "feather": 1},
    "edit": {"image": "fashion:0", "mask": {"places": [[0, 0], [3, 4]]}, "class": "sandal"},
    "outpaint": {"image": "fashion:2", "padding": [0, 0, 14, 0], "class": "trouser", "count": 2},
    "interpolate": {"classes": ["bag", None, "dress"], "frames": 3, "seed": 5},
    "enrich": {"image": "fashion:3", "repeats": 1, "count": 2, "class": {"bag": 0.5, "dress": 0.5}},
}


@pytest.fixture(scope="module")
def pipe():
    return quick_pipeline()


@pytest.fixture(scope="module")
def server(pipe):
    with serving({"fashion": pipe}) as server:
        yield server


def body(job, **more):
    return {**JOBS[job], "settings": FEW, **more}


@functools.cache
def by_python(pipe, job):
    """The pictures of body(job), by the pipeline itself."""
    image = [fashion_sample().image(i) for i in range(19)]
    box = (0, 14, 28, 28)
    found = {
        "generate": lambda: pipe("bag", [0, 1], **FEW),
        "inpaint": lambda: pipe.inpaint(image[18], box, "bag", [0, 1], feather=1, **FEW).images,
        "edit": lambda: pipe.edit(image[0], [(0, 0), (3, 4)], "sandal", **FEW).images,
        "outpaint": lambda: pipe.outpaint(image[2], [0, 0, 14, 0], "trouser", [0, 1], **FEW).images,
        "interpolate": lambda: pipe.interpolate(["bag", None, "dress"], 5, frames=3, **FEW),
        "enrich": lambda: pipe.enrich(image[3], {"bag": 0.5, "dress": 0.5}, [0, 1], repeats=1, **FEW).images,
    }[job]()
    return [np.array(one) for one in found]


def same(some, others):
    return len(some) == len(others) and all(np.array_equal(a, b) for a, b in zip(some, others, strict=True))


@pytest.mark.parametrize("job", JOBS)
def test_the_same_pixels_as_in_python(server, pipe, job):
    assert same(server.made(job, body(job)), by_python(pipe, job))


def test_the_same_pixels_as_by_the_command(tmp_path, capsys):
    command = ["sample", "fashion", "--classes", "bag", "--count", "2", "--steps", "2", "--evaluations", "2", "--out", str(tmp_path)]
    assert main(command) == 0
    capsys.readouterr()
    with serving({"fashion": Pipeline.from_pretrained("fashion")}) as server:
        made = server.made("generate", body("generate"))
    assert same(made, [np.array(Image.open(tmp_path / f"bag-00{i}.png")) for i in range(2)])


@pytest.mark.parametrize("job", JOBS)
def test_a_picture_holds_the_request_that_makes_it_again(server, job):
    first = server.ask(f"/v1/{job}", body(job)).json["images"][-1]
    file = base64.b64decode(first["image"])
    text = Image.open(io.BytesIO(file)).text
    assert text["Software"].startswith("bitmosaic ") and json.loads(text["Settings"])["steps"] == 2
    request = json.loads(text["Request"])
    again = server.ask(f"/v1/{request.pop('job')}", request, "image/png")
    assert again.status == 200, again.data
    assert np.array_equal(again.picture, pixels(file))
    assert json.loads(Image.open(io.BytesIO(again.data)).text["Request"]) == json.loads(text["Request"])


@pytest.mark.parametrize("job", ["generate", "interpolate", "inpaint", "decode"])
def test_pictures_side_by_side_hold_the_request_that_makes_them_again(server, job):
    two = {"codes": [server.ask("/v1/encode", {"image": f"fashion:{i}"}).json["codes"] for i in (1, 2)]}
    strip = server.ask(f"/v1/{job}", two if job == "decode" else body(job), "image/png")
    request = json.loads(Image.open(io.BytesIO(strip.data)).text["Request"])
    assert request.pop("job") == job
    assert np.array_equal(server.ask(f"/v1/{job}", request, "image/png").picture, strip.picture)


def test_what_a_picture_was_made_by(server, pipe):
    about = server.ask("/v1/pipelines").json["pipelines"][0]
    text = Image.open(io.BytesIO(server.ask("/v1/generate", body("generate", count=1), "image/png").data)).text
    assert text["Model"] == about["fingerprint"] and len(about["fingerprint"]) == 12
    assert json.loads(text["Settings"])["precision"] == about["precision"] == "float32"


def test_no_class_is_called_none_in_blends(server, pipe):
    images = server.made("generate", {"class": {"none": 0.5, "bag": 0.5}, "settings": FEW})
    assert same(images, [np.array(pipe({None: 0.5, "bag": 0.5}, 0, **FEW)[0])])
    assert same(server.made("generate", {"class": "none", "settings": FEW}), [np.array(pipe(None, 0, **FEW)[0])])


def test_requests_that_are_joined_change_nothing(server, pipe):
    alone = {job: by_python(pipe, job) for job in JOBS}

    def batches() -> int:
        before, found = server.studio.model.batches, {}

        def ask(job, i):
            found[job, i] = server.made(job, body(job))

        threads = [threading.Thread(target=ask, args=(job, i)) for job in JOBS for i in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(same(images, alone[job]) for (job, _), images in found.items()) and len(found) == len(threads)
        return server.studio.model.batches - before

    asked = 2 * (1 + 1 + 1 + 4 + 1 + 4)  # samplers: four for outpaint's windows and for enrich, one for the others
    assert any(batches() < 2 * asked / 3 for _ in range(3))  # on a busy machine threads may start too far apart to be joined


def events(answer):
    """(name, data) of a stream."""
    parts = [part.split("\n") for part in answer.data.decode().strip().split("\n\n") if not part.startswith(":")]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in parts]


@pytest.mark.parametrize("job", JOBS)
def test_a_stream_ends_in_the_same_answer(server, job):
    answer = server.ask(f"/v1/{job}", body(job, entropy=True), "text/event-stream")
    assert answer.status == 200 and answer.headers["content-type"].startswith("text/event-stream")
    found = events(answer)
    names = [name for name, _ in found]
    assert names[0] == "begin" and names[-1] == "result" and set(names[1:-1]) == {"step"}
    whole = server.ask(f"/v1/{job}", body(job)).json
    assert [one["image"] for one in found[-1][1]["images"]] == [one["image"] for one in whole["images"]]
    for _, step in found[1:-1]:
        for known, entropy in zip(step["known"], step["entropy"], strict=True):
            assert len(known) == len(entropy) == 49
            assert all((k == "0") or e == 0 for k, e in zip(known, entropy, strict=True))
        assert step["known"][0].count("0") == 0 or step["index"] < step["total"]


@pytest.mark.parametrize("job", ["inpaint", "outpaint"])
def test_a_stream_of_a_canvas_says_which_part_a_step_is_of_and_how_many_follow(server, job):
    grey = Image.radial_gradient("L").resize((60, 40))
    repaint, padding = np.ones((40, 60), bool), [8, 2, 6, 0]
    repaint[6:30, 6:30] = False
    asked = {"image": base64.b64encode(png(grey)).decode(), "count": 2, "settings": FEW}
    if job == "inpaint":
        canvas = np.array(grey)
        asked |= {"mask": base64.b64encode(png(Image.fromarray(repaint))).decode(), "fit": "tile"}
    else:
        sides = ((padding[1], padding[3]), (padding[0], padding[2]))
        canvas, repaint = np.pad(np.array(grey), sides), np.pad(np.zeros((40, 60), bool), sides, constant_values=True)
        asked |= {"padding": padding}
    found = events(server.ask(f"/v1/{job}", asked, "text/event-stream"))
    assert found[0][1]["size"] == [canvas.shape[1], canvas.shape[0]]
    steps = [data for name, data in found if name == "step"]
    told = [(one["window"], one["index"], one["windows"], one["total"]) for one in steps]
    windows, totals = told[0][2], {one["window"]: one["total"] for one in steps}  # more than three where known pixels steer, too
    assert windows > 1 and told == [(w, i, windows, totals[w]) for w in range(1, windows + 1) for i in range(1, totals[w] + 1)]
    assert min(totals.values()) == FEW["steps"]
    made = [canvas.copy(), canvas.copy()]
    for step in steps:
        left, top, right, bottom = step["box"]
        assert (right - left, bottom - top) == (28, 28) and left >= 0 <= top and right <= canvas.shape[1] and bottom <= canvas.shape[0]
        inner = repaint[top:bottom, left:right]
        for one, image in zip(made, step["images"], strict=True):
            one[top:bottom, left:right][inner] = pixels(base64.b64decode(image))[inner]
        if step["index"] == step["total"]:
            repaint[top:bottom, left:right] = False
    assert not repaint.any()
    wanted = {one["seed"]: pixels(base64.b64decode(one["image"])) for one in found[-1][1]["images"]}
    assert same(made, [wanted[0], wanted[1]])


@pytest.mark.parametrize("share", [0.5, 0.95])
def test_scattered_known_pixels_steer_and_the_answer_says_so(server, pipe, share):
    mask = (np.random.default_rng(0).random((28, 28)) < share).astype(np.uint8) * 255
    asked = {"image": "fashion:5", "mask": base64.b64encode(png(Image.fromarray(mask))).decode(), "count": 2, "settings": FEW}
    wanted = pipe.inpaint(fashion_sample().image(5), mask, None, [0, 1], **FEW)
    told = server.ask("/v1/inpaint", asked).json
    assert same([pixels(base64.b64decode(one["image"])) for one in told["images"]], wanted.images)
    assert tuple(told["notes"]) == wanted.notes and "known pixels" in told["notes"][0]
    steps = [data for name, data in events(server.ask("/v1/inpaint", {**asked, "entropy": True}, "text/event-stream")) if name == "step"]
    assert [step["index"] for step in steps] == list(range(1, steps[0]["total"] + 1)) and "0" not in steps[-1]["known"][0]
    assert server.ask("/v1/inpaint", body("inpaint")).json["notes"] == []


def test_edit_has_more_guidance_unless_it_is_told(server):
    def used(**settings):
        return server.ask("/v1/edit", {**body("edit"), "settings": settings | FEW}).json["settings"]["guidance_scale"]

    assert (used(), used(guidance_scale=1.5), used(sampler="fast")) == (5.0, 1.5, 1.5)


def test_places_once_known_stay_in_a_stream(server):
    found = events(server.ask("/v1/generate", body("generate"), "text/event-stream"))
    known = [np.array([[c == "1" for c in row] for row in data["known"]]) for name, data in found if name == "step"]
    assert all((before <= after).all() for before, after in zip(known[:-1], known[1:], strict=True)) and known[-1].all()
    assert not known[0].all()


def form(**parts):
    """A multipart body and its header; text or (file name, bytes)."""
    lines = []
    for name, value in parts.items():
        file = f'; filename="{value[0]}"' if isinstance(value, tuple) else ""
        data = value[1] if isinstance(value, tuple) else value.encode()
        head = f'--b\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
        lines.append(head.encode() + data + b"\r\n")
    return b"".join(lines) + b"--b--\r\n", {"Content-Type": "multipart/form-data; boundary=b"}


def png(image):
    data = io.BytesIO()
    image.save(data, "PNG")
    return data.getvalue()


def test_pictures_in_forms_and_in_json_are_the_same(server):
    image = png(Image.fromarray(fashion_sample().pixels[18, 0].numpy()))
    white = np.zeros((28, 28), np.uint8)
    white[14:] = 255
    mask = png(Image.fromarray(white))
    rest = {name: value for name, value in body("inpaint").items() if name not in ("image", "mask")}
    data, headers = form(request=json.dumps(rest), image=("a.png", image), mask=("b.png", mask))
    by_form = server.ask("/v1/inpaint", data, "image/webp", headers=headers)
    by_text = {**rest, "image": "data:image/png;base64," + base64.b64encode(image).decode(), "mask": base64.b64encode(mask).decode()}
    expected = server.made("inpaint", body("inpaint"))
    assert same(server.made("inpaint", by_text), expected)
    assert by_form.headers["content-type"] == "image/webp"
    assert np.array_equal(by_form.picture[..., 0], np.concatenate(expected, 1))  # side by side; WebP is in colour


def test_codes_go_there_and_back(server, pipe):
    found = server.ask("/v1/encode", {"image": "fashion:7"}).json
    codes = pipe.encode(fashion_sample().image(7))
    assert base64.b64decode(found["codes"]) == codes.pack()[0].tobytes()
    assert found["grid"] == [7, 7] and found["radix"] == [2] * 20
    assert same(server.made("decode", {"codes": [found["codes"]] * 2}), [pixels(base64.b64decode(found["reconstruction"]))] * 2)
    assert np.array_equal(pixels(base64.b64decode(found["reconstruction"])), np.array(pipe.decode(codes)[0]))


def test_features_and_neighbours(server, pipe):
    found = server.ask("/v1/features", {"image": "fashion:7", "layer": 1, "pool": 2}).json
    assert np.allclose(found["features"], pipe.features(fashion_sample().image(7), 1, pool=2)[0], atol=1e-4) and found["shape"] == [4, 32]
    for by in ("codes", "features"):
        found = server.ask("/v1/neighbours", {"image": "fashion:7", "count": 3, "by": by}).json
        distances = [one["distance"] for one in found["neighbours"]]
        assert found["itself"] == "fashion:7" and "fashion:7" not in [one["name"] for one in found["neighbours"]]
        assert distances == sorted(distances) and len(distances) == 3 and found["of"] == BUNDLE


def test_what_the_page_begins_with(server, pipe):
    about = server.ask("/v1/pipelines").json
    assert about["pipelines"][0]["classes"] == list(pipe.class_names) and about["bundled"] == {"fashion": 10000, "landscapes": 252}
    assert about["pipelines"][0]["bundled"] == "fashion"
    other = server.ask("/v1/bundled/landscapes/3")
    assert np.array_equal(other.picture, landscapes_sample().pixels[3].movedim(0, -1)) and other.headers["x-class"] == "city"
    assert server.ask("/v1/bundled/cats/3").status == 404 == server.ask("/v1/bundled/landscapes/252").status
    bundled = server.ask("/v1/bundled/17")
    assert np.array_equal(bundled.picture, fashion_sample().pixels[17, 0]) and bundled.headers["x-class"]
    first, second = (thumbnail(server, 8) for _ in range(2))
    assert first.data == second.data and np.array_equal(first.picture, np.array(pipe("bag", 0)[0]))
    assert server.ask("/health").json["status"] == "ok"
    server.made("generate", body("generate"))
    assert b'bitmosaic_requests_total{route="generate",status="200"}' in server.ask("/metrics").data
    page = server.ask("/")
    assert page.status == 200 and page.headers["content-type"].startswith("text/html")
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"] and page.headers["x-content-type-options"] == "nosniff"


def bomb(side):
    """A small file that claims very many pixels."""
    data = bytearray(png(Image.new("L", (8, 8))))
    data[16:24] = side.to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    return base64.b64encode(bytes(data)).decode()


def svg():
    return base64.b64encode(b'<svg xmlns="http://www.w3.org/2000/svg"/>').decode()


WRONG = {
    "no JSON": ("generate", b"{", 400, "JSON"),
    "deep": ("generate", b"[" * 5000, 400, "JSON"),
    "a list": ("generate", b"[]", 422, "object"),
    "unknown field": ("generate", {"clas": "bag"}, 422, "no such field; generate takes"),
    "missing field": ("inpaint", {"image": "fashion:1"}, 422, "mask: is missing"),
    "a number as text": ("generate", {"seed": "1"}, 422, 'seed: got "1"'),
    "a negative seed": ("generate", {"seed": -1}, 422, "seed: got -1"),
    "a huge seed": ("generate", {"seed": 10**30}, 422, "seed"),
    "the last seed": ("generate", {"seed": 2**53 - 1, "count": 2}, 422, "below 2^53"),
    "very many codes": ("decode", {"codes": [1] * 300_000}, 422, "more than 10000 values"),
    "very many fields": ("generate", {str(i): i for i in range(100_000)}, 422, "more than 10000 values"),
    "many wrong weights": ("interpolate", {"classes": ["bag", "dress"], "weights": [[""] * 2] * 3000}, 422, "weights"),
    "a very long class": ("generate", {"class": "9" * 5000}, 422, "class: got"),
    "digits of others": ("encode", {"image": "fashion:\u0664"}, 422, "give fashion:0 to fashion:9999"),
    "NaN": ("generate", b'{"settings": {"temperature": NaN}}', 422, "temperature"),
    "no such class": ("generate", {"class": "bog"}, 422, 'no class "bog"'),
    "weights": ("generate", {"class": {"bag": 0.7}}, 422, "sum to 1"),
    "no such pipeline": ("generate", {"pipeline": "../fashion"}, 422, 'there is no "../fashion"'),
    "too many": ("generate", {"count": 65}, 422, "at most 64"),
    "too many steps": ("generate", {"settings": {"steps": 129}}, 422, "at most 128"),
    "no such setting": ("generate", {"settings": {"shortlist": 3.0}}, 422, "has no setting shortlist"),
    "too patient": ("generate", {"timeout": 1e6}, 422, "at most 60 seconds"),
    "no time": ("generate", {"timeout": 0.001}, 408, "more than 0.001 seconds"),
    "a path": ("encode", {"image": "/etc/passwd"}, 400, "no picture"),
    "no such bundled image": ("encode", {"image": "fashion:10000"}, 404, "fashion:9999"),
    "no picture": ("encode", {"image": "aGVsbG8="}, 400, "no picture"),
    "an SVG": ("encode", {"image": svg()}, 400, "no picture"),
    "a bomb": ("encode", {"image": bomb(60_000)}, 413, "too many pixels"),
    "a large picture": ("encode", {"image": bomb(3_000)}, 413, "3000 x 3000 pixels"),
    "a wide canvas": ("outpaint", {"image": "fashion:1", "padding": 4000}, 413, "a canvas of"),
    "a box outside": ("inpaint", {"image": "fashion:1", "mask": {"box": [0, 0, 29, 28]}}, 422, "box"),
    "a mask of no kind": ("inpaint", {"image": "fashion:1", "mask": {"box": [1, 2, 3]}}, 422, "give left, top, right, bottom"),
    "edit to nothing": ("edit", {"image": "fashion:1", "mask": {"box": [0, 0, 9, 9]}, "class": None}, 422, "name the class"),
    "codes too short": ("decode", {"codes": "AAAA"}, 422, "got 3 bytes; give the 123 bytes of one image"),
    "no codes": ("decode", {"codes": []}, 422, "got an empty list"),
    "no such layer": ("features", {"image": "fashion:1", "layer": 99}, 422, "layer"),
    "weights of a way": ("interpolate", {"classes": ["bag", "dress"], "weights": [[1.0]]}, 422, "weights"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_refused(server, case):
    job, data, status, message = WRONG[case]
    answer = server.ask(f"/v1/{job}", data)
    assert (answer.status, answer.json["status"]) == (status, status), answer.data
    assert message in answer.json["error"] and "\n" not in answer.json["error"]
    assert server.studio.model.admitted == 0


def test_what_is_refused_in_the_headers(server):
    plain = server.ask("/v1/generate", b"{}", headers={"Content-Type": "text/plain"})
    assert plain.status == 415 and "application/json" in plain.json["error"]
    assert server.ask("/v1/generate", {}, "text/html").status == 406
    assert server.ask("/v1/encode", {"image": "fashion:1"}, "image/png").status == 406
    assert server.ask("/v1/generate", None, method="DELETE").status == 405
    outside = ("/static/../guard.py", "/static/%2e%2e/guard.py")
    for path in ("/nope", *outside, "/v1/bundled/99999", "/v1/classes/fashion/10.png", "/v1/bundled/-1"):
        assert server.ask(path).status == 404, path
    large = server.ask("/v1/encode", b"{}", headers={"Content-Length": str(2**40)})
    assert large.status == 413 and "16777216 bytes" in large.json["error"]
    data, headers = form(request="{}", other="1")
    assert server.ask("/v1/encode", data, headers=headers).status == 422
    data, headers = form(request='{"image": "fashion:1"}', image=("a", b"x"))
    assert "twice" in server.ask("/v1/encode", data, headers=headers).json["error"]


def test_what_is_accepted(server):
    data = body("generate", count=1)
    for accept, kind in {
        "image/webp;q=0, application/json": "application/json", "application/json;q=0.5, image/png": "image/png", "*/*": "application/json",
        "text/html, image/*;q=0.8, */*;q=0.1": "image/png", "image/webp;q=nonsense": "image/webp",
    }.items():  # fmt: skip
        assert server.ask("/v1/generate", data, accept).headers["content-type"] == kind
    assert server.ask("/v1/generate/", data).status == 404


def test_a_body_where_there_should_be_none(pipe):
    """It is not waited for."""
    with serving({"fashion": pipe}, Limits(bytes=100_000)) as server, socket.create_connection(("127.0.0.1", server.port)) as client:
        client.settimeout(30)
        client.sendall(b"GET /v1/classes/fashion/0.png HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            client.sendall((b"4000\r\n" + b"x" * 0x4000 + b"\r\n") * 8)
        assert client.recv(100).startswith((b"HTTP/1.1 202 ", b"HTTP/1.1 413 "))
        assert server.studio.model.admitted == 0


def test_a_client_that_goes_away_frees_its_place(server):
    model, data = server.studio.model, json.dumps({"count": 64, "settings": {"steps": 128, "evaluations": 256}}).encode()
    for accept in (b"text/event-stream", b"application/json"):
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            head = b"POST /v1/generate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: " + accept
            client.sendall(head + b"\r\nContent-Length: " + str(len(data)).encode() + b"\r\n\r\n" + data)
            wait_for(lambda: model.admitted == 64 and model._running)
        wait_for(lambda: model.admitted == 0 and not model._running)
    assert server.ask("/health").json["images_waited_for"] == 0


def thumbnail(server, number, name="fashion"):
    """The answer with a class's picture, after those that say to come later."""
    while (found := server.ask(f"/v1/classes/{name}/{number}.png")).status == 202:
        assert found.json == {"retry_after": int(found.headers["retry-after"])} and "max-age" not in found.headers["cache-control"]
        time.sleep(0.05)
    return found


def test_a_stream_that_ends_in_an_error_is_counted_by_its_status(pipe, caplog):
    caplog.set_level("INFO", "bitmosaic.studio")
    long = {"count": 64, "settings": {"steps": 128, "evaluations": 256}}
    with serving({"fashion": pipe}) as server:
        cases = [({**long, "timeout": 0.3}, 408), ({"class": "nobody"}, 422), ({"settings": FEW}, 200)]
        for data, status in cases:
            answer = server.ask("/v1/generate", data, "text/event-stream")
            assert answer.status == 200 and events(answer)[-1][1].get("status", 200) == status
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            text = json.dumps(long).encode()
            client.sendall(b"POST /v1/generate HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n")
            client.sendall(b"Content-Type: application/json\r\nContent-Length: " + str(len(text)).encode() + b"\r\n\r\n" + text)
            wait_for(lambda: server.studio.model._running)

        def counted(status):
            return f'bitmosaic_requests_total{{route="generate",status="{status}"}} 1.0'.encode() in server.ask("/metrics").data

        for status in (408, 422, 200, 499):
            wait_for(lambda status=status: counted(status))
    logged = [record.getMessage().split()[2] for record in caplog.records if "/v1/generate" in record.getMessage()]
    assert sorted(logged) == ["200", "408", "422", "499"]


def wait_for(true, seconds=20):
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends
        time.sleep(0.02)


def test_a_second_client_need_not_wait_for_the_first(server):
    """One image of few steps, while sixty-four of many are drawn."""
    model, data = server.studio.model, {"count": 64, "settings": {"steps": 60, "evaluations": 60}}
    before = model.batches
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        text = json.dumps(data).encode()
        client.sendall(b"POST /v1/generate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: text/event-stream\r\n")
        client.sendall(b"Content-Length: " + str(len(text)).encode() + b"\r\n\r\n" + text)
        wait_for(lambda: model._running)
        assert server.ask("/v1/generate", body("generate")).status == 200
        assert model.batches == before + 1 and model._running, "the first was over before the second"
    wait_for(lambda: not model._running)


def test_too_much_at_once_is_told_when_to_come_again(pipe):
    with serving({"fashion": pipe}, Limits(count=4, queue=4)) as server, socket.create_connection(("127.0.0.1", server.port)) as client:
        text = json.dumps({"count": 3, "settings": {"steps": 128, "evaluations": 200}}).encode()
        client.sendall(b"POST /v1/generate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: text/event-stream\r\n")
        client.sendall(b"Content-Length: " + str(len(text)).encode() + b"\r\n\r\n" + text)
        wait_for(lambda: server.studio.model.admitted == 3)
        answer = server.ask("/v1/generate", {"count": 2})
        assert answer.status == 429 and int(answer.headers["retry-after"]) >= 1 and "try again in" in answer.json["error"]
        assert server.ask("/v1/encode", {"image": "fashion:1"}).status == 200  # one more fits


def test_a_token_other_sites_and_other_names(pipe):
    guarded = {"token": "secret", "hosts": ["localhost", "127.0.0.1"], "origins": ["https://friend.example"]}
    with serving({"fashion": pipe}, **guarded) as server:
        assert server.ask("/v1/pipelines").status == 401 and server.ask("/metrics").status == 401
        for given in ("Bearer wrong", "Basic secret", "Bearer", "Bearer s\u00e9cret".encode().decode("latin-1")):
            assert server.ask("/v1/pipelines", headers={"Authorization": given}).status == 401
        key = {"Authorization": "Bearer secret"}
        assert server.ask("/v1/pipelines", headers=key).status == 200
        assert server.ask("/").status == server.ask("/health").status == 200
        assert server.ask("/v1/pipelines", headers={**key, "Host": "evil.example"}).status == 403
        assert server.ask("/v1/generate", {}, headers={**key, "Origin": "https://evil.example"}).status == 403
        assert server.ask("/v1/pipelines", headers={**key, "Sec-Fetch-Site": "cross-site"}).status == 403
        own = server.ask("/v1/pipelines", headers={**key, "Origin": f"http://127.0.0.1:{server.port}"})
        assert own.status == 200 and "access-control-allow-origin" not in own.headers
        friend = server.ask("/v1/pipelines", headers={**key, "Origin": "https://friend.example"})
        assert friend.status == 200 and friend.headers["access-control-allow-origin"] == "https://friend.example"
        asks = server.ask("/v1/generate", None, method="OPTIONS", headers={"Origin": "https://friend.example"})
        assert asks.status == 204 and "authorization" in asks.headers["access-control-allow-headers"]


def test_two_pipelines(pipe):
    other = Pipeline(pipe.tokenizer, pipe.prior, pipe.settings(steps=2), pipe.class_names)
    with serving({"fashion": pipe, "hasty": other}) as server:
        assert [one["name"] for one in server.ask("/v1/pipelines").json["pipelines"]] == ["fashion", "hasty"]
        assert same(server.made("generate", {"pipeline": "hasty", "class": 3}), [np.array(other(3, 0)[0])])


def test_pictures_of_other_sizes(server, pipe):
    large = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8))
    text = base64.b64encode(png(large)).decode()
    data = {"image": text, "mask": {"box": [0, 0, 12, 9]}, "settings": FEW}
    refused = server.ask("/v1/inpaint", data)
    assert refused.status == 422 and "60 x 40 pixels" in refused.json["error"]
    for fit, size in (("crop", (28, 28)), ("tile", (40, 60))):
        (image,) = server.made("inpaint", {**data, "fit": fit})
        expected = pipe.inpaint(large, (0, 0, 12, 9), None, 0, fit=fit, **FEW).images[0]
        assert image.shape == size and np.array_equal(image, np.array(expected))


def test_a_text_bomb_in_a_png(server):
    """Compressed text of many megabytes, which Pillow bounds."""
    data, info = io.BytesIO(), PngImagePlugin.PngInfo()
    info.add_text("Request", "x" * 50_000_000, zip=True)
    Image.new("L", (28, 28)).save(data, "PNG", pnginfo=info)
    answer = server.ask("/v1/encode", {"image": base64.b64encode(data.getvalue()).decode()})
    assert answer.status in (200, 400)


def test_the_seed_of_torch_is_nobodys_business(server):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    server.made("generate", body("generate"))
    assert torch.equal(torch.get_rng_state(), before)
