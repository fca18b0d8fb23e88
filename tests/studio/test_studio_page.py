"""The studio's page in a real Chromium, each panel used as a person would use it; Paint has a module of its own."""

import re
import urllib.request

from studio_browser import (
    WAIT,
    done,
    done_strip,
    drop,
    elsewhere,
    expect,
    few_steps,
    fragment,
    narrow,
    opened,
    panel,
    png,
    request_in,
    take,
)
from studio_server import serving


def test_generate_shows_steps_and_comes_back_from_png_and_address(page, browser):
    sheet = page.get_by_role("tabpanel", name="Generate")
    few_steps(sheet, 3)
    sheet.get_by_role("button", name="bag").click()
    sheet.get_by_label("Pictures of each").fill("2")
    sheet.get_by_label("Seed", exact=True).fill("5")
    page.keyboard.press("Enter")
    shots = done(sheet, 4)
    scrub = sheet.get_by_label("Step", exact=True)
    expect(scrub).to_have_value("3")
    scrub.focus()
    page.keyboard.press("Home")
    expect(shots.first.locator(".state")).to_contain_text("hidden")
    page.keyboard.press("End")
    expect(shots.first.locator(".state")).to_contain_text("order")
    bag = sheet.locator(".shot", has=page.get_by_role("button", name="Look at bag, seed 6"))
    made = png(page, bag)
    asked = request_in(made)
    assert (asked["job"], asked["class"], asked["seed"]) == ("generate", "bag", 6)
    address = page.url
    drop(page, made)
    expect(sheet.get_by_text("the same picture, pixel for pixel")).to_be_visible(timeout=WAIT)
    assert sheet.get_by_label("Seed", exact=True).input_value() == "6"
    assert sheet.get_by_role("button", name="t-shirt").get_attribute("aria-pressed") == "false"
    assert elsewhere(browser, address, "Generate", 4, "Look at bag, seed 6") == made


def test_stop_ends_a_drawing_at_once(page):
    sheet = page.get_by_role("tabpanel", name="Generate")
    few_steps(sheet, 60)
    sheet.get_by_label("Pictures of each").fill("16")
    sheet.get_by_role("button", name="Draw", exact=True).click()
    sheet.get_by_text(re.compile(r"Step \d+ of")).wait_for()  # not the first alone, which may be gone before it is looked for
    sheet.get_by_role("button", name="Stop").click()
    expect(sheet.get_by_text("Stopped.")).to_be_visible()
    expect(sheet.get_by_role("button", name="Draw", exact=True)).to_be_visible()
    assert sheet.locator(".shot.done").count() == 0


def test_blends_with_no_class_and_with_numbers_come_back(page, studio):
    sheet = page.get_by_role("tabpanel", name="Blend")
    few = {"steps": 1}
    for asked, words, way in (
        ({"job": "interpolate", "classes": [None, 8], "weights": [[0.25, 0.75]]}, "25 % any class, 75 % bag", "any class to bag"),
        ({"job": "generate", "class": {"8": 0.5, "3": 0.5}}, "50 % dress, 50 % bag", "dress to bag"),
        ({"job": "generate", "class": {"none": 0.4, "bag": 0.6}}, "40 % any class, 60 % bag", "any class to bag"),
    ):
        page.goto(f"{studio}/{fragment({**asked, 'seed': 2, 'settings': few})}")
        expect(sheet.get_by_text(f"From {way}")).to_be_visible()
        expect(sheet.locator(".lead")).to_have_text(words)
        done_strip(sheet)
        expect(sheet.get_by_role("alert")).to_have_count(0)
        made = png(page, sheet.locator(".hero"))
        drop(page, made)
        expect(sheet.get_by_text("the same picture, pixel for pixel")).to_be_visible(timeout=WAIT)
        expect(sheet.locator(".lead")).to_have_text(words)
        done_strip(sheet)


def test_an_address_with_a_job_that_is_none_says_so(page, studio):
    for job in ("constructor", "dance"):
        page.goto(f"{studio}/{fragment({'job': job})}")
        expect(page.get_by_role("alert")).to_contain_text(f"“{job}” is no job of the studio")


def test_what_was_wrong_with_an_address_is_told_of_that_address_alone(page, studio):
    alert = page.locator("main").get_by_role("alert").filter(has_text="cut off or broken")
    for leave in (lambda: page.go_back(), lambda: page.goto(f"{studio}/#panel=enrich")):
        page.goto(f"{studio}/#panel=paint")
        page.goto(f"{studio}/#do=broken")
        expect(alert).to_have_count(1)
        leave()
        expect(alert).to_have_count(0)


def test_a_hidden_panel_leaves_the_address_alone(page):
    sheet = page.get_by_role("tabpanel", name="Generate")
    few_steps(sheet)
    sheet.get_by_label("Pictures of each").fill("1")
    held = []
    page.route("**/v1/generate", lambda route: held.append(route))
    with page.expect_request("**/v1/generate"):
        sheet.get_by_role("button", name="Draw", exact=True).click()
    panel(page, "Look inside")
    held[0].continue_()
    done(page.locator("#panel-generate"))  # a role is not found while it is hidden
    assert page.url.endswith("#panel=inside")
    panel(page, "Generate")
    assert "#do=" in page.url


