"""Prompts in the studio: over HTTP, and a field on the page in place of classes, which keys and screen readers reach."""

import json

import numpy as np
import pytest
import torch
from studio_browser import WAIT, done, drop, elsewhere, expect, few_steps, narrow, opened, panel, png, request_in
from studio_server import serving

from bitmosaic import Pipeline
from bitmosaic.conditions import ClassConditionSpec, NoConditionSpec, TextConditionSpec
from bitmosaic.priors import MaskedPriorSpec
from bitmosaic.samplers import EntropyOrderedSpec
from bitmosaic.tokenizers.binary_autoencoder import BinaryAutoencoderSpec


def untrained(condition, names=()):
    torch.manual_seed(0)
    tokenizer = BinaryAutoencoderSpec((16, 16), 3, 4, 8, (1, 1), embedding=8, groups=4, attention_sizes=(8,)).build()
    prior = MaskedPriorSpec((8, 8), 4, condition=condition).build()
    prior.condition.learn(["red heart", "blue heart"])
    with torch.no_grad():
        for p in prior.parameters():
            p.add_(torch.randn(p.shape) * 0.2)  # so that a prompt makes a difference
    return Pipeline(tokenizer, prior, EntropyOrderedSpec(steps=2, evaluations=2), names)


@pytest.fixture(scope="module")
def pipelines():
    return {
        "words": untrained(TextConditionSpec(merges=8)), "two": untrained(ClassConditionSpec(2), ("bag", "coat")),
        "nothing": untrained(NoConditionSpec()),
    }  # fmt: skip


@pytest.fixture(scope="module")
def server(pipelines):
    with serving(pipelines) as server:
        yield server


@pytest.fixture(scope="module")
def studio(server):
    return f"http://127.0.0.1:{server.port}"


def test_a_prompt_over_http_draws_what_it_draws_in_python(server, pipelines):
    kinds = {one["name"]: one["condition"] for one in server.ask("/v1/pipelines").json["pipelines"]}
    assert kinds == {"words": "text", "two": "class", "nothing": "none"}
    made = server.made("generate", {"prompt": "a red heart", "seed": 3, "count": 2})
    assert all(map(np.array_equal, made, pipelines["words"]("a red heart", [3, 4], output_type="np")))
    assert not np.array_equal(made[0], server.made("generate", {"prompt": "日本", "seed": 3})[0])
    answer = server.ask("/v1/generate", {"prompt": "a red heart", "seed": 3}).json["images"][0]
    assert answer["prompt"] == "a red heart" and answer["class"] is None
    picture = server.ask("/v1/generate", {"prompt": "a red heart", "seed": 3}, accept="image/png").data
    assert request_in(picture) == {"job": "generate", "pipeline": "words", "prompt": "a red heart", "seed": 3}
    edit = {"image": answer["image"], "mask": {"box": [0, 0, 8, 16]}, "prompt": "blue heart"}
    for job in ("inpaint", "edit"):
        painted = server.made(job, edit)[0]
        assert np.array_equal(painted[:, 8:], made[0][:, 8:])
    assert len(server.made("generate", {"class": None, "pipeline": "words"})) == 1
    assert np.array_equal(*(server.made("generate", {"pipeline": "two", **told})[0] for told in ({"prompt": "bag"}, {"class": "bag"})))


@pytest.mark.parametrize("job, body, told", [
    ("generate", {"prompt": "a red heart", "pipeline": "two"}, 'prompt: no class "a red heart", and this pipeline knows no text'),
    ("generate", {"prompt": "a red heart", "pipeline": "nothing"}, "trained without classes or captions"),
    ("generate", {"class": "bag"}, 'class: got "bag"; this pipeline takes text: give a prompt'),
    ("generate", {"prompt": "x", "class": "bag", "pipeline": "two"}, "class, prompt: both are given; give one of the two"),
    ("generate", {"prompt": ""}, "prompt: "), ("generate", {"prompt": "x" * 2001}, "prompt: "), ("generate", {"prompt": 3}, "prompt: "),
    ("interpolate", {"classes": ["a", "b"]}, "takes text"),
])  # fmt: skip
def test_prompts_that_do_not_fit_are_refused(server, job, body, told):
    answer = server.ask(f"/v1/{job}", body)
    assert answer.status == 422 and told in answer.json["error"], answer.data


