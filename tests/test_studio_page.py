"""The studio's page in a real Chromium, each panel used as a person would use it: mouse paths, keys, files, addresses."""

import base64
import io
import json
import re
import shutil
import urllib.request

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("playwright", reason="needs playwright: pip install -c constraints.txt -e '.[dev]'")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
if CHROMIUM is None:
    pytest.skip("needs Chromium; on Debian: apt-get install chromium", allow_module_level=True)

from playwright.sync_api import expect, sync_playwright  # noqa: E402
from studio_server import serving  # noqa: E402

from bitmosaic import Pipeline  # noqa: E402

QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-sync"]
WAIT = 60_000  # milliseconds, for busy machines
expect.set_options(timeout=WAIT)


@pytest.fixture(scope="module")
def pipelines():
    return {"fashion": Pipeline.from_pretrained("fashion")}


@pytest.fixture(scope="module")
def studio(pipelines):
    with serving(pipelines) as server:
        yield f"http://127.0.0.1:{server.port}"


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture
def page(browser, studio):
    """The page at 1440 pixels; a test fails if a script or the policy for foreign contents complained."""
    yield from opened(browser, studio)


def opened(browser, url, **options):
    context = browser.new_context(viewport={"width": 1440, "height": 900}, base_url=url.partition("#")[0], **options)
    page, wrong = context.new_page(), []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda told: told.type == "error" and "Failed to load" not in told.text and wrong.append(told.text))
    page.set_default_timeout(WAIT)
    page.goto(url)
    page.get_by_role("tab", name="Generate").wait_for()
    yield page
    context.close()
    assert not wrong


def panel(page, name):
    """Opens a panel by its tab."""
    page.get_by_role("tab", name=name).click()
    return page.get_by_role("tabpanel", name=name)


def few_steps(sheet, steps=2):
    """Asks for few steps, so that tests are quick."""
    sheet.get_by_label("Steps, number").fill(str(steps))


def take(page, sheet, number):
    """Takes a bundled test image."""
    sheet.get_by_role("button", name="Test images").click()
    page.get_by_role("button", name=f"Test image {number}:").click()


def done(sheet, count=1):
    """The pictures of a panel when all are there, in their order."""
    shots = sheet.locator(".shot.done")
    expect(shots).to_have_count(count)
    expect(sheet.locator(".go.stop")).to_have_count(0)
    return shots


def png(page, where):
    """The file that the first link to save a picture in a part of the page gives."""
    with page.expect_download() as saved:
        where.locator("a[download]").first.click()
    return saved.value.path().read_bytes()


def pixels(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("L"))


def request_in(data):
    return json.loads(Image.open(io.BytesIO(data)).text["Request"])


def drop(page, data, name="picture.png", kind="image/png"):
    """Drops a file on the page."""
    page.evaluate("""([text, name, type]) => {
        const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
        const dataTransfer = new DataTransfer();
        dataTransfer.items.add(new File([bytes], name, { type }));
        const about = { dataTransfer, bubbles: true, cancelable: true };
        for (const kind of ['dragenter', 'dragover', 'drop']) document.body.dispatchEvent(new DragEvent(kind, about));
    }""", [base64.b64encode(data).decode(), name, kind])


def elsewhere(browser, address, name, count=1, label=None):
    """The first picture, or that of a label, that another visitor's page makes of an address."""
    page = browser.new_context().new_page()
    page.goto(address)
    shots = done(page.get_by_role("tabpanel", name=name), count)
    made = png(page, page.locator(".shot", has=page.get_by_role("button", name=label)) if label else shots.first)
    page.context.close()
    return made


def paste(page, data):
    """Pastes a picture."""
    page.evaluate("""(text) => {
        const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
        const clipboardData = new DataTransfer();
        clipboardData.items.add(new File([bytes], 'image.png', { type: 'image/png' }));
        document.body.dispatchEvent(new ClipboardEvent('paste', { clipboardData, bubbles: true, cancelable: true }));
    }""", base64.b64encode(data).decode())


def narrow(page):
    """A phone's window, which nothing may be wider than."""
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def stroke(page, board, points):
    """A real mouse path over a board, through points in shares of its sides."""
    board.scroll_into_view_if_needed()
    box = board.bounding_box()
    path = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*path[0])
    page.mouse.down()
    for x, y in path[1:]:
        page.mouse.move(x, y, steps=5)
    page.mouse.up()


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


