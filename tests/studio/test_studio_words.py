"""What the studio tells clients of their mistakes, in the words of HTTP and JSON; base64, forms and headers as programs send them."""

import base64
import gzip
import io
import json
import re

import numpy as np
import pytest
from PIL import Image
from quick import quick_pipeline
from studio_server import Limits, serving
from test_studio import form, png

from bitmosaic.web import requests, words
from bitmosaic.web.limits import RequestError
from bitmosaic.web.openapi import document
from bitmosaic.web.pictures import decoded

FEW = {"settings": {"steps": 1, "evaluations": 1}}
IMAGE = {"image": "fashion:1"}
MASKED = {**IMAGE, "mask": {"box": [0, 0, 9, 9]}, **FEW}
MANY = "x" * 201
WRONG = {  # job -> (what is asked, what is told)
    "generate": [
        ([], 'body: got []; give a JSON object'), (None, "body: got null; give a JSON object"),
        ({"class": True}, "class: got true; give name or number, a blend {class: weight}, or null for no class"),
        ({"class": {"bag": "x"}}, 'class.bag: got "x"; give a number'), ({"class": {}}, "class: got weights {}; give weights"),
        ({"class": {"none": 2, "bag": 0.5}}, 'class: got weights {"none": 2.0, "bag": 0.5}; give weights that are at least 0 and sum to 1'),
        ({"class": "nobody"}, 'class: no class "nobody"; classes are 0 t-shirt'), ({"class": 10}, "class: no class 10;"),
        ({"class": {"no one's": 1}}, 'class: no class "no one\'s"'), ({"class": MANY}, 'class: got "xxx'),
        ({"count": True}, "count: got true; give a whole number"), ({"count": None}, "count: got null; give a whole number"),
        ({"count": 0}, "count: got 0; give at least 1"), ({"count": "1"}, 'count: got "1"; give a whole number'),
        ({"seed": 1.5}, "seed: got 1.5; give a whole number"), ({"seed": 2**53}, "seed: got 9007199254740992; give less than"),
        ({"seed": int("9" * 4000)}, "seed: got 999"), ({"format": None}, 'format: got null; give "png" or "webp"'),
        ({"entropy": 1}, "entropy: got 1; give true or false"), ({"timeout": 0}, "timeout: got 0; give more than 0"),
        ({"pipeline": "x"}, 'pipeline: there is no "x"; give "fashion"'), ({"pipeline": 1}, "pipeline: got 1; give text"),
        ({"settings": None}, "settings: got null; give a JSON object"),
        ({"settings": {"x": 1}}, "settings.x: there is no such field; settings takes sampler, guidance_scale"),
        ({"settings": {"steps": True}}, "settings.steps: got true; give a whole number"),
        ({"settings": {"guidance_scale": 1e7}}, "settings.guidance_scale: got 10000000.0; give at most 1000000"),
        ({"settings": {"sampler": "x"}}, 'settings.sampler: got "x"; give "entropy-ordered", "marginals-first"'),
        ({"settings": {"shortlist": 1}}, 'settings.shortlist: the sampler "entropy-ordered" has no setting shortlist; it has evaluations'),
        ({"settings": {"sampler": "raster", "steps": 1}}, 'settings.steps: the sampler "raster" has no setting steps; it has evaluations'),
        ({"settings": {"sampler": "marginals-first", "shortlist": -3}}, "settings.shortlist: got -3; give at least 1"),
        ({"class_": 1}, "class_: there is no such field; generate takes pipeline, timeout, format, settings, entropy, class, prompt, seed"),
    ],
    "inpaint": [
        (IMAGE, "mask: is missing; inpaint takes"), ({**MASKED, "image": None}, "image: got null; give text"),
        ({**MASKED, "mask": {}}, "mask: got {}; give what is repainted: a picture of the image's size (white), a box, or places"),
        ({**MASKED, "mask": {"box": [1, 2, 3]}}, "mask.box: got [1, 2, 3]; give left, top, right, bottom"),
        ({**MASKED, "mask": {"box": [True, 0, 1, 1]}}, "mask.box[0]: got true; give a whole number"),
        ({**MASKED, "mask": {"places": [[0, 0], [0, None]]}}, "mask.places[1][1]: got null; give a whole number"),
        ({**MASKED, "mask": {"box": [0, 0, 9, 9], "places": [[0, 0]]}}, 'mask: got {"box": [0, 0, 9, 9], "places": [[0, 0]]}; give what'),
        ({**MASKED, "mask": {"box": [0, 0, 29, 28]}}, "mask: got the box [0, 0, 29, 28] for 28 x 28 pixels"),
        ({**MASKED, "mask": {"places": [[7, 7]]}}, "mask: got place [7, 7]; rows are 0 to 6"),
        ({**MASKED, "mask": "@"}, 'mask: got text that is no base64, with "@" at 0; give a picture\'s file in base64, a box, or places'),
        ({**MASKED, "fit": True}, 'fit: got true; give "exact", "crop" or "tile"'),
        ({**MASKED, "feather": None}, "feather: got null; give"),
    ],
    "edit": [
        ({**MASKED}, "class: got null; name the class to paint inside the mask, or give a prompt"),
        ({**MASKED, "class": None}, "class: got null; name the class to paint inside the mask"),
        ({**MASKED, "class": "none"}, 'class: got "none"; name'), ({**MASKED, "class": {"none": 1}}, 'class: got {"none": 1.0}; name'),
    ],
    "outpaint": [
        ({**IMAGE, "padding": 0}, "padding: got 0; give pixels for all sides, or [left, top, right, bottom], not negative, not all 0"),
        ({**IMAGE, "padding": [0, 0, 0, 0]}, "padding: got [0, 0, 0, 0]; give"),
        ({**IMAGE, "padding": True}, "padding: got true; give pixels: one number, or left, top, right, bottom"),
        ({**IMAGE, "padding": [1, 2, 3, "x"]}, 'padding[3]: got "x"; give a whole number'),
    ],
    "interpolate": [
        ({"classes": ["bag", "nobody"]}, 'classes[1]: no class "nobody"'), ({"classes": ["bag", True]}, "classes[1]: got true; give"),
        ({"classes": ["bag"]}, 'classes: got ["bag"]; give at least 2'),
        ({"classes": ["bag", 1], "weights": [[True, False]]}, "weights[0][0]: got true; give a number"),
        ({"classes": ["bag", 1], "weights": [[0.4, 0.4]]}, "weights: got [0.4, 0.4]; give 2 in each row"),
    ],
    "enrich": [({**IMAGE, "shrink": 29}, "shrink: got 29; give a whole number from 1 to 28"),
    ({**IMAGE, "repeats": 17}, "repeats: got 17")],
    "encode": [({}, "image: is missing; encode takes"), ({"image": "fashion:x"}, 'image: got "fashion:x"; give fashion:0 to fashion:9999')],
    "decode": [({"codes": [None]}, "codes[0]: got null; give text"), ({"codes": "@"}, 'codes: got text that is no base64, with "@" at 0;')],
    "features": [
        ({**IMAGE, "pool": 99}, "pool: got 99; want "), ({**IMAGE, "layer": True}, "layer: got true; give a whole number"),
        ({**IMAGE, "pool": "x"}, 'pool: got "x"; give'),
    ],
    "neighbours": [({**IMAGE, "by": None}, 'by: got null; give "codes" or "features"'),
    ({**IMAGE, "count": 101}, "count: got 101; give at")],
}  # fmt: skip
PYTHON = re.compile(r"\bTrue\b|\bFalse\b|\bNone\b|(?<!\w)'[^']*'(?!\w)|Spec\b|condition|\bint\b|\bstr\b|\bdict\b|\blist\[|\(\d+, ")