def test_pictures_that_are_replaced_are_given_back(page):
    page.add_init_script("""
        window.kept = new Set();
        const [make, give] = [URL.createObjectURL, URL.revokeObjectURL];
        URL.createObjectURL = (blob) => { const url = make.call(URL, blob); kept.add(url); return url; };
        URL.revokeObjectURL = (url) => { kept.delete(url); give.call(URL, url); };
    """)
    page.reload()
    expect(page.get_by_role("tabpanel", name="Generate").locator(".class img[src]")).to_have_count(10)  # else thumbnails come between
    blend = panel(page, "Blend")
    blend.get_by_text("Settings", exact=True).click()
    few_steps(blend, 1)
    seen = []

    def of_the_strip(answer):  # a slider's own answer has one picture; asked by what was sent, since an answer given up has no body
        rows = (answer.request.post_data_json or {}).get("weights") if "/v1/interpolate" in answer.url else None
        return rows is not None and len(rows) == 9

    for seed in ("1", "2"):
        blend.get_by_label("Seed", exact=True).fill(seed)
        with page.expect_response(of_the_strip):
            page.keyboard.press("Enter")
        done_strip(blend)
        seen.append(page.evaluate("kept.size"))
    assert seen[0] == seen[1]
    inside, seen = panel(page, "Look inside"), []
    for _ in range(2):
        with page.expect_response("**/v1/encode"):
            take(page, inside, 7)
        expect(inside.locator(".go.stop")).to_have_count(0)
        expect(inside.locator(".near .class")).to_have_count(16)
        seen.append(page.evaluate("kept.size"))
    assert seen[0] == seen[1]


def test_blend_follows_slider_triangle_and_sliders(page):
    sheet = panel(page, "Blend")
    sheet.get_by_text("Settings", exact=True).click()
    few_steps(sheet)
    slider = sheet.get_by_label("From t-shirt to trouser")
    slider.focus()
    with page.expect_request("**/v1/interpolate"):
        page.keyboard.press("End")
    expect(sheet.get_by_text("0 % t-shirt, 100 % trouser")).to_be_visible()
    sheet.get_by_role("button", name="bag").click()
    handle = sheet.get_by_role("button", name="Point of the blend")
    handle.focus()
    page.keyboard.press("ArrowUp")
    box = sheet.locator(".triangle").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + box["height"] * 0.87, steps=8)

    def of_the_last_move(answer):  # others, of moves before, may still come
        rows = (answer.request.post_data_json or {}).get("weights") if "/v1/interpolate" in answer.url else None
        return rows is not None and len(rows) == 1 and len(rows[0]) == 3 and rows[0][2] > 0.8

    with page.expect_response(of_the_last_move):
        page.mouse.up()
    done_strip(sheet)
    share = sheet.locator(".lead").inner_text().split(", ")[2]
    assert share.endswith("bag") and int(share.split()[0]) > 80
    made = png(page, sheet.locator(".hero"))
    narrow(page)
    with page.expect_file_chooser() as chosen:
        page.get_by_role("button", name="Open a saved picture").click()
    chosen.value.set_files({"name": "blend.png", "mimeType": "image/png", "buffer": made})
    expect(sheet.get_by_text("the same picture, pixel for pixel")).to_be_visible(timeout=WAIT)
    sheet.get_by_role("button", name="coat").click()
    expect(sheet.locator(".pad input[type=range]")).to_have_count(4)


def test_enrich_wipes_between_before_and_after(page, browser):
    sheet = panel(page, "Enrich")
    with urllib.request.urlopen(page.url.partition("#")[0] + "v1/bundled/2") as answer, page.expect_file_chooser() as chosen:
        sheet.get_by_role("button", name="Upload").click()
        chosen.value.set_files({"name": "trouser.png", "mimeType": "image/png", "buffer": answer.read()})
    sheet.get_by_label("Answers").fill("1")
    sheet.get_by_label("Repeats").fill("1")
    sheet.get_by_text("Settings", exact=True).click()
    few_steps(sheet, 1)
    sheet.get_by_role("button", name="Enrich", exact=True).click()
    made = png(page, done(sheet))
    assert elsewhere(browser, page.url, "Enrich") == made  # the address holds the file that was uploaded
    drop(page, made)
    expect(sheet.get_by_text("the same picture, pixel for pixel")).to_be_visible(timeout=WAIT)
    wipe = sheet.get_by_label("Wipe between before and after")
    box = wipe.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + box["height"] / 2, steps=4)
    page.mouse.up()
    assert 5 < int(wipe.input_value()) < 35
    assert sheet.locator(".wipe .after").evaluate("one => one.style.clipPath").startswith("inset(0")
    narrow(page)


