"""Pictures of the studio's page, each panel as a person would have it after some work, in a real Chromium.

    bitmosaic studio --port 8420 &
    python benchmarks/studio_pictures.py --url http://127.0.0.1:8420 --out docs/pictures

Each is named studio-PANEL-WIDTH-COLOURS.png, and has at most 256 colours, so that it is small.
"""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Literal

import tyro
from PIL import Image

SIZES = {360: 800, 1440: 900, 3840: 2160}  # width and height of the window, pixels
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-sync"]
WAIT = 120_000  # milliseconds
STILL = "document.querySelectorAll('.dock').forEach((one) => { one.style.cssText = 'position: static; padding-inline: 0; border: 0'; })"
Colours = Literal["light", "dark"]


def main(
    url: str = "http://127.0.0.1:8420", out: Path = Path("docs/pictures"), widths: tuple[int, ...] = tuple(SIZES),
    colours: tuple[Colours, ...] = ("light", "dark"), whole: bool = False,
) -> None:  # fmt: skip
    """Writes the pictures of all five panels.

    Args:
        url: of a studio with the shipped pipeline.
        out: folder.
        widths: of the window, of 360, 1440 and 3840.
        colours: of the page.
        whole: the page to its end, as always at 360, not the window alone.
    """
    from playwright.sync_api import sync_playwright

    out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=QUIET)
        for width in widths:
            for colour in colours:
                context = browser.new_context(viewport={"width": width, "height": SIZES[width]}, color_scheme=colour)
                page = context.new_page()
                page.set_default_timeout(WAIT)
                page.goto(url)
                for name, work in PANELS.items():
                    page.get_by_role("tab", name=name).click()
                    work(page, page.get_by_role("tabpanel", name=name))
                    page.locator("[role=tabpanel]:not([hidden]) .class img:not([src])").first.wait_for(state="detached")  # thumbnails
                    page.wait_for_timeout(500)
                    if whole or width == 360:  # in a picture of all the page nothing may stick to the window's edge
                        page.evaluate(STILL)
                    file = out / f"studio-{name.split()[-1].lower()}-{width}-{colour}.png"
                    small(page.screenshot(full_page=whole or width == 360)).save(file, optimize=True)
                    print(f"{file}: {file.stat().st_size // 1000} kB")
                context.close()
        browser.close()


def small(data: bytes) -> Image.Image:
    """At most 256 colours."""
    return Image.open(io.BytesIO(data)).convert("RGB").quantize(256, dither=Image.Dither.NONE)


def generate(page, sheet) -> None:
    """Three classes, looked at in the middle of their steps."""
    for name in ("t-shirt", "coat", "sneaker", "ankle boot"):
        sheet.get_by_role("button", name=name).click()
    sheet.get_by_role("button", name="Draw", exact=True).click()
    done(sheet, 12)
    scrub = sheet.get_by_label("Step", exact=True)
    scrub.evaluate("one => { one.value = 7; one.dispatchEvent(new Event('input')); }")
    page.evaluate("scrollTo(0, 0)")


def paint(page, sheet) -> None:
    """A stroke across a test image, and four answers."""
    take(page, sheet, 0, "ankle boot")
    board = sheet.get_by_role("application")
    board.scroll_into_view_if_needed()
    box = board.bounding_box()
    page.mouse.move(box["x"] + 0.45 * box["width"], box["y"] + 0.35 * box["height"])
    page.mouse.down()
    for x, y in ((0.6, 0.35), (0.62, 0.5), (0.45, 0.6)):
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=6)
    page.mouse.up()
    page.mouse.move(box["x"] - 10, box["y"] + 3)
    sheet.get_by_role("button", name="Paint", exact=True).click()
    done(sheet, 4)
    page.evaluate("scrollTo(0, 0)")


def blend(page, sheet) -> None:
    """A point in a triangle."""
    for name in ("t-shirt", "trouser", "pullover", "dress", "bag"):  # the first two are chosen from the start
        sheet.get_by_role("button", name=name, exact=True).click()
    handle = sheet.get_by_role("button", name="Point of the blend")
    handle.focus()
    for key in ("ArrowLeft", "ArrowLeft", "ArrowDown"):
        page.keyboard.press(key)
    page.wait_for_timeout(600)
    sheet.locator(".go:not(.stop)").wait_for()
    sheet.locator(".strip .view").first.wait_for()
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")


def enrich(page, sheet) -> None:
    """One answer beside what it began with."""
    take(page, sheet, 2, "trouser")
    sheet.get_by_label("Repeats").fill("1")
    sheet.get_by_role("button", name="Enrich", exact=True).click()
    done(sheet, 3)
    page.evaluate("scrollTo(0, 0)")


def inside(page, sheet) -> None:
    """A bag with some flipped bits."""
    take(page, sheet, 18, "bag")
    sheet.get_by_role("button", name="Bit 3:").click()
    board = sheet.get_by_role("application")
    box = board.bounding_box()
    board.click(position={"x": 0.22 * box["width"], "y": 0.65 * box["height"]})
    sheet.get_by_text("21 of 980").wait_for()
    sheet.locator(".near .class").last.wait_for()
    page.wait_for_timeout(800)
    page.evaluate("scrollTo(0, 0)")


def take(page, sheet, number: int, name: str) -> None:
    sheet.get_by_role("button", name="Test images").click()
    page.get_by_role("button", name=f"Test image {number}: {name}").click()


def done(sheet, count: int) -> None:
    sheet.locator(".shot.done").nth(count - 1).wait_for()
    sheet.locator(".go:not(.stop)").wait_for()


PANELS = {"Generate": generate, "Paint": paint, "Blend": blend, "Enrich": enrich, "Look inside": inside}

if __name__ == "__main__":
    tyro.cli(main)
