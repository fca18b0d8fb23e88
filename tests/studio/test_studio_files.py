"""What is no picture, or too much of one, given to every panel that takes pictures: the page says which formats and sizes it reads."""

import base64
import functools
import io
import zlib

import numpy as np
import pytest
from PIL import Image
from studio_browser import drop, expect, fragment, opened, panel, paste, upload
from studio_server import Limits, serving

from bitmosaic import Pipeline
from bitmosaic.images import read_image

READS = "The studio reads PNG, JPEG, WebP, GIF and BMP of at most 12.5 MB and 4.19 million pixels."
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="28" height="28"><rect width="9" height="9"/></svg>'
PANELS = ("Paint", "Enrich", "Look inside")


@functools.cache
def large():
    """A PNG of a hundred million pixels and few bytes."""
    data = io.BytesIO()
    Image.new("1", (10_000, 10_000)).save(data, "PNG")
    return data.getvalue()


@functools.cache
def photo(kind="PNG"):
    data = io.BytesIO()
    Image.radial_gradient("L").resize((28, 28)).save(data, kind)
    return data.getvalue()


def damaged():
    """A PNG whose pixels are no deflated stream."""
    whole = photo()
    at = whole.index(b"IDAT") + 4
    size = int.from_bytes(whole[at - 8 : at - 4], "big")
    body = b"IDAT" + bytes(size)
    return whole[: at - 4] + body + zlib.crc32(body).to_bytes(4, "big") + whole[at + size + 4 :]


FILES = {
    "svg": (lambda: SVG, "drawing.svg", "image/svg+xml", "is no picture of a kind that can be read here"),
    "svg called png": (lambda: SVG, "drawing.png", "image/png", "is no picture of a kind that can be read here"),
    "text": (lambda: b"no picture\n", "notes.txt", "text/plain", "is no picture of a kind that can be read here"),
    "no type": (lambda: b"\0\0\0\x18ftypheic" + bytes(99), "IMG_1.HEIC", "", "is no picture of a kind that can be read here"),
    "tiff": (lambda: photo("TIFF"), "scan.tif", "image/tiff", "is no picture of a kind that can be read here"),
    "empty": (lambda: b"", "empty.png", "image/png", "is empty"),
    "large": (large, "wall.png", "image/png", "has 10000 × 10000 pixels, 100 million"),
    "heavy": (lambda: b"BM" + bytes(12_700_000), "heavy.bmp", "image/bmp", "has 12.8 MB"),
    "damaged": (damaged, "damaged.png", "image/png", "cannot be shown by the browser; it may be damaged"),
    "cut": (lambda: photo()[:30], "cut.png", "image/png", "cannot be shown by the browser; it may be damaged"),
}


@pytest.mark.parametrize("name", PANELS)
def test_what_is_no_picture_is_told_with_what_is_read(page, name):
    sheet, posted = panel(page, name), []
    page.on("request", lambda request: request.method == "POST" and posted.append(request.url))
    alarm = sheet.get_by_role("alert")
    for about, (make, file, kind, words) in FILES.items():
        data = make()
        for way in (upload, drop, paste) if about in ("svg", "text", "empty") else (upload,):
            upload(page, sheet, data, file, kind) if way is upload else way(page, data, file, kind)
            expect(alarm).to_contain_text(f"“{file}” {words}. {READS}")
            expect(alarm.get_by_role("button")).to_have_count(0)  # it would be no other picture the next time
            assert page.locator("[aria-live] [role=alert]").count() == 0  # it would be read twice
    assert not posted
    upload(page, sheet, photo(), "good.png")
    expect(sheet.locator("div.empty")).to_be_hidden()
    expect(alarm).to_have_count(0)


def test_a_saved_picture_that_is_none_and_pictures_in_addresses(page, studio):
    sheet = panel(page, "Paint")
    with page.expect_file_chooser() as chosen:
        page.get_by_role("button", name="Open a saved picture").click()
    chosen.value.set_files({"name": "drawing.svg", "mimeType": "image/svg+xml", "buffer": SVG})
    expect(sheet.get_by_role("alert")).to_contain_text(f"“drawing.svg” is no picture of a kind that can be read here. {READS}")
    for job in ("inpaint", "enrich", "outpaint"):
        for image, words in (
            ("?!", "The picture is cut off or broken, so nothing could be read out of it."), (None, "The picture is cut off or broken"),
            (base64.b64encode(SVG).decode(), f"“The picture” is no picture of a kind that can be read here. {READS}"),
            ("fashion:99999", "there is no fashion:99999"),
        ):  # fmt: skip
            page.goto(f"{studio}/{fragment({'job': job, 'image': image, 'mask': {'box': [0, 0, 9, 9]}, 'padding': 4})}")
            expect(page.get_by_role("alert").filter(has_text=words)).to_be_visible()
            assert "NaN" not in page.locator("main").inner_text()


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "GIF", "BMP"])
def test_every_format_that_is_named_is_read(page, kind):
    sheet = panel(page, "Enrich")
    upload(page, sheet, photo(kind), f"photo.{kind.lower()}", f"image/{kind.lower()}")
    expect(sheet.locator(".wipe")).to_be_visible()
    expect(sheet.get_by_role("alert")).to_have_count(0)


