"""What the studio makes once and keeps: thumbnails and vectors of the bundled images, at low priority, on a disk that may fail."""

import contextlib
import os
import shutil
import threading
import time
from base64 import b64encode
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from quick import quick_pipeline
from studio_server import serving
from test_studio import thumbnail
from test_studio_model import Counting, together, wanted

from bitmosaic import Pipeline
from bitmosaic.images import SHIPPED_SETS, ArrayImages, fashion_sample
from bitmosaic.samplers import Step
from bitmosaic.web import kept, neighbours, studio
from bitmosaic.web.job import ClientGone, Job
from bitmosaic.web.kept import DiskCache, cache_folder
from bitmosaic.web.model import Model

FEW = {"steps": 3, "evaluations": 5}


@pytest.fixture(scope="module")
def pipe():
    shipped = quick_pipeline()
    return Pipeline(shipped.tokenizer, shipped.prior, shipped.settings(**FEW), shipped.class_names)


@pytest.fixture
def few(monkeypatch):
    """Sixty bundled images, twenty in a file."""
    whole = fashion_sample()
    images = ArrayImages(whole.pixels[:60], whole.labels[:60], whole.class_names)
    monkeypatch.setitem(SHIPPED_SETS, "fashion", lambda: images)
    monkeypatch.setattr(neighbours, "FILE", 20)


def nearest(server, **body):
    """An answer that has looked at all images."""
    while (found := server.ask("/v1/neighbours", {"image": "fashion:7", "count": 5, **body}).json)["total"] < 60:
        pass
    return found


def test_a_slow_model_draws_for_a_person_first(pipe):
    slow = Pipeline(pipe.tokenizer, pipe.prior, pipe.settings(steps=49, evaluations=250), pipe.class_names)
    with serving({"slow": slow}) as server:
        began = time.monotonic()
        assert [server.ask(f"/v1/classes/slow/{i}.png").status for i in range(10)] == [202] * 10
        assert time.monotonic() - began < 2, "they waited for the model"
        assert len(server.made("generate", {"settings": FEW})) == 1
        assert server.studio.model.batches == 1 and server.studio.model.admitted == 0, "the thumbnails were first"


def test_thumbnails_are_drawn_once_and_kept_on_disk(pipe, tmp_path):
    with serving({"fashion": pipe}, cache=tmp_path) as server:
        first = [thumbnail(server, i) for i in range(10)]
    assert np.array_equal(first[8].picture, np.array(pipe("bag", 0)[0]))
    with serving({"fashion": pipe, "again": pipe}, cache=tmp_path) as server:
        again = [server.ask(f"/v1/classes/again/{i}.png") for i in range(10)]
        assert [(one.status, one.data) for one in again] == [(200, one.data) for one in first] and server.studio.model.batches == 0
    other = Pipeline(pipe.tokenizer, pipe.prior, pipe.settings(guidance_scale=3.0), pipe.class_names)
    with serving({"fashion": other}, cache=tmp_path) as server:
        assert server.ask("/v1/classes/fashion/8.png").status == 202, "a thumbnail of other settings"
        assert np.array_equal(thumbnail(server, 8).picture, np.array(other("bag", 0)[0]))


def test_one_identity_for_one_model(pipe):
    told = ("fingerprint", "float32")
    same = Pipeline.from_pretrained("fashion")
    assert studio.identity(pipe, *told) == studio.identity(pipe, *told)
    assert studio.identity(pipe, *told) != studio.identity(same, *told), "of other settings"
    assert studio.identity(pipe, *told) != studio.identity(pipe, "another", "float32")


