"""`bitmosaic evaluate TOKENIZER`: one definition for all, files and folders of any project, and what is refused."""

import json
import math

import pytest
import torch
from PIL import Image
from published_nets import Weights, vqgan_decoder, vqgan_encoder
from test_evaluation import few, net, pipeline

from bitmosaic.cli import main
from bitmosaic.codes import Codes
from bitmosaic.commands.tokenizers import tokenizer_alone
from bitmosaic.evaluate.code_use import code_use, entropy_coded
from bitmosaic.nets.feature_net import ConvClassifierSpec, save_feature_net


def codes(*shape, radix, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return Codes(torch.stack([torch.randint(r, shape, generator=rng) for r in radix], -1), radix)


# Codes


def test_use_counts_values_of_whole_places_and_of_each_digit():
    found = code_use(Codes(torch.tensor([[[[0, 1]], [[0, 1]]], [[[2, 0]], [[2, 1]]]]), (3, 2)))
    assert found["place"]["used"] == 3 and found["place"]["values"] == 6 and found["place"]["places"] == 4
    assert found["place"]["perplexity"] == pytest.approx(2**1.5)
    assert found["digits"]["used"] == [2, 2] and found["digits"]["perplexity"][0] == pytest.approx(2)
    many = code_use(codes(3, 4, 4, radix=(2,) * 70))  # more values than a float counts
    assert many["place"]["values"] is None and many["place"]["used"] == 48


@pytest.mark.parametrize("radix", [(2,) * 6, (64,), (8, 5, 3), (2,) * 70])
def test_codes_without_structure_take_as_many_bits_as_uniform_ones_and_constant_ones_none(radix):
    one, other = codes(60, 4, 4, radix=radix), codes(60, 4, 4, radix=radix, seed=1)
    free = entropy_coded(one, other)["bits_per_image"]
    width = sum((r - 1).bit_length() for r in radix)
    assert 0.95 * one.bits_per_image < free < 1.1 * 16 * width
    still = Codes(torch.ones_like(one.digits), radix)
    assert entropy_coded(still, still)["bits_per_image"] < 0.1 * one.bits_per_image


def test_entropy_coding_finds_that_digits_hang_together_and_that_places_differ():
    first = codes(200, 4, 4, radix=(2,), seed=2).digits
    together = Codes(torch.cat([first, first, first], -1), (2, 2, 2))
    found = entropy_coded(together[:100], together[100:])
    assert found["whole_places"] == pytest.approx(16, rel=0.1) and found["each_bit_of_each_place"] > 40
    placed = Codes((torch.arange(16).view(1, 4, 4, 1) % 2).expand(200, 4, 4, 1).clone(), (2,))
    found = entropy_coded(placed[:100], placed[100:])
    assert found["bits_per_image"] == found["each_bit_of_each_place"] < 1 < found["whole_places"]


# The command


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizers")
    pipeline().save_pretrained(folder / "pipe")
    for i, image in enumerate(few(40).pixels):
        (folder / "grey").mkdir(exist_ok=True)
        Image.fromarray(image[0].numpy()).save(folder / "grey" / f"{i}.png")
        (folder / "colour").mkdir(exist_ok=True)
        Image.fromarray(torch.stack([image[0], image[0].flip(0), image[0].T], -1).numpy()).save(folder / "colour" / f"{i}.png")
    net(folder)
    torch.manual_seed(2)
    save_feature_net(ConvClassifierSpec(3, 4, (2, 2, 4)).build().eval(), folder / "colour.safetensors")
    w, x, widths = Weights(), torch.rand(1, 3, 16, 16), (32, 32)
    z = w.conv("quant_conv", vqgan_encoder(w, x, "taming", widths, 1, {1}, 8), 4, 1)
    vqgan_decoder(w, w.conv("post_quant_conv", z, 8, 1), "taming", widths, 2, {1})
    w.of("quantize.embedding.weight", 24, 4, scale=float(z.std()))
    torch.save({"state_dict": dict(w)}, folder / "vqgan.ckpt")
    return folder


def test_a_tokenizer_alone_has_the_figures_that_its_pipeline_has(saved, tmp_path, capsys):
    against = ["--against", str(saved / "grey"), "--net", str(saved / "net.safetensors")]
    found = {}
    for name in ("pipe", "pipe/tokenizer"):
        assert main(["evaluate", str(saved / name), *against, "--out", str(tmp_path / "out")]) == 0, capsys.readouterr().err
        found[name] = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    whole, alone = found["pipe"], found["pipe/tokenizer"]
    assert alone["reconstruction"] == whole["reconstruction"] and "samples" not in alone and "sampler" not in alone
    for name in ("net", "reference", "other_real", "resize", "quantisation", "reconstruction_figures", "reference_statistics_sha256"):
        assert alone[name] == whole[name], name
    kept = alone["reconstruction"]
    assert alone["codes"] == "8 bits a place" and alone["grid"] == [7, 7] and len(alone["tokenizer_sha256"]) == 64
    assert kept["perceptual_distance"] > 0 and 0 < kept["entropy_coded"]["bits_per_image"] < kept["bits_per_image"] == 392
    told = capsys.readouterr().out
    for words in ("8 bits a place, 7 x 7 places, images of 28 x 28 pixels", "20 images, 20 others", "perceptual distance", "perplexity"):
        assert words in told, words
    with Image.open(tmp_path / "out" / "evaluation.png") as picture:
        assert picture.info["Software"].startswith("bitmosaic")


def test_a_published_file_is_measured_without_being_converted_first_at_any_size_its_factor_divides(saved, tmp_path, capsys):
    command = ["evaluate", str(saved / "vqgan.ckpt"), "--against", str(saved / "colour"), "--net", str(saved / "colour.safetensors")]
    assert main([*command, "--size", "16", "--out", str(tmp_path / "file")]) == 0, capsys.readouterr().err
    assert main(["convert", str(saved / "vqgan.ckpt"), "--out", str(tmp_path / "part")]) == 0
    command[1] = str(tmp_path / "part")
    assert main([*command, "--size", "16", "--out", str(tmp_path / "folder")]) == 0, capsys.readouterr().err
    file, folder = (json.loads((tmp_path / name / "evaluation.json").read_text()) for name in ("file", "folder"))
    assert file["reconstruction"] == folder["reconstruction"] and file["grid"] == [8, 8] and file["codes"].startswith("one of 24")
    assert file["reconstruction"]["use"]["place"]["values"] == 24 and file["reconstruction"]["bits_per_image"] == 64 * math.log2(24)
    assert main([*command, "--size", "15", "--out", str(tmp_path / "no")]) == 2
    told = capsys.readouterr().err
    assert "size: got 15" in told and "multiples of 2" in told and not (tmp_path / "no").exists()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--settings.steps", "4"], "steps: "),
        (["--count", "1"], "count: got 1"),
        (["--net", "none.safetensors"], "none.safetensors is not a file"),
    ],
)
def test_what_a_tokenizer_alone_does_not_have_is_refused(saved, tmp_path, capsys, more, words):
    base = ["evaluate", str(saved / "pipe" / "tokenizer"), "--against", str(saved / "grey"), "--net", str(saved / "net.safetensors")]
    more = [word.replace("--settings.steps", "--steps") for word in more]
    assert main([*base, *more, "--out", str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err
    assert words in told and len(told.strip().splitlines()) == 1 and not (tmp_path / "out").exists()


def test_names_mean_tokenizers_where_they_are_ones(saved, tmp_path, capsys):
    assert tokenizer_alone(str(saved / "pipe")) is None and tokenizer_alone("fashion") is None
    assert tokenizer_alone("fashion/tokenizer").image_size == (28, 28)
    stage = tmp_path / "run" / "tokenizer" / "final"
    stage.parent.mkdir(parents=True)
    stage.symlink_to(saved / "pipe" / "tokenizer")
    assert tokenizer_alone(str(stage.parent)).checksum == tokenizer_alone(str(saved / "pipe" / "tokenizer")).checksum
    assert main(["evaluate", str(saved / "pipe"), "--size", "28", "--out", str(tmp_path / "out")]) == 2
    assert "size: got 28 for a pipeline" in capsys.readouterr().err
    assert main(["evaluate", str(saved / "grey" / "0.png"), "--out", str(tmp_path / "out")]) == 2
    assert "not a checkpoint" in capsys.readouterr().err
