"""The studio's page in a real Chromium, for tests: what a person does with a mouse, keys, files and addresses."""

import base64
import io
import json
import shutil
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("playwright", reason="needs playwright: pip install -c constraints.txt -e '.[dev]'")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
if CHROMIUM is None:
    pytest.skip("needs Chromium; on Debian: apt-get install chromium", allow_module_level=True)

from playwright.sync_api import expect, sync_playwright  # noqa: E402

QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-sync"]
WAIT = 60_000  # milliseconds, for busy machines
expect.set_options(timeout=WAIT)


@contextmanager
def chromium():
    """A browser without a window, until the block ends."""
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        browser.close()


@contextmanager
def opened(browser, url, before=None, **options):
    """The page at 1440 pixels, after `before(page)`; at the end it fails if a script, or the policy for foreign contents, complained."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, base_url=url.partition("#")[0], **options)
    page, wrong = context.new_page(), []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda told: told.type == "error" and "Failed to load" not in told.text and wrong.append(told.text))
    page.set_default_timeout(WAIT)
    if before is not None:
        before(page)
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


def few_answers(sheet, count=1):
    """Asks for few answers of few steps, where the settings are folded in."""
    sheet.get_by_label("Answers").fill(str(count))
    sheet.get_by_text("Settings", exact=True).click()
    few_steps(sheet)


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


def done_strip(sheet):
    expect(sheet.locator(".go.stop")).to_have_count(0)
    expect(sheet.locator(".strip .view")).to_have_count(9)


def png(page, where):
    """The file that the first link to save a picture in a part of the page gives."""
    with page.expect_download() as saved:
        where.locator("a[download]").first.click()
    return saved.value.path().read_bytes()


def pixels(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("L"))


def request_in(data):
    return json.loads(Image.open(io.BytesIO(data)).text["Request"])


def fragment(request):
    """What an address ends with that makes a request's pictures."""
    return "#do=" + base64.urlsafe_b64encode(json.dumps(request).encode()).decode().rstrip("=")


def drop(page, data, name="picture.png", kind="image/png"):
    """Drops a file on the page."""
    page.evaluate("""([text, name, type]) => {
        const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
        const dataTransfer = new DataTransfer();
        dataTransfer.items.add(new File([bytes], name, { type }));
        const about = { dataTransfer, bubbles: true, cancelable: true };
        for (const kind of ['dragenter', 'dragover', 'drop']) document.body.dispatchEvent(new DragEvent(kind, about));
    }""", [base64.b64encode(data).decode(), name, kind])


def paste(page, data, name="image.png", kind="image/png"):
    """Pastes a file."""
    page.evaluate("""([text, name, type]) => {
        const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
        const clipboardData = new DataTransfer();
        clipboardData.items.add(new File([bytes], name, { type }));
        document.body.dispatchEvent(new ClipboardEvent('paste', { clipboardData, bubbles: true, cancelable: true }));
    }""", [base64.b64encode(data).decode(), name, kind])


def upload(page, sheet, data, name="picture.png", kind="image/png"):
    """Chooses a file by the panel's button."""
    with page.expect_file_chooser() as chosen:
        sheet.get_by_role("button", name="Upload").click()
    chosen.value.set_files({"name": name, "mimeType": kind, "buffer": data})


def elsewhere(browser, address, name, count=1, label=None):
    """The first picture, or that of a label, that another visitor's page makes of an address."""
    page = browser.new_context().new_page()
    page.goto(address)
    shots = done(page.get_by_role("tabpanel", name=name), count)
    made = png(page, page.locator(".shot", has=page.get_by_role("button", name=label)) if label else shots.first)
    page.context.close()
    return made


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