def test_inside_flips_bits_and_finds_neighbours(page):
    sheet = panel(page, "Look inside")
    take(page, sheet, 7)
    expect(sheet.get_by_text("Decoded from its 980 bits")).to_be_visible(timeout=WAIT)
    expect(sheet.locator(".planes canvas")).to_have_count(20)
    with page.expect_response("**/v1/decode"):
        sheet.get_by_role("button", name="Bit 3:").click()
    expect(sheet.get_by_text("1 of 980 bits flipped")).to_be_visible()
    with page.expect_response("**/v1/decode"):
        sheet.locator(".planes canvas").first.click(position={"x": 5, "y": 5})
    expect(sheet.get_by_text("2 of 980 bits flipped")).to_be_visible()
    board = sheet.get_by_role("application")
    box = board.bounding_box()
    with page.expect_response("**/v1/decode"):
        board.click(position={"x": box["width"] * 0.9, "y": box["height"] * 0.1})
    expect(sheet.get_by_text("22 of 980 bits flipped")).to_be_visible()
    board.focus()
    page.keyboard.press(" ")
    expect(sheet.get_by_text("2 of 980 bits flipped")).to_be_visible()
    expect(sheet.locator(".near .class")).to_have_count(16)
    expect(sheet.get_by_text("This picture is one of them, test image 7, and left out.")).to_be_visible()
    assert "0 bits" not in sheet.locator(".near .bits").all_inner_texts()  # it is not its own neighbour
    sheet.get_by_role("button", name="Look at it, save it").click()
    made = png(page, page.locator("dialog"))
    narrow(page)
    page.get_by_role("button", name="Close").click()
    drop(page, made)
    expect(sheet.get_by_text("the same picture, pixel for pixel")).to_be_visible(timeout=WAIT)


def test_tabs_by_arrows_colours_and_no_sideways_scrolling(page):
    page.get_by_role("tab", name="Generate").focus()
    for name in ("Paint", "Blend", "Enrich", "Look inside", "Generate"):
        page.keyboard.press("ArrowRight")
        expect(page.get_by_role("tab", name=name)).to_be_focused()
        expect(page.get_by_role("tabpanel", name=name)).to_be_visible()
    paper = "getComputedStyle(document.body).backgroundColor"
    switch, found = page.get_by_role("button", name="Colours"), set()
    for _ in range(3):
        switch.click()
        found.add(page.evaluate(paper))
    assert len(found) == 2
    for name in ("Generate", "Paint", "Blend", "Enrich", "Look inside"):
        panel(page, name)
        narrow(page)


def test_errors_are_told_where_they_arise(page, studio):
    sheet = page.get_by_role("tabpanel", name="Generate")
    sheet.get_by_label("Pictures of each").fill("1000")
    sheet.get_by_role("button", name="Draw", exact=True).click()
    expect(sheet.get_by_role("alert")).to_contain_text("Pictures of each: give a whole number from 1 to 64")
    sheet.get_by_label("Pictures of each").fill("1")
    few_steps(sheet)
    busy = [True]

    def answer(route):
        if busy.pop() if busy else False:
            route.fulfill(status=429, headers={"Retry-After": "2"}, json={"error": "256 images are waited for", "status": 429})
        else:
            route.continue_()

    page.route("**/v1/generate", answer)
    sheet.get_by_role("button", name="Draw", exact=True).click()
    expect(sheet.get_by_text("Tries again in 2 seconds.")).to_be_visible()
    expect(sheet.get_by_role("button", name="Try now")).to_be_visible()
    done(sheet)  # by itself
    page.unroute("**/v1/generate")
    page.route("**/v1/generate", lambda route: route.abort())
    sheet.get_by_role("button", name="Draw", exact=True).click()
    expect(sheet.get_by_role("alert")).to_be_visible()
    expect(page.locator("#banner")).to_be_visible()
    page.unroute("**/v1/generate")
    sheet.get_by_role("button", name="Try again").click()
    done(sheet)
    page.goto(f"{studio}/#do=broken")
    page.reload()
    expect(page.get_by_text("The address is cut off or broken")).to_be_visible()


def test_token_is_taken_from_the_address_or_asked_for(browser, pipelines):
    with serving(pipelines, token="a-long-secret") as server:
        url = f"http://127.0.0.1:{server.port}"
        with opened(browser, f"{url}/#token=a-long-secret") as page:
            assert "secret" not in page.url
            expect(page.locator(".class img[src]").first).to_be_visible()
            page.evaluate("sessionStorage.setItem('bitmosaic-token', 'wrong')")
            page.goto(f"{url}/")
            page.reload()
            page.get_by_label("Token").fill("a-long-secret")
            page.keyboard.press("Enter")
            expect(page.get_by_role("tab", name="Paint")).to_be_visible()
            page.evaluate("sessionStorage.clear()")
            page.reload()
            page.get_by_label("Token").wait_for()
            page.evaluate("location.hash = '#token=a-long-secret&panel=paint'")  # pasted while the page asks for it
            expect(page.get_by_role("tabpanel", name="Paint")).to_be_visible()
            assert page.url == f"{url}/#panel=paint"
            page.evaluate("location.hash = '#token=another'")  # and while it works
            expect(page.get_by_text("was refused")).to_be_visible()
            assert "another" not in page.url
