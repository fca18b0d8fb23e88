"""A service that is slow, busy or small: what a person asks for comes first, thumbnails come later, and what takes too long is halved."""

import json
import re

import pytest
from studio_browser import done, done_strip, expect, few_steps, opened, panel, png, request_in
from studio_server import Limits, serving

from bitmosaic import Pipeline
from bitmosaic.samplers import EntropyOrderedSpec

THUMBNAILS = re.compile("/v1/classes/")
TINY_PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b550000000a49444154789c6360000000020001e221bc330000000049454e44ae426082"
)


def draw(page, sheet, count=1):
    """Presses Draw for few steps, and waits for the pictures."""
    few_steps(sheet)
    sheet.get_by_label("Pictures of each").fill(str(count))
    sheet.get_by_role("button", name="Draw", exact=True).click()
    return done(sheet, count)


def test_thumbnails_are_few_at_once_and_give_way_to_a_person(browser, studio):
    held, ended, free = [], [], []

    def answer(route):  # none until the model is free
        route.fulfill(body=TINY_PNG, content_type="image/png") if free else held.append(route)

    def holding(page):
        page.route(THUMBNAILS, answer)
        page.on("requestfailed", lambda request: THUMBNAILS.search(request.url) and ended.append(request.url))

    with opened(browser, studio, holding) as page:
        sheet = page.get_by_role("tabpanel", name="Generate")
        page.wait_for_timeout(700)
        assert 1 <= len(held) <= 2  # of ten
        draw(page, sheet)
        assert len(ended) == len(held[:2]) == 2  # they were given up for it
        for _ in range(100):
            if len(held) == 4:
                break
            page.wait_for_timeout(100)
        assert len(held) == 4  # and are asked for again when it is there
        free.append(True)
        for route in held[2:]:
            answer(route)
        expect(sheet.locator(".class img[src]")).to_have_count(10)


def test_thumbnails_that_are_not_there_yet_are_asked_for_again(browser, studio):
    seen = {}

    def answer(route):
        number = seen[route.request.url] = seen.get(route.request.url, 0) + 1
        told = [{"status": 503, "headers": {"Retry-After": "1"}, "json": {"error": "not yet", "status": 503}},
                {"status": 202, "headers": {"Retry-After": "1"}, "body": ""}, {"body": TINY_PNG, "content_type": "image/png"}]  # fmt: skip
        route.fulfill(**told[min(number, 3) - 1])

    def answering(page):
        page.route(re.compile("/v1/classes/.*/[01].png"), answer)
        page.route("**/v1/classes/*/2.png", lambda route: route.fulfill(status=404, json={"error": "no such class", "status": 404}))

    with opened(browser, studio, answering) as page:
        sheet = page.get_by_role("tabpanel", name="Generate")
        for number in (0, 1, 3):
            expect(sheet.locator(f".class[data-number='{number}'] img[src]")).to_be_visible()
        assert sorted(seen.values()) == [3, 3]
        expect(sheet.locator(".class[data-number='2'] img[src]")).to_have_count(0)
        expect(sheet.get_by_role("alert")).to_have_count(0)


def test_a_picture_comes_before_the_thumbnails_of_a_slow_model(browser, pipelines):
    pipe = pipelines["fashion"]
    slow = Pipeline(pipe.tokenizer, pipe.prior, EntropyOrderedSpec(steps=49, evaluations=250), pipe.class_names)
    with serving({"slow": slow}, Limits(seconds=5)) as server, opened(browser, f"http://127.0.0.1:{server.port}") as page:
        sheet = page.get_by_role("tabpanel", name="Generate")
        page.wait_for_timeout(500)  # the thumbnails have begun
        sheet.get_by_text("More settings").click()
        sheet.get_by_label("Evaluations, number").fill("2")
        draw(page, sheet, 4)


def test_what_takes_longer_than_a_request_may_is_asked_for_in_halves(page):
    counts = []

    def answer(route):
        count = json.loads(route.request.post_data).get("count", 1)
        counts.append(count)
        if count > 2:
            route.fulfill(status=408, json={"error": "timeout: this took more than 10 seconds", "status": 408})
        else:
            route.continue_()

    page.route("**/v1/generate", answer)
    sheet = page.get_by_role("tabpanel", name="Generate")
    shots = draw(page, sheet, 5)
    assert counts == [5, 3, 2, 1, 2]
    expect(sheet.get_by_role("alert")).to_have_count(0)
    requests = [request_in(png(page, shots.nth(i))) for i in range(5)]
    assert [one["seed"] for one in requests] == [0, 1, 2, 3, 4]
    asked = page.evaluate("JSON.parse(atob(location.hash.slice(4).replace(/-/g, '+').replace(/_/g, '/')))")
    assert asked["count"] == 5  # the address asks for all
    page.unroute("**/v1/generate")
    page.route("**/v1/generate", lambda route: route.fulfill(status=408, json={"error": "timeout: too long", "status": 408}))
    sheet.get_by_role("button", name="Draw", exact=True).click()
    expect(sheet.get_by_role("alert")).to_contain_text("That took longer than the service allows.")  # one alone too


@pytest.mark.parametrize("count", [1, 5])
def test_all_panels_work_where_few_pictures_may_be_asked_for(browser, pipelines, count):
    with serving(pipelines, Limits(count=count)) as server, opened(browser, f"http://127.0.0.1:{server.port}") as page:
        for name, label in (("Generate", "Pictures of each"), ("Paint", "Answers"), ("Enrich", "Answers")):
            assert int(panel(page, name).get_by_label(label).input_value()) <= count
        draw(page, panel(page, "Generate"), count)
        blend = panel(page, "Blend")
        expect(blend.locator(".strip .view")).to_have_count(9)
        done_strip(blend)
        expect(blend.get_by_role("alert")).to_have_count(0)
        weights = [request_in(data)["weights"][0] for data in (png_of(page, blend, i) for i in (0, 4, 8))]
        assert weights == [[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]


def test_several_classes_are_drawn_where_the_service_has_room_for_one(browser, pipelines):
    with serving(pipelines, Limits(queue=4)) as server, opened(browser, f"http://127.0.0.1:{server.port}") as page:
        sheet = page.get_by_role("tabpanel", name="Generate")
        sheet.get_by_role("button", name="bag").click()
        sheet.get_by_role("button", name="coat").click()
        sheet.get_by_label("Pictures of each").fill("3")
        few_steps(sheet)
        sheet.get_by_role("button", name="Draw", exact=True).click()
        done(sheet, 9)
        expect(sheet.get_by_role("alert")).to_have_count(0)


def png_of(page, blend, i):
    """The file of a picture in the strip, out of the viewer."""
    blend.locator(".strip .view").nth(i).click()
    dialog = page.get_by_role("dialog", name="Picture")
    found = png(page, dialog)
    dialog.get_by_role("button", name="Close").click()
    return found