def flipped(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 64
    path.write_bytes(data)


def instead(make):
    def damage(path):
        path.unlink()
        make(path)

    return damage


DAMAGE = {
    "a flipped bit": flipped, "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]), "empty": lambda path: path.write_bytes(b""),
    "gone": lambda path: path.unlink(), "a folder": instead(lambda path: path.mkdir()), "a pipe": instead(os.mkfifo),
    "a link to itself": instead(lambda path: path.symlink_to(path)), "very large": lambda path: os.truncate(path, 2**40),
    "of another class": lambda path: shutil.copy(path.with_name("class-1"), path),
}  # fmt: skip


@pytest.mark.parametrize("way", DAMAGE)
def test_a_damaged_file_is_made_again(pipe, tmp_path, way):
    with serving({"fashion": pipe}, cache=tmp_path) as server:
        first = [thumbnail(server, i).data for i in (0, 1)]
    (path,) = tmp_path.glob("*/class-0")
    DAMAGE[way](path)
    with serving({"fashion": pipe}, cache=tmp_path) as server:
        assert thumbnail(server, 0).data == first[0] and thumbnail(server, 1).data == first[1]


@pytest.mark.parametrize(
    "make", [lambda path: path.write_text("a file"), lambda path: path.symlink_to(path), lambda path: path.mkdir(0o500)]
)
def test_a_folder_that_cannot_be_used_is_harmless(pipe, tmp_path, make, few, caplog):
    make(tmp_path / "cache")
    with serving({"fashion": pipe}, cache=tmp_path / "cache") as server:
        assert thumbnail(server, 3).status == 200 and len(nearest(server)["neighbours"]) == 5
    assert not any(record.exc_info for record in caplog.records)


def test_a_full_disk_is_told_once_and_leaves_nothing(tmp_path, monkeypatch, caplog):
    one = DiskCache(tmp_path / "a")

    def full(path, data):
        path.open("wb").close()
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(kept.Path, "write_bytes", full)
        one.write("x", b"1")
        one.write("y", b"2")
    assert len(caplog.records) == 1 and "No space left" in caplog.text and not list((tmp_path / "a").iterdir())


def test_what_a_killed_process_left_and_what_nobody_uses_is_removed(tmp_path):
    mine, old, other = (tmp_path / (letter * 32) for letter in "abc")
    for folder in (mine, old, other, tmp_path / "something else"):
        folder.mkdir()
        (folder / "class-0").write_bytes(b"x")
        os.utime(folder, (0, 0) if folder != other else None)
    (mine / ".class-1.7.new").write_bytes(b"y")
    os.utime(mine / ".class-1.7.new", (0, 0))
    DiskCache(mine)
    assert {path.name for path in tmp_path.iterdir()} == {mine.name, other.name, "something else"}
    assert [path.name for path in mine.iterdir()] == ["class-0"]


def test_where_the_cache_lies(monkeypatch, tmp_path):
    monkeypatch.setattr(kept.sys, "platform", "linux")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for given, found in ((str(tmp_path), tmp_path), ("relative", tmp_path / "home" / ".cache"), ("", tmp_path / "home" / ".cache")):
        monkeypatch.setenv("XDG_CACHE_HOME", given)
        assert cache_folder() == found / "bitmosaic" / "studio"


def test_a_thumbnail_that_cannot_be_drawn_is_not_tried_without_end(pipe, monkeypatch):
    with serving({"fashion": pipe}) as server:
        drawn = []

        def fails(*given, **more):
            drawn.append(given)
            raise RuntimeError("it broke")

        monkeypatch.setattr(server.studio.thumbnails["fashion"], "_guest", fails)
        fails.name = "fashion"
        answer = thumbnail(server, 2)
        assert answer.status == 503 and answer.headers["retry-after"] == "60" and "could not be drawn" in answer.json["error"]
        assert thumbnail(server, 2).status == 503 and len(drawn) == 1


def test_the_bundle_is_looked_through_once_and_kept_on_disk(pipe, tmp_path, few):
    with serving({"fashion": pipe}, cache=tmp_path) as server:
        first = [nearest(server, by=by) for by in ("codes", "features")]
    (flip,) = tmp_path.glob("*/bundle-1")
    for damage in (lambda: None, lambda: flipped(flip)):
        damage()
        with serving({"fashion": pipe}, cache=tmp_path) as server:
            assert [nearest(server, by=by) for by in ("codes", "features")] == first


def test_an_image_is_not_its_own_neighbour(pipe, few):
    with serving({"fashion": pipe}) as server:
        for by in ("codes", "features"):
            found = nearest(server, by=by)
            names = [one["name"] for one in found["neighbours"]]
            assert found["itself"] == "fashion:7" and "fashion:7" not in names and len(names) == 5
            file = b64encode(server.ask("/v1/bundled/7").data).decode()
            assert nearest(server, by=by, image=file) == found
            assert len(nearest(server, by=by, count=100)["neighbours"]) == 59
        changed = fashion_sample().pixels[7, 0].numpy().copy()
        changed[14, 14] ^= 1
        Image.fromarray(changed).save(data := BytesIO(), "PNG")
        found = nearest(server, image=b64encode(data.getvalue()).decode())
        assert found["itself"] is None and found["neighbours"][0]["name"] == "fashion:7"


def low(one):
    return replace(one, job=Job(1000.0, 0, low=True))


def test_what_nobody_waits_for_gives_way():
    errand, ask, model = Counting(1000, 0.005), Counting(40, 0.005), Model(batch=8, wait=0.01)
    with model:
        behind = low(wanted(model, errand, 2))
        steps = []

        def run():
            with contextlib.suppress(ClientGone):
                for _ in model.complete(behind):
                    steps.append(time.monotonic())

        thread = threading.Thread(target=run)
        thread.start()
        while len(steps) < 5:
            time.sleep(0.001)
        start = time.monotonic()
        found = together(model, [wanted(model, ask) for _ in range(2)])
        end = time.monotonic()
        assert all(isinstance(step, Step) for step in found) and sum(ask.sizes) == 2, "joined with nothing else"
        between = sum(start <= at <= end for at in steps)
        assert 1 <= between <= 12, between  # a sixteenth of a share beside a batch of some, but not nothing
        while len(steps) < 60:
            time.sleep(0.001)  # and all of the time when nobody else is there
        behind.job.cancel()
        thread.join()


def test_no_slice_begins_before_a_person_who_is_there():
    """Who comes in the middle of a slice waits for its end, not for another one, though others might yet join."""
    began, met, model = [], [], Model(batch=8, wait=0.1)

    def errand(codes, known, labels, generators):
        for i in range(1, 100):
            began.append(i)
            time.sleep(0.1)
            yield Step(i, 100, codes, known, known.float())

    def person(codes, known, labels, generators):
        met.append(len(began))
        yield Step(1, 1, codes, known, known.float())

    with model:
        behind = low(wanted(model, errand))
        model._put(behind)
        for _ in range(4):
            before = len(began)
            while len(began) == before:
                time.sleep(0.001)
            list(model.complete(wanted(model, person)))
            assert met.pop() == before + 1
        behind.job.cancel()


def test_the_end_does_not_wait_for_what_nobody_waits_for():
    errand, model, found = Counting(1000, 0.005), Model(), []
    with model:
        job = low(wanted(model, errand))
        thread = threading.Thread(target=lambda: found.extend(together(model, [job])))
        thread.start()
        while not errand.sizes:
            time.sleep(0.001)
        start = time.monotonic()
    thread.join(5)
    assert isinstance(found[0], ClientGone) and time.monotonic() - start < 2 and not errand.ends


def test_the_seed_of_thumbnails_is_theirs_alone(pipe):
    """In batches of any size: they are drawn as many at once as a slice has room for."""
    with serving({"fashion": pipe}) as server:
        server.studio.thumbnails["fashion"]._size = 3
        for i in range(5):
            server.ask(f"/v1/classes/fashion/{i}.png")
        assert all(np.array_equal(thumbnail(server, i).picture, np.array(pipe(i, 0)[0])) for i in range(5))
