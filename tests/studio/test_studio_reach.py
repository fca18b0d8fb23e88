"""What must be within reach: on a phone, by keys alone, in forced colours, with many pipelines, and by Back and Forward."""

import pytest
from cover import covered
from studio_browser import done, done_strip, drop, expect, few_answers, few_steps, fragment, narrow, opened, panel, png, stroke, take
from studio_server import serving

from bitmosaic import Pipeline

PANELS = ("Generate", "Paint", "Blend", "Enrich", "Look inside")
LONG = "a-pipeline-of-a-very-long-name-2026-11-27-with-no-blank-in-it-at-all"
WITHIN = "one => { const box = one.getBoundingClientRect(); return box.top >= 0 && box.bottom <= innerHeight && box.height > 0; }"


@pytest.fixture(scope="module")
def many(pipelines):
    """The address of a studio of five pipelines; one has other classes, but for one, and one has no name in common."""
    pipe = pipelines["fashion"]

    def with_classes(*names):
        return Pipeline(pipe.tokenizer, pipe.prior, pipe.sampler, names)

    flowers = with_classes("rose", "bag", *(f"flower {i}" for i in range(8)))
    birds = with_classes(*(f"bird {i}" for i in range(10)))
    with serving({"fashion": pipe, LONG: flowers, "birds": birds, "d": pipe, "e": pipe}) as server:
        yield f"http://127.0.0.1:{server.port}"


def work(page, name, sheet):
    """Makes something in a panel, so that there is all that may be there."""
    if name in ("Paint", "Enrich", "Look inside"):
        take(page, sheet, 3)
    if name == "Generate":
        few_steps(sheet)
        sheet.get_by_role("button", name="Draw", exact=True).click()
        done(sheet, 4)
    elif name == "Paint":
        sheet.get_by_role("application").focus()
        page.keyboard.press(" ")
        few_answers(sheet, 2)
        sheet.get_by_role("button", name="Paint", exact=True).click()
        done(sheet, 2)
    elif name == "Blend":
        done_strip(sheet)
    elif name == "Enrich":
        sheet.get_by_label("Repeats").fill("1")
        few_answers(sheet, 1)
        sheet.get_by_role("button", name="Enrich", exact=True).click()
        done(sheet)
    else:
        expect(sheet.locator(".near .class")).to_have_count(16)


def test_on_a_phone_the_button_and_the_answers_are_in_view_after_painting(page):
    page.set_viewport_size({"width": 360, "height": 740})
    sheet = panel(page, "Paint")
    take(page, sheet, 3)
    few_answers(sheet, 4)
    stroke(page, sheet.get_by_role("application"), [(0.3, 0.3), (0.6, 0.35), (0.6, 0.6)])
    button = sheet.get_by_role("button", name="Paint", exact=True)
    assert button.evaluate(WITHIN)
    button.click(timeout=1000)
    shots = done(sheet, 4)
    for i in range(2):
        expect(shots.nth(i).locator(".view")).to_be_in_viewport(ratio=0.9)
    assert button.evaluate(WITHIN)
    page.evaluate("scrollTo(0, 1e6)")
    clear = "document.querySelector('.foot a').getBoundingClientRect().bottom < innerHeight - 60"
    assert page.evaluate(clear)  # the button lies over nothing that could not be scrolled from under it
    page.set_viewport_size({"width": 1440, "height": 900})
    page.mouse.wheel(0, 5000)
    expect(button).to_be_in_viewport(ratio=1)


@pytest.mark.parametrize("name", PANELS)
def test_nothing_is_wider_than_a_phone(page, name):
    sheet = panel(page, name)
    work(page, name, sheet)
    for width in (360, 320):
        page.set_viewport_size({"width": width, "height": 640})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        outside = """() => [...document.querySelectorAll('.top *, [role=tabpanel]:not([hidden]) :is(button, input, select, canvas, p, h3)')]
            .filter((one) => one.checkVisibility() && !one.closest('.strip, .unseen'))
            .filter((one) => { const box = one.getBoundingClientRect(); return box.right > innerWidth + 1 || box.left < -1; })
            .map((one) => one.outerHTML.slice(0, 90))"""
        assert page.evaluate(outside) == []


