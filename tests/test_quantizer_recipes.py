"""`train folder --quantizer NAME`: every scheme trains from a folder of images to a pipeline by the ordinary command."""

import pytest
import torch

from bitmosaic.cli import main
from bitmosaic.images import fashion_sample, to_pil
from bitmosaic.pipelines import Pipeline
from bitmosaic.quantizers.base import schemes
from bitmosaic.quantizers.finite_scalar import levels_for
from bitmosaic.recipes import folder

QUICK = (
    "--size 32 --tokenizer.width 8 --tokenizer.embedding 8 --tokenizer.multipliers 1 1 1 --tokenizer-training.batch-size 2 "
    "--tokenizer-training.steps 2 --prior.depth 1 --prior.width 32 --prior.heads 2 --prior-training.batch-size 2 --prior-training.steps 2"
).split()
FULL = ("fsq", "lfq", "residual", "features")  # one of several digits, of bits, of one codebook after another, of features


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    place = tmp_path_factory.mktemp("photos")
    for i in range(12):
        (place / "ab"[i % 2]).mkdir(exist_ok=True)
        to_pil(fashion_sample().image(i)).resize((32, 32)).save(place / "ab"[i % 2] / f"{i}.png")
    return place


@pytest.mark.parametrize("scheme", schemes())
def test_a_scheme_has_a_run_whose_prior_fits_it(photos, scheme):
    run = folder(str(photos), size=32, bits=12, quantizer=scheme)
    assert run.tokenizer.radix == run.prior.radix and run.prior.build().radix == run.tokenizer.radix
    assert type(run.tokenizer.quantizer).scheme == scheme and any(line.startswith(f"quantizer {scheme}:") for line in run.reasons)
    assert run.sampler.build().families and run.prior.build().family in run.sampler.build().families


@pytest.mark.parametrize("scheme", FULL)
def test_a_scheme_trains_to_a_pipeline(photos, tmp_path, capsys, scheme):
    line = ["train", "folder", "--data", str(photos), "--quantizer", scheme, "--bits", "6", "--out", str(tmp_path / "run"), *QUICK]
    assert main(line) == 0, capsys.readouterr().err
    pipe = Pipeline.from_pretrained(tmp_path / "run" / "pipeline")
    assert pipe(0, [1, 2], output_type="pt").isfinite().all()
    image = fashion_sample().image(0)
    again = pipe.decode(pipe.encode(torch.nn.functional.interpolate(image[None].float() / 255, (32, 32))), "pt")
    assert again.shape == (1, 1, 32, 32)


def test_an_unknown_scheme_is_named(photos, tmp_path, capsys):
    assert main(["train", "folder", "--data", str(photos), "--quantizer", "vq", "--out", str(tmp_path / "run")]) == 2
    assert "quantizer: got 'vq'; give one of bernoulli, bsq, cosine" in capsys.readouterr().err


@pytest.mark.parametrize("bits", range(2, 33))
def test_levels_hold_about_as_many_bits(bits):
    levels = levels_for(bits)
    assert abs(sum(torch.tensor(levels).double().log2()).item() - bits) < 0.35 and min(levels) >= 4