@pytest.fixture(scope="module")
def server():
    with serving({"fashion": quick_pipeline()}) as server:
        yield server


@pytest.mark.parametrize("job", WRONG)
def test_what_is_wrong_is_told_in_words_of_the_request(server, job):
    for body, wanted in WRONG[job]:
        answer = server.ask(f"/v1/{job}", json.dumps(body).encode())
        told = answer.json["error"]
        assert 400 <= answer.status < 500 and told.startswith(wanted), told
        assert not PYTHON.search(told.replace("an image's", "")), told
        assert "; " in told and "\n" not in told and len(told) < 400


def test_in_a_stream_too(server):
    told = server.ask("/v1/interpolate", {"classes": ["bag", "nobody"], **FEW}, "text/event-stream").data.decode()
    assert told.startswith("event: error") and json.loads(told.partition("data: ")[2])["error"].startswith('classes[1]: no class "nobody"')


def test_a_class_may_be_none_in_a_way(server):
    asked = {"classes": ["bag", "none"], "frames": 2, "seed": 3, **FEW}
    named, null = (server.made("interpolate", {**asked, "classes": ["bag", none]}) for none in ("none", None))
    assert all(np.array_equal(a, b) for a, b in zip(named, null, strict=True))


def test_words_of_the_library():
    told = {
        "condition: no class \"it's\"; x": 'class: no class "it\'s"; x',
        "seeds: got -1; want whole numbers": "seed: got -1; want whole numbers",
        "settings: budget: got None; want a number": "settings.budget: got null; want a number",
        "settings: guidance_scale 1 must be within 1e6": "settings: guidance_scale 1 must be within 1e6",
        "sampler: this prior; use the sampler 'raster'": 'settings.sampler: this prior; use the sampler "raster"',
        "mask: got the box (0, -1, 2.5, 3) for 28 x 28 pixels": "mask: got the box [0, -1, 2.5, 3] for 28 x 28 pixels",
        "x: a picture's file, not 'True' or True": 'x: a picture\'s file, not "True" or true', "two\n lines": "two lines",
    }  # fmt: skip
    assert {text: words.of_library(ValueError(text)) for text in told} == told