def test_the_header_has_room_for_pipelines_of_long_names(browser, many):
    parts = """() => {
        const all = [...document.querySelectorAll('.brand, .tabs button, .tools > :not(.unseen)')];
        const boxes = all.map((one) => one.getBoundingClientRect());
        const out = boxes.some((a) => a.right > innerWidth + 0.5 || a.left < 0) || document.documentElement.scrollWidth > innerWidth;
        const over = (a, b) => a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1;
        return out || boxes.some((a, i) => boxes.some((b, j) => j > i && over(a, b)));
    }"""
    with opened(browser, many) as page:
        chooser = page.get_by_label("Pipeline", exact=True)
        expect(chooser.locator("option")).to_have_count(5)
        for name in (LONG, "d"):
            chooser.select_option(label=name)
            for width in (320, 360, 412, 640, 768, 960, 1000, 1280, 1920, 3840):
                page.set_viewport_size({"width": width, "height": 700})
                assert not page.evaluate(parts), (name, width)
                assert chooser.bounding_box()["width"] >= 100


FOCUS = """() => {
    let one = document.activeElement;
    if (one === document.body) return null;
    const name = one.getAttribute('aria-label') ?? one.textContent;
    if (one.matches('.bar input')) one = one.nextElementSibling;
    const box = one.getBoundingClientRect();
    const points = [0.1, 0.5, 0.9].flatMap((x) => [0.1, 0.5, 0.9].map((y) => [box.left + x * box.width, box.top + y * box.height]));
    const under = ([x, y]) => y < 0 || y >= innerHeight || document.elementFromPoint(x, y)?.closest('.dock, .status, .banner');
    const hidden = points.filter(under);
    return { name, hidden: one.closest('.dock') ? 0 : hidden.length, high: box.height > innerHeight / 2 };
}"""


SIZES = [(360, 740), (1440, 900), (1024, 500), (320, 256)]


@pytest.mark.parametrize("size, name", covered(SIZES, PANELS, ways=1))
def test_the_focus_is_never_behind_what_sticks_to_the_edges(page, name, size):
    sheet = panel(page, name)
    work(page, name, sheet)
    page.set_viewport_size(dict(zip(("width", "height"), size, strict=True)))
    for key in ("Tab", "Shift+Tab"):
        page.evaluate("scrollTo(0, 0); document.querySelector('.skip').focus()")
        seen = 0
        for _ in range(70):
            page.keyboard.press(key)
            found = page.evaluate(FOCUS)
            if found is None or found["name"] == "Skip to the panel":
                break
            seen += 1
            assert not found["hidden"] or found["high"], (key, found)
        assert seen > 20


@pytest.mark.parametrize("width", [360, 1440])
def test_dialogs_begin_with_what_is_chosen_in_them(page, width):
    page.set_viewport_size({"width": width, "height": 740})
    sheet = panel(page, "Paint")
    opener = sheet.get_by_role("button", name="Test images")
    opener.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Test images")
    expect(dialog.get_by_role("button", name="Test image 0:")).to_be_focused()
    assert dialog.evaluate("one => one.scrollTop") == 0
    page.keyboard.press("Tab")
    expect(dialog.get_by_role("button", name="Test image 1:")).to_be_focused()
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(opener).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    expect(sheet.get_by_role("application")).to_be_visible()