def test_paint_repaints_what_a_mouse_path_covers_and_no_more(page, browser):
    sheet = panel(page, "Paint")
    take(page, sheet, 3)
    board = sheet.get_by_role("application")
    stroke(page, board, [(0.3, 0.3), (0.6, 0.35), (0.6, 0.6)])
    sheet.get_by_label("Answers").fill("2")
    sheet.get_by_text("Settings", exact=True).click()
    few_steps(sheet)
    with page.expect_request("**/v1/inpaint") as sent:
        sheet.get_by_role("button", name="Paint", exact=True).click()
    mask = pixels(base64.b64decode(sent.value.post_data_json["mask"])) > 0
    assert mask[9, 9] and mask[14, 17] and not mask[:4].any() and 30 < mask.sum() < 250
    shots = done(sheet, 2)
    bits = [float(text.split()[0]) for text in shots.locator(".bits").all_inner_texts()]
    assert bits == sorted(bits)
    with urllib.request.urlopen(page.url.partition("#")[0] + "v1/bundled/3") as answer:
        own = pixels(answer.read())
    for i in range(2):
        found = pixels(png(page, shots.nth(i)))
        assert (found == own)[~mask].all() and (found != own)[mask].any()
    made = png(page, shots.first)
    assert elsewhere(browser, page.url, "Paint", 2) == made
    shots.first.get_by_role("button", name="Use this").click()
    sheet.get_by_role("button", name="Undo").click()  # the answer that was taken, and with the next one the stroke
    sheet.get_by_role("button", name="Undo").click()
    expect(sheet.get_by_role("button", name="Undo")).to_be_disabled()
    sheet.get_by_role("button", name="Paint", exact=True).click()
    expect(sheet.get_by_text("Nothing is painted over yet")).to_be_visible()
    drop(page, made)
    expect(sheet.get_by_text("the same picture, pixel for pixel")).to_be_visible(timeout=WAIT)


def test_paint_by_keys_box_and_eraser(page):
    sheet = panel(page, "Paint")
    take(page, sheet, 1)
    board = sheet.get_by_role("application")
    board.focus()
    for key in ("ArrowRight", "ArrowDown", " "):
        page.keyboard.press(key)
    expect(page.locator("#said")).to_have_text("Row 2, column 2: repainted")
    sheet.get_by_title("Box").click()
    stroke(page, board, [(0.51, 0.51), (0.98, 0.98)])
    sheet.get_by_title("Eraser").click()
    stroke(page, board, [(0.9, 0.9), (0.9, 0.9)])
    sheet.get_by_title("Change class").click()
    sheet.get_by_role("button", name="Paint", exact=True).click()
    expect(sheet.get_by_text("Choose the class")).to_be_visible()
    sheet.get_by_role("button", name="sneaker").click()
    sheet.get_by_label("Answers").fill("1")
    sheet.get_by_text("Settings", exact=True).click()
    few_steps(sheet)
    with page.expect_request("**/v1/edit") as sent:
        sheet.get_by_role("button", name="Paint", exact=True).click()
    mask = pixels(base64.b64decode(sent.value.post_data_json["mask"])) > 0
    assert mask[4:8, 4:8].all() and not mask[:4].any() and mask[15, 15] and not mask[25, 25]
    assert request_in(png(page, done(sheet)))["class"] == "sneaker"


def test_outpaint_and_a_picture_of_another_size(page):
    sheet = panel(page, "Paint")
    photo = io.BytesIO()
    Image.radial_gradient("L").resize((40, 32)).save(photo, "PNG")
    drop(page, photo.getvalue())
    page.get_by_role("button", name="Tile: keep its size").click()
    board = sheet.get_by_role("application")
    sheet.get_by_title("Box").click()
    stroke(page, board, [(0.1, 0.1), (0.4, 0.4)])
    sheet.get_by_label("Answers").fill("1")
    sheet.get_by_text("Settings", exact=True).click()
    few_steps(sheet)
    sheet.get_by_role("button", name="Paint", exact=True).click()
    assert pixels(png(page, done(sheet))).shape == (32, 40)
    paste(page, photo.getvalue())
    page.get_by_role("button", name="Crop: its centre").click()
    sheet.get_by_title("Extend").click()
    for side, value in (("Left", "4"), ("Top", "0"), ("Right", "4"), ("Bottom", "0")):
        sheet.get_by_label(f"{side}, pixels").fill(value)
    sheet.get_by_role("button", name="Paint", exact=True).click()
    assert pixels(png(page, done(sheet))).shape == (28, 36)
    narrow(page)


