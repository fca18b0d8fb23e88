"""Commands ask a pipeline for no more than they need: one without codes is drawn, measured, shown; the others say what they want."""

import json

import numpy as np
import pytest
import torch
from drawing_pipeline import drawing_pipeline
from test_cli import refused

from bitmosaic.cli import main
from bitmosaic.images import FASHION_CLASSES, fashion_sample, read_image, to_pil
from bitmosaic.nets.feature_net import ConvClassifierSpec, save_feature_net


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a pipeline without codes, a picture, and real images."""
    folder = tmp_path_factory.mktemp("made")
    drawing_pipeline(names=FASHION_CLASSES).save_pretrained(folder / "drawer")
    to_pil(fashion_sample().image(5)).save(folder / "picture.png")
    for i in range(30):
        place = folder / "real" / FASHION_CLASSES[int(fashion_sample().labels[i])]
        place.mkdir(parents=True, exist_ok=True)
        to_pil(fashion_sample().image(i)).save(place / f"{i}.png")
    return folder


@pytest.fixture
def here(made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return made


def test_sample_draws_what_python_draws_and_goes_on(here, tmp_path, capsys):
    command = ["sample", str(here / "drawer"), "--classes", "bag", "coat", "--count", "2", "--seed", "3", "--out", "out"]
    assert main(command) == 0
    wanted = drawing_pipeline(names=FASHION_CLASSES)(["bag", "bag", "coat", "coat"], [3, 4, 3, 4], output_type="np")
    names = ["bag-003.png", "bag-004.png", "coat-003.png", "coat-004.png"]
    assert all(np.array_equal(read_image(tmp_path / "out" / n).numpy()[0], w[..., 0]) for n, w in zip(names, wanted, strict=True))
    capsys.readouterr()
    assert main(command) == 0 and "4 of them were there" in capsys.readouterr().out


def test_interpolate_mixes_its_classes(here, tmp_path):
    assert main(["interpolate", str(here / "drawer"), "--classes", "bag", "coat", "--frames", "3", "--count", "1", "--out", "way"]) == 0
    assert (tmp_path / "way" / "strip.gif").exists()


def test_info_says_what_there_is(here, capsys):
    assert main(["info", str(here / "drawer")]) == 0
    told = capsys.readouterr().out
    parameters = sum(p.numel() for p in drawing_pipeline().drawer.parameters())
    assert f"TinyDrawer, {parameters:,} parameters" in told and "Truncation: truncation 1.0" in told and "10: t-shirt" in told
    assert "codes" not in told and "tokenizer" not in told
    assert main(["info", str(here / "drawer"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["kind"] == "DrawingPipeline" and found["parameters"] == {"drawer": parameters} and "grid" not in found


def test_evaluate_measures_the_samples(here, tmp_path, capsys):
    torch.manual_seed(0)
    save_feature_net(ConvClassifierSpec(1, 10, (2, 2, 4)).build().eval(), tmp_path / "net.safetensors")
    data = ["--against", str(here / "real"), "--net", "net.safetensors", "--count", "12"]
    assert main(["evaluate", str(here / "drawer"), *data, "--workers", "1", "--out", "found"]) == 0
    found = json.loads((tmp_path / "found" / "evaluation.json").read_text())
    assert found["samples"]["frechet_distance"]["value"] > found["samples"]["frechet_distance"]["floor"] > 0
    assert "reconstruction" not in found and found["counts"]["samples"] == 12 and found["sampler"]["type"] == "TruncationSpec"
    assert "PSNR" not in capsys.readouterr().out and (tmp_path / "found" / "evaluation.png").stat().st_size > 10_000


def test_the_demo_shows_classes_alone(here, tmp_path, capsys):
    assert main(["demo", "--pipeline", str(here / "drawer"), "--count", "2", "--precision", "float32"]) == 0
    page = (tmp_path / "demo" / "index.html").read_text()
    assert {path.name for path in (tmp_path / "demo").iterdir()} == {"index.html", "demo.json", "classes.png"}
    assert page.count("<img") == 20 and "has no codes" in page and "reconstructions.png" not in page
    assert "$" not in page.split("</style>")[1]
    command = ["demo", "--pipeline", str(here / "drawer"), "--images", str(here / "picture.png"), "--out", "other"]
    refused(tmp_path, capsys, command, "images: this is a DrawingPipeline")


WANT_CODES = {
    "compress": "PICTURE --pipeline DRAWER", "decompress": "PICTURE --pipeline DRAWER",
    "encode": "PICTURE --pipeline DRAWER --out c.safetensors", "reconstruct": "PICTURE --pipeline DRAWER",
    "inpaint": "PICTURE --box 0 0 9 9 --pipeline DRAWER",
    "edit": "PICTURE --box 0 0 9 9 --class bag --pipeline DRAWER", "outpaint": "PICTURE --padding 4 4 4 4 --pipeline DRAWER",
    "enrich": "PICTURE --pipeline DRAWER", "reveal": "DRAWER --class bag", "bits": "PICTURE --pipeline DRAWER",
    "index": "REAL found --pipeline DRAWER", "probe": "DRAWER",
}  # fmt: skip


@pytest.mark.parametrize("command", WANT_CODES)
def test_what_needs_codes_says_so(here, tmp_path, capsys, command):
    places = {"PICTURE": str(here / "picture.png"), "DRAWER": str(here / "drawer"), "REAL": str(here / "real")}
    words = [command, *(places.get(word, word) for word in WANT_CODES[command].split())]
    told = refused(tmp_path, capsys, words, "a DrawingPipeline, which only draws pictures; this needs a pipeline that has codes")
    assert told.endswith("codes: a tokenizer and a prior\n")


def test_none_of_it_needs_a_global_generator(here):
    before = torch.get_rng_state()
    assert main(["sample", str(here / "drawer"), "--classes", "bag", "--count", "1", "--out", "out"]) == 0
    assert torch.equal(torch.get_rng_state(), before)