def test_forced_colours_show_what_is_chosen(browser, studio):
    colours = "one => { const own = getComputedStyle(one); return [own.backgroundColor, own.borderTopColor, own.color].join(); }"

    def differ(chosen, other):
        assert chosen.evaluate(colours) != other.evaluate(colours)

    with opened(browser, studio, forced_colors="active", reduced_motion="reduce") as page:
        for name in ("Paint", "Blend", "Look inside"):
            sheet = panel(page, name)
            differ(page.get_by_role("tab", name=name), page.get_by_role("tab", name="Generate"))
            if name != "Paint":
                work(page, name, sheet)
            if name != "Look inside":
                differ(sheet.locator(".class[aria-pressed=true]").first, sheet.locator(".class[aria-pressed=false]").first)
            if name == "Paint":
                differ(sheet.locator(".bar input:checked + span").first, sheet.locator(".bar input:not(:checked) + span").first)
            if name == "Blend":
                differ(sheet.locator(".strip .here"), sheet.locator(".strip span:not(.here)").first)
            if name == "Look inside":
                differ(sheet.locator(".bits button[aria-pressed=true]").first, sheet.locator(".bits button[aria-pressed=false]").first)
        narrow(page)
        button = page.locator(".pairview .quiet").last  # whose border shows in forced colours alone
        assert button.evaluate("one => parseFloat(getComputedStyle(one).paddingLeft)") >= 4
        track = "getComputedStyle(document.querySelector('input[type=range]'), '::-webkit-slider-runnable-track').backgroundColor"
        assert page.evaluate(track) != page.evaluate("getComputedStyle(document.body).backgroundColor")


def shown(page):
    return page.locator("[role=tab][aria-selected=true]").inner_text()


def test_back_and_forward_go_through_the_panels(page, studio):
    for name in (*PANELS[1:], "Generate", "Paint"):
        panel(page, name)
    panel(page, "Paint")  # it is there already
    walked = [shown(page)]
    for _ in range(6):
        page.go_back()
        walked.append(shown(page))
    assert walked == ["Paint", "Generate", *PANELS[:0:-1], "Generate"] and page.url == f"{studio}/"
    page.go_forward()
    assert shown(page) == "Paint" and page.url.endswith("#panel=paint")
    page.reload()
    page.get_by_role("tabpanel", name="Paint").wait_for()
    page.go_back()
    expect(page.get_by_role("tabpanel", name="Generate")).to_be_visible()
    page.go_forward()
    expect(page.get_by_role("tabpanel", name="Paint")).to_be_visible()


def test_back_finds_a_panel_as_it_was_left_and_makes_its_picture_again_after_a_reload(page, studio):
    sheet = page.get_by_role("tabpanel", name="Generate")
    few_steps(sheet)
    sheet.get_by_label("Pictures of each").fill("1")
    sheet.get_by_role("button", name="Draw", exact=True).click()
    made, address = png(page, done(sheet)), page.url
    asked = []
    page.on("request", lambda request: request.method == "POST" and asked.append(request.url))
    paint = panel(page, "Paint")
    take(page, paint, 3)
    stroke(page, paint.get_by_role("application"), [(0.3, 0.3), (0.6, 0.6)])
    paint.get_by_role("button", name="Test images").click()
    page.go_back()
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(done(sheet)).to_have_count(1)
    assert page.url == address and not asked
    page.go_forward()
    expect(paint.get_by_role("button", name="Undo")).to_be_enabled()
    page.reload()
    paint.wait_for()
    page.go_back()
    assert png(page, done(sheet)) == made and page.url == address