def test_a_large_picture_is_painted_in_windows_and_stays_as_the_board_shows_it(page):
    sheet = panel(page, "Paint")
    photo, rng = io.BytesIO(), np.random.default_rng(0)
    colours = Image.fromarray(rng.integers(0, 256, (40, 60, 3), np.uint8))
    colours.save(photo, "PNG")
    drop(page, photo.getvalue())
    page.get_by_role("button", name="Tile: keep its size").click()
    board = sheet.get_by_role("application")
    seen = board.locator("canvas").first.evaluate(
        "one => [...one.getContext('2d').getImageData(0, 0, one.width, one.height).data].filter((_, i) => i % 4 === 0)"
    )
    grey = np.asarray(colours.convert("L"))
    assert (np.array(seen).reshape(40, 60) == grey).all()  # the grey of the service, not that of CSS
    sheet.get_by_title("Box").click()
    stroke(page, board, [(0.3, 0.3), (0.6, 0.6)])
    sheet.get_by_label("Answers").fill("1")
    sheet.get_by_text("Settings", exact=True).click()
    few_steps(sheet)
    with page.expect_request("**/v1/inpaint") as sent:
        sheet.get_by_role("button", name="Paint", exact=True).click()
    mask = pixels(base64.b64decode(sent.value.post_data_json["mask"])) > 0
    found = pixels(png(page, done(sheet)))
    assert found.shape == mask.shape == (40, 60) and sent.value.post_data_json["fit"] == "tile"
    assert 150 < mask.sum() < 350 and (found == grey)[~mask].all() and (found != grey)[mask].any()


def test_undo_has_only_strokes_that_changed_the_mask(page):
    sheet = panel(page, "Paint")
    take(page, sheet, 1)
    board, undo = sheet.get_by_role("application"), sheet.get_by_role("button", name="Undo")
    sheet.get_by_title("Eraser").click()
    stroke(page, board, [(0.5, 0.5), (0.6, 0.6)])
    expect(undo).to_be_disabled()
    sheet.get_by_title("Brush").click()
    stroke(page, board, [(0.5, 0.5), (0.6, 0.6)])
    expect(undo).to_be_enabled()
    stroke(page, board, [(0.5, 0.5), (0.6, 0.6)])  # the same again
    box = board.bounding_box()
    page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 0.2 * box["height"])
    page.mouse.down()
    for kind in ("pointerdown", "pointermove", "pointerup"):  # another finger, far away
        at = {"clientX": box["x"] + 0.9 * box["width"], "clientY": box["y"] + 5}
        board.dispatch_event(kind, {"pointerId": 77, "pointerType": "touch", "bubbles": True, **at})
    page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 0.8 * box["height"], steps=4)
    page.mouse.up()
    tint = board.locator("canvas").nth(1)
    alpha = "one => [...one.getContext('2d').getImageData(0, 0, 28, 28).data].filter((_, i) => i % 4 === 3)"
    covered = np.array(tint.evaluate(alpha)).reshape(28, 28) > 100
    assert covered[21, 5] and not covered[:5, 20:].any()
    undo.click()
    undo.click()
    expect(undo).to_be_disabled()
    assert not np.array(tint.evaluate(alpha)).any()


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


def test_a_file_too_large_for_a_request_is_told_before_it_is_sent(page):
    sheet = panel(page, "Paint")
    sent = []
    page.on("request", lambda request: sent.append(request.method))
    with page.expect_file_chooser() as chosen:
        sheet.get_by_role("button", name="Upload").click()
    large = bytes(12_700_000)  # under the limit of 16 MiB, but not in base64
    chosen.value.set_files({"name": "large.png", "mimeType": "image/png", "buffer": large})
    expect(sheet.get_by_role("alert")).to_contain_text("This file has 12.7 MB; the service takes 12.5 MB.")
    assert "POST" not in sent
    assert page.locator("[aria-live] [role=alert]").count() == 0  # it would be read twice


def test_pictures_that_are_replaced_are_given_back(page):
    page.add_init_script("""
        window.kept = new Set();
        const [make, give] = [URL.createObjectURL, URL.revokeObjectURL];
        URL.createObjectURL = (blob) => { const url = make.call(URL, blob); kept.add(url); return url; };
        URL.revokeObjectURL = (url) => { kept.delete(url); give.call(URL, url); };
    """)
    page.reload()
    blend = panel(page, "Blend")
    blend.get_by_text("Settings", exact=True).click()
    few_steps(blend, 1)
    seen = []
    for seed in ("1", "2"):
        blend.get_by_label("Seed", exact=True).fill(seed)
        with page.expect_response(lambda response: "interpolate" in response.url and len(response.json()["images"]) == 9):
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


def fragment(request):
    """What an address ends with that makes a request's pictures."""
    return "#do=" + base64.urlsafe_b64encode(json.dumps(request).encode()).decode().rstrip("=")


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
    with page.expect_response("**/v1/interpolate"):
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


def done_strip(sheet):
    expect(sheet.locator(".go.stop")).to_have_count(0)
    expect(sheet.locator(".strip .view")).to_have_count(9)


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
    expect(sheet.get_by_text("Out of its 980 bits")).to_be_visible(timeout=WAIT)
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
        for page in opened(browser, f"{url}/#token=a-long-secret"):
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