def test_requests_with_prompts_are_drawn_in_one_batch_as_alone(server, pipelines):
    from concurrent.futures import ThreadPoolExecutor

    prompts = ["red heart", "blue heart", "", "日本", "red heart and more words than fit into eight tokens"]
    with ThreadPoolExecutor(5) as pool:
        made = list(pool.map(lambda text: server.made("generate", {**({"prompt": text} if text else {}), "seed": 1})[0], prompts))
    for text, image in zip(prompts, made, strict=True):
        assert np.array_equal(image, pipelines["words"](text or None, 1, output_type="np")[0])


def test_a_prompt_on_the_page_stands_in_its_address_and_png(page, browser):
    sheet = page.get_by_role("tabpanel", name="Generate")
    few_steps(sheet, 2)
    field = sheet.get_by_role("textbox", name="Prompt")
    expect(sheet.get_by_role("group", name="Classes")).to_be_hidden()
    sheet.get_by_label("Pictures of each").fill("2")
    field.focus()
    page.keyboard.type("a red heart")
    expect(field).to_have_accessible_description("In words like those of the captions that it learned from.")
    page.keyboard.press("Enter")
    done(sheet, 2)
    shown = page.get_by_role("button", name="Look at “a red heart”, seed 1")
    made = png(page, sheet.locator(".shot", has=shown))
    assert request_in(made)["prompt"] == "a red heart" and "class" not in request_in(made)
    address = page.url
    field.fill("")
    drop(page, made)
    expect(sheet.get_by_text("the same picture, pixel for pixel")).to_be_visible(timeout=WAIT)
    assert field.input_value() == "a red heart"
    assert elsewhere(browser, address, "Generate", 2, "Look at “a red heart”, seed 1") == made


def test_the_page_asks_each_pipeline_what_it_knows(page):
    for name, words, classes in (("two", False, True), ("nothing", False, False), ("words", True, False)):
        page.get_by_label("Pipeline", exact=True).select_option(label=name)
        for kind in ("Generate", "Paint", "Enrich"):
            sheet = panel(page, kind)
            assert sheet.get_by_role("textbox", name="Prompt").is_visible() == words
            assert sheet.get_by_role("group", name="Classes" if kind == "Generate" else "As", exact=True).is_visible() == classes
            assert sheet.get_by_text("This pipeline was trained without classes or captions.").is_visible() == (name == "nothing")


def test_the_prompt_is_within_a_phone_and_shows_in_forced_colours(browser, studio):
    with opened(browser, studio, forced_colors="active") as page:
        narrow(page)
        field = page.get_by_role("tabpanel", name="Generate").get_by_role("textbox", name="Prompt")
        field.fill("a very long prompt " * 20)
        box = field.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 360 and box["height"] >= 40
        style = field.evaluate("one => { const own = getComputedStyle(one); return [own.borderTopWidth, own.borderTopStyle]; }")
        assert float(style[0][:-2]) >= 1 and style[1] == "solid"
        field.press("Tab")
        page.keyboard.press("Shift+Tab")
        assert field.evaluate("one => getComputedStyle(one).outlineStyle") != "none", "no focus is seen"


def test_the_document_of_the_service_knows_prompts(server):
    document = server.ask("/openapi.json").json
    for job in ("generate", "inpaint", "edit", "outpaint", "enrich"):
        assert "prompt" in json.dumps(document["paths"][f"/v1/{job}"]) or "prompt" in json.dumps(document["components"])