def test_values_are_shown_as_json_and_short():
    assert [words.shown(x) for x in (True, None, "é\n", float("inf"), 10**5000)] == [
        "true", "null", '"é\\n"', "Infinity", "a number of very many digits",
    ]  # fmt: skip
    assert words.shown("\ud800") == '"\\ud800"' and len(words.shown("x" * 1000)) == 80


PICTURE = png(Image.fromarray(np.arange(784, dtype=np.uint8).reshape(28, 28)))
PLAIN = base64.b64encode(PICTURE).decode()
URL_SAFE = base64.urlsafe_b64encode(PICTURE).decode()
TEXTS = {
    "as it is": PLAIN, "lines of 76": base64.encodebytes(PICTURE).decode(),
    "lines of a letter": PLAIN[:100] + "\r\n" + PLAIN[100:] + "\r\n",
    "blanks": f"  {PLAIN[:9]} \t{PLAIN[9:]} ",
    "URL-safe": URL_SAFE, "without an end": PLAIN.rstrip("="), "URL-safe and cut": URL_SAFE.rstrip("="),
    "data:": f"data:image/png;base64,{PLAIN}", "DATA:": f"DATA:image/png;charset=utf-8;BASE64,{PLAIN}",
    "data: of nothing": f"data:;base64,{PLAIN}",
    "data: in per cents": f"data:image/png;base64,{PLAIN.replace('+', '%2B').replace('/', '%2F').replace('=', '%3D')}",
    "data: in lines": f"data:image/png;base64,\n{base64.encodebytes(PICTURE).decode()}",
}  # fmt: skip


@pytest.mark.parametrize("way", TEXTS)
def test_base64_as_programs_write_it(way):
    assert decoded(TEXTS[way], "image") == PICTURE


