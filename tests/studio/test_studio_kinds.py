"""The studio with a pipeline that has no codes: it generates and blends, and all else is refused in a line that says what it needs."""

import base64
import json
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from drawing_pipeline import drawing_pipeline
from studio_browser import opened
from studio_server import pixels, serving

from bitmosaic.images import FASHION_CLASSES
from bitmosaic.pipelines import Pipeline
from bitmosaic.web import requests
from bitmosaic.web.studio import jobs_of


@pytest.fixture(scope="module")
def drawer():
    return drawing_pipeline(names=FASHION_CLASSES)


@pytest.fixture(scope="module")
def server(drawer):
    with serving({"drawer": drawer}) as server:
        yield server


def test_what_it_is_told_to_clients(server, drawer):
    (told,) = server.ask("/v1/pipelines").json["pipelines"]
    assert told["jobs"] == ["generate", "interpolate"] and told["grid"] is told["family"] is None
    assert told["classes"] == [*FASHION_CLASSES] and told["image_size"] == [28, 28] and told["precision"] == "float32"
    assert told["sampler"] == {"type": "TruncationSpec", "truncation": 1.0}
    assert told["parameters"] == sum(p.numel() for p in drawer.drawer.parameters())


def test_it_draws_what_python_draws(server, drawer):
    wanted = [np.array(image) for image in drawer("bag", [3, 4], truncation=0.5)]
    asked = {"class": "bag", "seed": 3, "count": 2, "settings": {"truncation": 0.5}}
    assert np.array_equal(server.made("generate", asked), wanted)
    answer = server.ask("/v1/generate", asked).json
    assert answer["grid"] is None and answer["settings"] == {"type": "TruncationSpec", "truncation": 0.5} and answer["notes"] == []
    way = [np.array(image) for image in drawer([{"bag": 1.0}, {"bag": 0.5, "coat": 0.5}, {"coat": 1.0}], 7)]
    assert np.array_equal(server.made("interpolate", {"classes": ["bag", "coat"], "frames": 3, "seed": 7}), way)


def test_a_stream_has_no_steps(server, drawer):
    text = server.ask("/v1/generate", {"class": "bag", "seed": 3}, "text/event-stream").data.decode()
    found = [(one.split("\n")[0], json.loads(one.split("data: ")[1])) for one in text.strip().split("\n\n") if one.startswith("event")]
    assert [name for name, _ in found] == ["event: begin", "event: result"]
    assert found[0][1] == {"grid": None, "size": [28, 28], "count": 1}
    assert np.array_equal(pixels(base64.b64decode(found[1][1]["images"][0]["image"])), np.array(drawer("bag", 3)[0]))


def test_requests_that_are_joined_change_nothing(server, drawer):
    asked = [{"class": FASHION_CLASSES[i % 10], "seed": i, "count": 1 + i % 3} for i in range(12)]
    with ThreadPoolExecutor(12) as threads:
        found = list(threads.map(lambda one: server.made("generate", one), asked))
    for one, images in zip(asked, found, strict=True):
        wanted = drawer(one["class"], range(one["seed"], one["seed"] + one["count"]))
        assert np.array_equal(images, [np.array(image) for image in wanted])


BODIES = {
    "inpaint": {"image": "fashion:0", "mask": {"box": [0, 0, 9, 9]}},
    "edit": {"image": "fashion:0", "mask": {"box": [0, 0, 9, 9]}, "class": 1},
    "outpaint": {"image": "fashion:0", "padding": 4}, "enrich": {"image": "fashion:0"}, "encode": {"image": "fashion:0"},
    "decode": {"codes": "AAAA"}, "features": {"image": "fashion:0"}, "neighbours": {"image": "fashion:0"},
}  # fmt: skip


def test_what_needs_codes_is_refused_in_a_line(server):
    assert BODIES.keys() == requests.JOBS.keys() - {"generate", "interpolate"}
    for job, body in BODIES.items():
        answer = server.ask(f"/v1/{job}", body)
        told = f'pipeline: "drawer" only draws pictures; {job} needs a pipeline that has codes: a tokenizer and a prior'
        assert (answer.status, answer.json["error"]) == (422, told)
    answer = server.ask("/v1/generate", {"class": "bag", "settings": {"steps": 3}})
    assert answer.status == 422 and "has no setting steps; it has truncation" in answer.json["error"]
    assert server.ask("/v1/generate", {"class": "hat"}).status == 422


def test_a_pipeline_of_one_class_alone_blends_nothing():
    plain = drawing_pipeline(classes=0)
    assert jobs_of(plain) == ["generate"] and jobs_of(Pipeline.from_pretrained("fashion")) == [*requests.JOBS]
    with serving({"plain": plain}) as server:
        answer = server.ask("/v1/interpolate", {"classes": [None, None], "frames": 2})
        assert answer.status == 422 and answer.json["error"].endswith("interpolate needs a pipeline that has classes")
        assert np.array_equal(server.made("generate", {"seed": 2}), [np.array(plain(None, 2)[0])])


def test_thumbnails_are_drawn(server, drawer):
    for _ in range(100):
        answer = server.ask("/v1/classes/drawer/8.png")
        if answer.status == 200:
            break
        time.sleep(0.05)
    assert np.array_equal(answer.picture, np.array(drawer(8, 0)[0]))


def test_the_page_draws_and_says_what_its_panels_need(browser, drawer):
    """The panel Generate works; others say what they want, and work for the pipeline that has it."""
    with serving({"drawer": drawer, "fashion": Pipeline.from_pretrained("fashion")}) as server:
        with opened(browser, f"http://127.0.0.1:{server.port}") as page:
            page.get_by_role("button", name="Draw").click()
            page.get_by_role("img", name="t-shirt, seed 0", exact=True).wait_for()
            assert page.locator("#foot").inner_text().count("28 × 28 pixels drawn at once.") == 1
            page.get_by_role("tab", name="Paint").click()
            lack = page.get_by_text("The pipeline “drawer” only draws pictures; this panel needs one that has codes.")
            lack.first.wait_for()
            assert not page.get_by_role("button", name="Test images").is_visible()
            page.get_by_label("Pipeline", exact=True).select_option(label="fashion")
            page.get_by_role("button", name="Test images").first.wait_for()