@pytest.mark.parametrize("name", PANELS)
def test_pictures_of_another_size_or_in_colour_are_asked_about(page, name):
    sheet, data = panel(page, name), io.BytesIO()
    coloured = Image.merge("RGB", [Image.radial_gradient("L").resize((28, 28)), *Image.new("RGB", (28, 28), (0, 90, 200)).split()[1:]])
    coloured.save(data, "PNG")
    grey = io.BytesIO()
    Image.merge("RGB", [Image.open(io.BytesIO(photo()))] * 3).save(grey, "PNG")
    upload(page, sheet, data.getvalue(), "coloured.png")
    expect(page.get_by_role("heading", name="This picture is 28 × 28, in colour")).to_be_visible()
    page.get_by_role("button", name="Take another picture").click()
    expect(sheet.locator("div.empty")).to_be_visible()
    upload(page, sheet, data.getvalue(), "coloured.png")
    page.get_by_role("button", name="Use it in grey").click()
    expect(sheet.locator("div.empty")).to_be_hidden()
    upload(page, sheet, grey.getvalue(), "grey.png")  # three channels and no colour
    expect(page.get_by_role("dialog")).to_have_count(0)
    large = io.BytesIO()
    coloured.resize((60, 40)).save(large, "PNG")
    upload(page, sheet, large.getvalue(), "large.png")
    expect(page.get_by_role("heading", name="This picture is 60 × 40, in colour")).to_be_visible()
    expect(page.get_by_role("button", name="Tile")).to_have_count(0)  # the pipeline that ships knows whole things alone
    page.get_by_role("button", name="Crop: its centre").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(sheet.get_by_role("alert")).to_have_count(0)


def test_transparent_pictures_lie_on_what_the_pipeline_lays_them_on(browser, pipelines):
    pipe, data = pipelines["fashion"], io.BytesIO()
    dark = Pipeline(pipe.tokenizer, pipe.prior, pipe.sampler, pipe.class_names, background="black")
    light = Pipeline(pipe.tokenizer, pipe.prior, pipe.sampler, pipe.class_names, background="#ffffff")
    picture = Image.open(io.BytesIO(photo())).convert("RGBA")
    picture.putalpha(Image.linear_gradient("L").resize((28, 28)))
    picture.save(data, "PNG")
    with serving({"dark": dark, "light": light}) as server, opened(browser, f"http://127.0.0.1:{server.port}") as page:
        assert [one["background"] for one in server.ask("/v1/pipelines").json["pipelines"]] == ["#000000", "#ffffff"]
        sheet = panel(page, "Paint")
        for name, pipe in (("dark", dark), ("light", light)):
            page.get_by_label("Pipeline", exact=True).select_option(label=name)
            upload(page, sheet, data.getvalue())
            read = "one => [...one.getContext('2d').getImageData(0, 0, 28, 28).data].filter((_, i) => i % 4 === 0)"
            board = sheet.get_by_role("application")
            board.wait_for()
            seen = np.array(board.locator("canvas").first.evaluate(read)).reshape(28, 28)
            wanted = read_image(data.getvalue(), None, 1, pipe.background)[0].numpy()
            assert np.abs(seen.astype(int) - wanted).max() <= 1  # of 255: browsers round transparency in another way


def test_small_limits_are_told_as_they_are(browser, pipelines):
    with serving(pipelines, Limits(bytes=20_000, pixels=900)) as server, opened(browser, f"http://127.0.0.1:{server.port}") as page:
        sheet = panel(page, "Look inside")
        upload(page, sheet, photo() + bytes(20_000), "fat.png")
        expect(sheet.get_by_role("alert")).to_contain_text("“fat.png” has 21 kB. ")
        expect(sheet.get_by_role("alert")).to_contain_text("of at most 14 kB and 900 pixels.")