@pytest.mark.parametrize(
    "text, told",
    [
        ("data:image/svg+xml;utf8,<svg/>", "a data: URL that is not in base64"), ("data:,AAAA", "not in base64"),
        ("data:AAAA", "not in base64"),
        ("AAA*", 'with "*" at 3'), ("AA=A", 'with "=" at 2'), ("AAAAA", "is cut off"), ("\u0660AAA", "with"),
        ("http://x/a.png", 'with ":" at 4'),
    ],
)  # fmt: skip
def test_what_is_no_base64_is_refused_clearly(text, told):
    with pytest.raises(RequestError, match=re.escape(told)) as refused:
        decoded(text, "image")
    assert refused.value.status == 422 and "give a picture's file in base64" in refused.value.message


def test_line_breaks_over_http(server):
    asked = [
        server.ask("/v1/encode", {"image": TEXTS[way]}).json for way in ("as it is", "lines of 76", "URL-safe and cut", "data: in lines")
    ]
    assert all(one == asked[0] for one in asked) and asked[0]["codes"]
    wrapped = base64.encodebytes(base64.b64decode(asked[0]["codes"])).decode()
    made = [server.made("decode", {"codes": codes})[0] for codes in (wrapped, asked[0]["codes"])]
    assert np.array_equal(*made)


@pytest.mark.parametrize("coding", ["gzip", "GZIP", "deflate", "br", "identity, gzip"])
def test_a_compressed_body_is_refused_and_not_taken_for_another(server, coding):
    body = gzip.compress(b'{"class": "bag"}')
    answer = server.ask("/v1/generate", body, headers={"Content-Encoding": coding})
    assert answer.status == 415 and answer.headers["accept-encoding"] == "identity", answer.data
    assert answer.json["error"].startswith(f'content-encoding: got "{coding.lower()}"; send the body as it is')


def test_a_body_as_it_is_may_say_so(server):
    assert server.ask("/v1/generate", FEW, headers={"Content-Encoding": "identity"}).status == 200


def test_a_part_that_is_coded_is_refused(server):
    head = "--b\r\nContent-Disposition: form-data; name=image; filename=a\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    data = head.encode() + PLAIN.encode() + b"\r\n--b--\r\n"
    answer = server.ask("/v1/encode", data, headers={"Content-Type": "multipart/form-data; boundary=b"})
    assert answer.status == 415 and "send the part image as it is" in answer.json["error"]


def test_what_stands_behind_the_address_is_not_ignored(server):
    answer = server.ask("/v1/generate?count=4", FEW)
    assert answer.status == 422 and answer.json["error"] == 'query: got "count=4"; leave it out: all fields go into the body'


FILE, BOX = ("a.png", PICTURE), {"mask": {"box": [0, 0, 9, 9]}}
FORMS = {  # job -> parts, and whether that is right
    "encode": [({"image": FILE}, True), ({"image": FILE, "request": {}}, True), ({}, False), ({"request": {}}, False),
               ({"image": FILE, "mask": FILE}, False), ({"image": FILE, "other": {}}, False),
               ({"image": FILE, "request": {"seed": 1}}, False)],
    "inpaint": [({"image": FILE, "request": {**BOX, **FEW}}, True), ({"image": FILE, "mask": FILE, "request": FEW}, True),
    ({"image": FILE}, False),
                ({"image": FILE, "mask": FILE, "request": BOX}, False), ({"mask": FILE, "request": FEW}, False),
                ({"image": FILE, "request": FEW}, False)],
    "edit": [({"image": FILE, "mask": FILE, "request": {"class": 1, **FEW}}, True), ({"image": FILE, "mask": FILE}, False),
             ({"image": FILE, "request": {"class": 1, **BOX, **FEW}}, True), ({"image": FILE, "mask": FILE, "request": FEW}, False)],
    "outpaint": [({"image": FILE, "request": {"padding": 1, **FEW}}, True), ({"image": FILE}, False)],
    "generate": [({"request": FEW}, True), ({}, False), ({"request": FEW, "image": FILE}, False)],
    "interpolate": [({"request": {"classes": [1, 2], "frames": 2, **FEW}}, True), ({"request": {}}, False), ({}, False)],
}  # fmt: skip


