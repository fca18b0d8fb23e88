"""Parity of the VQGAN with taming-transformers, on reference tensors; its layout is read, and refused where it does not fit."""

import pytest
import torch
from reference import reference
from safetensors.torch import load_file

from bitmosaic.cli import main
from bitmosaic.codes import Codes
from bitmosaic.convert.vqgan import published_vqgan
from bitmosaic.tokenizers import Tokenizer


@pytest.fixture(scope="module")
def weights():
    return load_file(reference("taming_vqgan") / "weights.safetensors")


@pytest.fixture(scope="module")
def given():
    return load_file(reference("taming_vqgan") / "reference.safetensors")


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_every_step_of_the_autoencoder_agrees(weights, given):
    vqgan = published_vqgan(weights, image_size=16).build()
    images = (given["image"] + 1) / 2  # published in [-1, 1]
    with torch.no_grad():
        close(vqgan.encoder(given["image"]), given["encoder_out"])
        made, quantized = vqgan(images)
        close(quantized.z.movedim(-1, 1), given["net_zq"])
        close(2 * made - 1, given["decoded"])
        close(sum(quantized.losses.values()), given["g_quant"])
        codes = vqgan.encode(images)
        assert torch.equal(codes.digits.flatten().long(), given["net_indices"]) and codes.radix == (40,)
        close(vqgan.decode(codes), made.clamp(0, 1))


def test_gradients_agree(weights, given):
    vqgan = published_vqgan(weights, image_size=16).build().train()
    vqgan.requires_grad_()
    made, quantized = vqgan((given["image"] + 1) / 2)
    nll = (given["image"] - (2 * made - 1)).abs().mean()
    close(nll.detach(), given["g_nll"])
    loss = nll + sum(quantized.losses.values())
    close(loss.detach(), given["g_total_before_start"])
    loss.backward()
    assert vqgan.quantizer.codebook.grad.abs().sum() > 0
    close(vqgan.quantizer.codebook.grad, given["grad:quantize.embedding.weight"])  # the adversarial part does not reach the codebook


def test_what_the_file_says_beside_the_autoencoder_is_passed_over_and_the_rest_must_fit(weights):
    published_vqgan({name: tensor for name, tensor in weights.items() if not name.startswith("loss.")}, 16)
    lacking = {name: tensor for name, tensor in weights.items() if name != "decoder.mid.attn_1.q.weight"}
    with pytest.raises(ValueError, match=r"decoder\.mid\.attn_1\.q\.weight"):
        published_vqgan(lacking, 16)
    with pytest.raises(ValueError, match="other.weight"):
        published_vqgan({**weights, "other.weight": torch.zeros(3)}, 16)
    with pytest.raises(ValueError, match=r"quantize\.embedding\.weight is missing"):
        published_vqgan({name: tensor for name, tensor in weights.items() if not name.startswith("quantize")}, 16)
    with pytest.raises(ValueError, match=r"decoder\.conv_in\.weight"):
        published_vqgan({**weights, "decoder.conv_in.weight": torch.zeros(32, 9, 3, 3)}, 16)


def test_sizes_are_read_off_the_tensors(weights):
    spec = published_vqgan(weights).spec
    assert (spec.image_size, spec.width, spec.multipliers, spec.residual_blocks) == ((32, 32), 32, (1, 1), 1)
    assert spec.attention == (False, True) and spec.quantizer.codewords == 40 and spec.embedding == 8
    with torch.no_grad():
        made = published_vqgan(weights).build().decode(Codes(torch.zeros(1, 5, 3, 1, dtype=torch.uint8), (40,)))
    assert made.shape == (1, 3, 10, 6)


def test_the_command_makes_a_tokenizer_of_a_published_file_and_says_that_a_prior_of_bits_is_no_pair(weights, given, tmp_path, capsys):
    torch.save({"state_dict": weights}, tmp_path / "vqgan.ckpt")
    assert main(["convert", str(tmp_path / "vqgan.ckpt"), "--out", str(tmp_path / "vqgan")]) == 0
    assert "one of 40 codewords a place" in capsys.readouterr().out
    tokenizer = Tokenizer.from_pretrained(tmp_path / "vqgan")
    with torch.no_grad():
        mine = tokenizer.encode(torch.nn.functional.interpolate((given["image"] + 1) / 2, scale_factor=2.0))
        assert mine.grid == (16, 16) and len(mine.check().digits.unique()) > 1
    prior = reference("bigr") / "bigr.pt"
    assert main(["convert", str(tmp_path / "vqgan.ckpt"), str(prior), "--heads", "4", "--out", str(tmp_path / "pair")]) == 2
    assert "codewords a place" in capsys.readouterr().err and not (tmp_path / "pair").exists()
