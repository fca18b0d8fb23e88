"""Codes that are indices of a codebook, from a folder of images to a finished pipeline, and through every command."""

import base64
import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from bitmosaic import Pipeline
from bitmosaic.cli import main
from bitmosaic.codes import Codes
from bitmosaic.images import fashion_sample, to_pil
from bitmosaic.priors import AutoregressivePriorSpec, MaskedPriorSpec
from bitmosaic.quantizers.codebook import codebooks
from bitmosaic.recipes import d3pm, llamagen, maskgit
from bitmosaic.samplers import SAMPLERS

TINY = [
    "--size=32", "--channels=1", "--codewords=12", "--no-flip", "--tokenizer.width=8", "--tokenizer.embedding=8", "--tokenizer.groups=4",
    "--tokenizer.quantizer.width=4", "--prior.width=16", "--prior.heads=2", "--sampler.guidance-scale=2",
    *(f"--{part}-training.{name}" for part in ("tokenizer", "prior") for name in ("steps=3", "batch-size=4", "log-every=1")),
]  # fmt: skip
DEPTH = {"maskgit": "3", "llamagen": "2", "d3pm": "2"}
PRIORS = {"maskgit": "MaskGITSpec", "llamagen": "LlamaGenSpec", "d3pm": "D3PMSpec"}
FAMILIES = {"maskgit": "masked", "llamagen": "causal", "d3pm": "denoising"}
OWN = {"maskgit": "maskgit", "llamagen": "llamagen", "d3pm": "ancestral"}  # samplers


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Twelve pictures of 32 x 32 grey pixels in three classes."""
    folder, sample = tmp_path_factory.mktemp("photos"), fashion_sample()
    for i in range(12):
        kind = folder / "abc"[i % 3]
        kind.mkdir(exist_ok=True)
        to_pil(sample.image(i)).resize((32, 32)).save(kind / f"{i}.png")
    return folder


@pytest.fixture(scope="module", params=list(DEPTH))
def trained(request, photos, tmp_path_factory):
    """The name of the recipe, and the folder of its run."""
    out = tmp_path_factory.mktemp(request.param) / "run"
    assert main(command(request.param, photos, out)) == 0
    return request.param, out


def command(name, photos, out):
    return ["train", name, "--data", str(photos), "--out", str(out), f"--prior.depth={DEPTH[name]}", *TINY]


@pytest.mark.parametrize("name", ["d3pm", *(pytest.param(name, marks=pytest.mark.slow) for name in ("maskgit", "llamagen"))])
def test_a_dry_run_makes_nothing(photos, tmp_path, name):
    assert main([*command(name, photos, tmp_path / "run"), "--dry-run"]) == 0 and not (tmp_path / "run").exists()


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("L"))


@pytest.fixture
def pipeline(trained):
    return trained[1] / "pipeline"


def test_a_run_makes_a_pipeline_that_says_what_it_is(trained, capsys):
    name, out = trained
    assert main(["info", str(out)]) == main(["info", str(out / "pipeline")]) == 0
    told = capsys.readouterr().out
    use = json.loads((out / "tokenizer" / "report.json").read_text())["codebook"]
    assert use["codewords"] == 12 and 1 <= use["perplexity"] <= use["used"] <= 12
    assert "12 codewords by simvq: as asked for" in told and "bits 16" not in told and "8 x 8 places" in told
    pipe = Pipeline.from_pretrained(out / "pipeline")
    assert type(pipe.prior.spec).__name__ == PRIORS[name] and pipe.prior.radix == (12,) and pipe.class_names == ("a", "b", "c")
    images = pipe("b", seeds=[3, 4])
    assert [np.asarray(image).shape for image in images] == [(32, 32)] * 2
    assert np.array_equal(np.asarray(pipe(["a", "b"], seeds=[9, 4])[1]), np.asarray(images[1])), "an image is its seed's"


def test_the_same_command_again_and_more_steps(trained, photos, capsys):
    name, out = trained
    words = ["train", name, "--data", str(photos), "--out", str(out), f"--prior.depth={DEPTH[name]}", *TINY]
    before = (out / "pipeline" / "prior" / "model.safetensors").read_bytes()
    assert main(words) == 0 and (out / "pipeline" / "prior" / "model.safetensors").read_bytes() == before
    assert main(["train", name, "--data", str(photos), "--out", str(out), f"--prior.depth={DEPTH[name]}", *TINY, "--codewords=13"]) == 2
    assert "13" in capsys.readouterr().err


def test_codes_go_to_disk_and_back(pipeline, photos, tmp_path):
    codes, pictures = tmp_path / "codes.safetensors", tmp_path / "pictures"
    assert main(["encode", str(photos), "--pipeline", str(pipeline), "--out", str(codes)]) == 0
    with safe_open(codes, "np") as held:
        assert json.loads(held.metadata()["radix"]) == [12] and held.get_tensor("codes").shape == (12, 8 * 8 * 4 // 8)
    assert main(["decode", str(codes), "--pipeline", str(pipeline), "--out", str(pictures)]) == 0
    assert len(list(pictures.rglob("*.png"))) == 12


@pytest.mark.parametrize("coder", ["uniform", "static", "prior"])
def test_compressed_it_comes_back_as_its_codes(pipeline, photos, tmp_path, coder, capsys):
    pipe = Pipeline.from_pretrained(pipeline)
    images = [pixels(path) for path in sorted(photos.rglob("*.png"))]
    if coder == "prior" and pipe.family == "denoising":
        with pytest.raises(ValueError, match="coder: a denoising prior .*; take static or uniform"):
            pipe.compress(images)
        assert main(["compress", str(photos), "--pipeline", str(pipeline), "--out", str(tmp_path / "small")]) == 2
        assert "take static or uniform" in capsys.readouterr().err and not (tmp_path / "small").exists()
        return
    files = pipe.compress(images, coder=coder, packets=3)
    kept = pipe.decode(pipe.encode(images), "np")
    assert np.array_equal(np.stack([np.asarray(x) for x in pipe.decompress(files)]).reshape(kept.shape), kept)
    cut = [file[:-2] for file in files[:2]]
    restored = pipe.decompress(cut, restore=True)
    assert len(restored) == 2
    assert main(["compress", str(photos), "--pipeline", str(pipeline), "--out", str(tmp_path / "small"), "--coder", coder]) == 0
    assert main(["decompress", str(tmp_path / "small"), "--pipeline", str(pipeline), "--out", str(tmp_path / "back")]) == 0
    assert len(list((tmp_path / "back").rglob("*.png"))) == 12


@pytest.mark.parametrize("by", ["codes", "bits", "features"])
def test_a_picture_is_found_by_itself(pipeline, photos, tmp_path, by, capsys):
    pytest.importorskip("faiss")
    assert main(["index", str(photos), str(tmp_path / "found"), "--pipeline", str(pipeline), "--by", by]) == 0
    capsys.readouterr()
    assert main(["search", str(tmp_path / "found"), str(photos / "b" / "4.png"), "-k", "3", "--out", str(tmp_path / "hits")]) == 0
    told = capsys.readouterr().out
    assert "(itself)" in told and "b/4.png" in told


def test_codewords_that_are_alike_are_near(pipeline):
    """Bits of an index mean nothing; those that search compares come from the codewords themselves."""
    from bitmosaic.search.vectors import code_bits

    pipe = Pipeline.from_pretrained(pipeline)
    codewords = pipe.tokenizer.quantizer.decode(torch.arange(12)[:, None])
    grid = torch.arange(12).view(12, 1, 1, 1).expand(12, 8, 8, 1)
    packed = code_bits(pipe, type(pipe.encode(to_pil(torch.zeros(1, 32, 32, dtype=torch.uint8))))(grid, (12,)))
    signs = codewords > codewords.median(0).values
    apart = (np.unpackbits(packed[0]) != np.unpackbits(packed[5])).sum()
    assert apart == 64 * int((signs[0] != signs[5]).sum())


def test_inpainting_keeps_what_is_known(trained, photos, tmp_path):
    name, out = trained
    picture, mask = photos / "a" / "0.png", tmp_path / "mask.png"
    hidden = np.zeros((32, 32), np.uint8)
    hidden[:, 16:] = 255
    Image.fromarray(hidden).save(mask)
    words = ["inpaint", str(picture), "--mask", str(mask), "--pipeline", str(out / "pipeline"), "--count", "2"]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    original = pixels(picture)
    for path in [tmp_path / "out" / f"0-{i}.png" for i in (1, 2)]:
        assert np.array_equal(pixels(path)[:, :16], original[:, :16])


def test_tokenized_codes_train_a_prior_of_indices(trained, photos, tmp_path, capsys):
    name, out = trained
    codes = tmp_path / "codes"
    assert main(["tokenize", str(photos), str(codes), "--pipeline", str(out / "pipeline")]) == 0
    words = [word for word in TINY if word.startswith("--prior") or word.startswith("--sampler")]
    words = ["train", name, "--data", str(photos), "--codes", str(codes), "--out", str(tmp_path / "run"), *words]
    assert main([*words, f"--prior.depth={DEPTH[name]}"]) == 0
    assert Pipeline.from_pretrained(tmp_path / "run" / "pipeline").prior.radix == (12,)
    capsys.readouterr()
    assert main(["train", "folder", "--data", str(photos), "--codes", str(codes), "--out", str(tmp_path / "bits")]) == 2
    assert "knows bits, and these codes hold one of 12 codewords" in capsys.readouterr().err


def test_samplers_say_which_priors_they_ask(trained, capsys):
    name, out = trained
    pipe = Pipeline.from_pretrained(out / "pipeline")
    for other in (sampler for kind, sampler in OWN.items() if kind != name):
        with pytest.raises(ValueError, match=f"sampler: '{other}' asks .* priors.*, and this one is {FAMILIES[name]}; use the sampler"):
            pipe("a", sampler=other)
    bits = Pipeline.from_pretrained("fashion")
    for sampler in OWN.values():
        with pytest.raises(ValueError, match=f"sampler: '{sampler}' asks"):
            bits("bag", sampler=sampler)
    asked = {"maskgit": ("raster", "entropy-ordered", "marginals-first"), "llamagen": ("raster",), "d3pm": ("ancestral",)}
    for sampler in asked[name]:
        assert np.asarray(pipe("a", seeds=1, sampler=sampler)[0]).shape == (32, 32)


@pytest.mark.parametrize("codebook", codebooks())
def test_recipes_are_of_the_sizes_of_the_folder_recipe(photos, codebook):
    for recipe in (maskgit, llamagen, d3pm):
        run = recipe(str(photos), 32, codebook=codebook)
        assert run.tokenizer.radix == run.prior.radix == (256,) and run.tokenizer.grid == run.prior.grid == (8, 8)
        assert any(line.startswith(f"256 codewords by {codebook}: few images") for line in run.reasons)
    with pytest.raises(ValueError, match="codebook: got 'other'"):
        maskgit(str(photos), 32, codebook="other")
    with pytest.raises(ValueError, match="chain: got 'other'; want mask-and-replace, absorbing, uniform"):
        d3pm(str(photos), 32, chain="other")


def test_the_studio_serves_them(trained, photos):
    """Pictures of a request are those of Python; codes go out and come back, and codes that are none are refused."""
    from studio_server import serving

    name, out = trained
    pipe = Pipeline.from_pretrained(out / "pipeline")
    with serving({"idx": pipe}) as server:
        (about,) = server.ask("/v1/pipelines").json["pipelines"]
        assert not about["binary"] and about["family"] == FAMILIES[name]
        settings = {"maskgit": {"temperature": 1.0}, "llamagen": {"top_k": 3, "top_p": 0.9}, "d3pm": {"steps": 4, "top_p": 0.9}}[name]
        settings["sampler"] = OWN[name]
        made = server.made("generate", {"class": "b", "seed": 5, "count": 2, "settings": settings})
        for image, mine in zip(made, pipe("b", seeds=[5, 6], **settings, output_type="np"), strict=True):
            assert np.array_equal(image.squeeze(), mine.squeeze())
        events = server.ask("/v1/generate", {"class": "b", "count": 1, "entropy": True}, "text/event-stream")
        assert events.status == 200 and b"event: result" in events.data
        told = events.data.replace(b" ", b"")
        assert b'"changed":' in told and (b'"entropy":null' in told) == (name == "llamagen")
        picture = base64.b64encode((photos / "a" / "0.png").read_bytes()).decode()
        found = server.ask("/v1/encode", {"image": picture}).json
        assert found["radix"] == [12] and found["grid"] == [8, 8]
        back = server.made("decode", {"codes": found["codes"]})
        assert np.array_equal(back[0].squeeze(), pipe.decode(pipe.encode(pixels(photos / "a" / "0.png")), "np").squeeze())
        wrong = server.ask("/v1/decode", {"codes": base64.b64encode(b"\xff" * 32).decode()})
        assert wrong.status == 422 and "outside [0, 12)" in wrong.json["error"]
        assert server.ask("/v1/features", {"image": picture}).status == 200


@pytest.mark.parametrize("name", ["maskgit", "llamagen"])
def test_one_bit_a_place_is_no_index(name):
    """A head of bits has logits too, of another kind."""
    prior = (AutoregressivePriorSpec if name == "llamagen" else MaskedPriorSpec)(bits=1).build()
    codes, known = Codes(torch.zeros(1, 4, 4, 1, dtype=torch.uint8), (2,)), torch.zeros(1, 4, 4, dtype=torch.bool)
    with pytest.raises(ValueError, match=f"sampler: '{name}' asks"):
        next(SAMPLERS[name]().build()(prior, codes, known, None, [torch.Generator()]))