@pytest.mark.parametrize("job", FORMS)
def test_the_document_says_of_forms_what_the_service_does(server, job):
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed: pip install 'bitmosaic[dev]'")
    told = document(Limits())
    schema = told["paths"][f"/v1/{job}"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert (
        schema["additionalProperties"] is False and schema["required"] and schema["properties"]["request"]["additionalProperties"] is False
    )
    jsonschema.Draft202012Validator.check_schema(schema)
    for parts, right in FORMS[job]:
        as_json = {name: part if isinstance(part, dict) else "a file" for name, part in parts.items()}
        fits = jsonschema.Draft202012Validator({**schema, "components": told["components"]}).is_valid(as_json)
        data, headers = form(**{name: json.dumps(part) if isinstance(part, dict) else part for name, part in parts.items()})
        answer = server.ask(f"/v1/{job}", data, headers=headers)
        assert (answer.status == 200) == right and (fits or not right), (parts.keys(), answer.data[:300])
        either = {"inpaint": "mask", "edit": "class"}  # which may come in another way too: a file, or a prompt
        assert fits == right or (job in either and either[job] in answer.json["error"])
        assert right or answer.status in (400, 422)


def test_every_form_of_the_document_is_strict():
    for path, methods in document(Limits())["paths"].items():
        if "post" in methods:
            form = methods["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
            assert form["required"] and form["additionalProperties"] is False, path
    assert len(requests.JOBS) == sum("post" in methods for methods in document(Limits())["paths"].values())


def test_a_picture_of_no_bytes_is_told(server):
    data, headers = form(image=("a.png", b""))
    assert server.ask("/v1/encode", data, headers=headers).json["error"] == "image: got an empty file; give PNG, JPEG, WebP, GIF or BMP"
    assert server.ask("/v1/encode", {"image": ""}).json["error"].startswith('image: got ""; give base64 of a PNG')
    assert server.ask("/v1/encode", {"image": " "}).json["error"].startswith("image: got an empty file")


def test_a_picture_in_a_text_that_is_cut(server):
    whole = io.BytesIO()
    Image.effect_noise((28, 28), 50).save(whole, "PNG")
    answer = server.ask("/v1/encode", {"image": base64.b64encode(whole.getvalue()[:-200]).decode()})
    assert answer.status == 400 and answer.json["error"].startswith("image: it cannot be read: ")


@pytest.mark.parametrize("job", ["encode", "features", "neighbours", "enrich", "inpaint"])
def test_a_picture_of_another_size_or_in_colour_is_not_changed_unasked(server, job):
    """One rule for all that is given to a pipeline."""
    more = {"inpaint": {"mask": {"places": [[0, 0]]}, **FEW}, "enrich": {"repeats": 1, **FEW}}.get(job, {})
    large, red = np.zeros((40, 60), np.uint8), np.zeros((28, 28, 3), np.uint8)
    red[..., 0] = 200
    for array, got in ((large, "60 x 40 pixels"), (red, "28 x 28 pixels in colour")):
        asked = {"image": base64.b64encode(png(Image.fromarray(array))).decode(), **more}
        refused = server.ask(f"/v1/{job}", asked)
        assert refused.status == 422 and got in refused.json["error"] and 'fit "crop"' in refused.json["error"], refused.data
        assert "tile" not in refused.json["error"]  # which is no way where whole things alone were seen
        assert server.ask(f"/v1/{job}", {**asked, "fit": "crop"}).status == 200
    grey = np.repeat(np.arange(784, dtype=np.uint8).reshape(28, 28, 1), 3, 2)
    assert server.ask(f"/v1/{job}", {"image": base64.b64encode(png(Image.fromarray(grey))).decode(), **more}).status == 200