def test_addresses_and_saved_pictures_are_states_too(page, studio):
    sheet = page.get_by_role("tabpanel", name="Generate")
    request = {"job": "enrich", "image": "fashion:2", "repeats": 1, "count": 1, "settings": {"steps": 1}}
    page.goto(f"{studio}/{fragment(request)}")
    enrich = page.get_by_role("tabpanel", name="Enrich")
    done(enrich)
    page.evaluate("location.hash = '#panel=inside'")
    expect(page.get_by_role("tabpanel", name="Look inside")).to_be_visible()
    page.evaluate("location.hash = '#panel=nothing'")
    expect(sheet).to_be_visible()
    page.go_back()
    expect(page.get_by_role("tabpanel", name="Look inside")).to_be_visible()
    page.go_back()
    done(enrich)
    made = png(page, enrich)
    panel(page, "Blend")
    drop(page, made)
    expect(enrich.get_by_text("the same picture, pixel for pixel")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("tabpanel", name="Blend")).to_be_visible()
    page.keyboard.press("Tab")
    page.evaluate("document.querySelector('.skip').focus()")
    page.keyboard.press("Enter")
    assert page.url.partition("#")[2].startswith(("do=", "panel=blend"))  # the way past the header changes no address


def test_back_chooses_the_pipeline_of_the_picture_that_it_comes_to(browser, many):
    with opened(browser, many) as page:
        chooser, sheet = page.get_by_label("Pipeline", exact=True), page.get_by_role("tabpanel", name="Generate")
        for name in ("d", "birds"):
            settings = {"steps": 1, "evaluations": 1}
            page.goto(f"{many}/{fragment({'job': 'generate', 'class': 1, 'seed': 3, 'count': 1, 'pipeline': name, 'settings': settings})}")
            done(sheet)
        page.go_back()
        expect(chooser.locator("option:checked")).to_have_text("d")
        done(sheet)
        page.go_forward()
        expect(chooser.locator("option:checked")).to_have_text("birds")


def test_another_pipeline_keeps_classes_of_the_same_name_and_says_which_it_has_not(browser, many):
    with opened(browser, many) as page:
        chooser = page.get_by_label("Pipeline", exact=True)
        sheet = page.get_by_role("tabpanel", name="Generate")
        few_steps(sheet)
        sheet.get_by_label("Pictures of each").fill("1")

        def chosen():
            return [one.strip() for one in sheet.locator(".class[aria-pressed=true]").all_inner_texts()]

        def drawn():
            with page.expect_request("**/v1/generate") as sent:
                sheet.get_by_role("button", name="Draw", exact=True).click()
            done(sheet)
            return sent.value.post_data_json["class"]

        note = sheet.locator(".lost")
        sheet.get_by_role("button", name="t-shirt").click()
        sheet.get_by_role("button", name="bag").click()
        chooser.select_option(label="d")
        assert chosen() == ["bag"] and not note.is_visible()
        chooser.select_option(label=LONG)  # where it has another number
        assert chosen() == ["bag"] and drawn() == "bag" and not note.is_visible()
        chooser.select_option(label="birds")
        expect(note).to_have_text("The pipeline birds has no class “bag”. Chosen now: “bird 0”.")
        assert chosen() == ["bird 0"] and drawn() == "bird 0"
        sheet.get_by_role("button", name="bird 0", exact=True).click()
        expect(sheet.get_by_text("none: any class")).to_be_visible()  # a person chose that
        assert not note.is_visible() and drawn() is None
        paint = panel(page, "Paint")
        paint.get_by_role("button", name="bird 3").click()
        blend = panel(page, "Blend")
        done_strip(blend)
        chooser.select_option(label="fashion")
        expect(blend.locator(".lost")).to_have_text(
            "The pipeline fashion has no class “bird 0”, “bird 1”. Chosen now: “t-shirt”, “trouser”."
        )
        expect(blend.get_by_text("From t-shirt to trouser")).to_be_visible()  # it draws anew, since what is there is another pipeline's
        done_strip(blend)
        panel(page, "Paint")
        expect(paint.locator(".lost")).to_have_text("The pipeline fashion has no class “bird 3”. Chosen now: “any”.")
        page.goto(f"{many}/{fragment({'job': 'generate', 'class': 'zebra', 'settings': {'steps': 1}})}")
        expect(note).to_have_text("The pipeline fashion has no class “zebra”. Chosen now: “t-shirt”.")
