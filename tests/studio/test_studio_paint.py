"""Paint, in a real Chromium: mouse paths, keys, boxes, pictures of other sizes; what is not painted over stays bit for bit."""

import base64
import io
import urllib.request

import numpy as np
import pytest
from PIL import Image
from quick import quick_pipeline
from studio_browser import (
    WAIT,
    done,
    drop,
    elsewhere,
    expect,
    few_answers,
    narrow,
    panel,
    paste,
    pixels,
    png,
    request_in,
    stroke,
    take,
    upload,
)


@pytest.fixture(scope="module")
def pipelines():
    """Not by the name of one that ships, for which no windows are offered."""
    return {"mine": quick_pipeline()}


def test_paint_repaints_what_a_mouse_path_covers_and_no_more(page, browser):
    sheet = panel(page, "Paint")
    take(page, sheet, 3)
    board = sheet.get_by_role("application")
    stroke(page, board, [(0.3, 0.3), (0.6, 0.35), (0.6, 0.6)])
    few_answers(sheet, 2)
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
    sheet.get_by_title("Change").click()
    sheet.get_by_role("button", name="Paint", exact=True).click()
    expect(sheet.get_by_text("Say what should be drawn there")).to_be_visible()
    sheet.get_by_role("button", name="sneaker").click()
    few_answers(sheet, 1)
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
    few_answers(sheet, 1)
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


def test_a_picture_stands_as_its_file_says(page):
    data, turned = io.BytesIO(), Image.Exif()
    turned[0x0112] = 6  # by a quarter to the right
    Image.radial_gradient("L").resize((60, 40)).save(data, "JPEG", exif=turned)
    sheet = panel(page, "Paint")
    upload(page, sheet, data.getvalue(), "turned.jpg", "image/jpeg")
    expect(page.get_by_role("heading", name="This picture is 40 × 60")).to_be_visible()
    page.get_by_role("button", name="Tile: keep its size").click()
    box = sheet.get_by_role("application").bounding_box()
    assert 0.6 < box["width"] / box["height"] < 0.73


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
    few_answers(sheet, 1)
    with page.expect_request("**/v1/inpaint") as sent:
        sheet.get_by_role("button", name="Paint", exact=True).click()
    mask = pixels(base64.b64decode(sent.value.post_data_json["mask"])) > 0
    found = pixels(png(page, done(sheet)))
    assert found.shape == mask.shape == (40, 60) and sent.value.post_data_json["fit"] == "tile"
    assert 150 < mask.sum() < 350 and (found == grey)[~mask].all() and (found != grey)[mask].any()


def watch_bar(page):
    """Keeps what the bar says, in shares of the whole."""
    page.evaluate("""() => {
        const bar = document.querySelector('#panel-paint progress');
        window.bar = [];
        new MutationObserver(() => bar.hasAttribute('value') && window.bar.push(bar.value / bar.max)).observe(bar, { attributes: true });
    }""")


@pytest.mark.parametrize("what", ["Extend", "Repaint"])
def test_while_it_is_drawn_all_of_the_canvas_is_seen_and_one_bar_rises(page, what):
    sheet = panel(page, "Paint")
    photo, rng = io.BytesIO(), np.random.default_rng(0)
    own = rng.integers(0, 256, (40, 60), np.uint8)
    Image.fromarray(own).save(photo, "PNG")
    drop(page, photo.getvalue())
    page.get_by_role("button", name="Tile: keep its size").click()
    known = np.ones((40, 60), bool)
    few_answers(sheet, 1)
    if what == "Extend":
        sheet.get_by_title("Extend").click()
        for side, value in (("Left", "6"), ("Top", "0"), ("Right", "9"), ("Bottom", "5")):
            sheet.get_by_label(f"{side}, pixels").fill(value)
        own, known = (np.pad(one, ((0, 5), (6, 9))) for one in (own, known))
    else:
        sheet.get_by_title("Box").click()
        stroke(page, sheet.get_by_role("application"), [(0.05, 0.1), (0.9, 0.8)])
    watch_bar(page)
    with page.expect_request(lambda request: request.method == "POST") as sent:
        sheet.get_by_role("button", name="Paint", exact=True).click()
    shot = done(sheet)
    if what == "Repaint":
        known = pixels(base64.b64decode(sent.value.post_data_json["mask"])) == 0
    bar = page.evaluate("bar")
    assert bar == sorted(bar) and bar[-1] == 1 and len(set(bar)) > 4  # it does not begin again with each window
    scrub, seen = sheet.get_by_label("Step", exact=True), []
    steps = int(scrub.get_attribute("max"))
    for step in range(1, steps):
        scrub.evaluate("(one, to) => { one.value = to; one.dispatchEvent(new Event('input')); }", step)
        page.wait_for_timeout(120)
        seen.append(shot.locator(".veil").evaluate("""one => {
            const { data } = one.getContext('2d').getImageData(0, 0, one.width, one.height);
            return [one.width, one.height, [...data].filter((_, i) => i % 4 === 0), [...data].filter((_, i) => i % 4 === 3)];
        }"""))
    assert steps > 4 and all(one[:2] == [own.shape[1], own.shape[0]] for one in seen)
    reds = [np.array(one[2]).reshape(own.shape) for one in seen]
    assert all((red[known] == own[known]).all() for red in reds) and all(min(one[3]) == 255 for one in seen)
    final = pixels(png(page, shot))
    right = [int((red == final)[~known].sum()) for red in reds]
    assert right[0] < right[len(right) // 2] < right[-1]  # more of it stands there with every window


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
