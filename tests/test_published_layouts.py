"""Published encoders and decoders: on reference tensors, and checkpoints of random weights in the layouts of their authors' programs."""

import pytest
import torch
import torch.nn.functional as F
from published_nets import Weights, magvit2_decoder, magvit2_encoder, vqgan_decoder, vqgan_encoder
from reference import reference
from safetensors.torch import load_file

from bitmosaic.cli import main
from bitmosaic.convert.vqgan import published_vqgan
from bitmosaic.nets import conv
from bitmosaic.quantizers import CosineSpec, IBQSpec, LFQSpec, NearestSpec, SimVQSpec
from bitmosaic.spec import Spec
from bitmosaic.tokenizers import Tokenizer
from bitmosaic.tokenizers.vqgan import VQGANSpec

WIDTHS, IMAGES = (32, 64, 64), torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(3))


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_simvq_agrees_in_every_step():
    weights = load_file(reference("simvq") / "weights.safetensors")
    given = load_file(reference("simvq") / "reference.safetensors")
    part = published_vqgan(weights, 16).build()
    assert part.spec.family == "simvq" and part.spec.quantizer == SimVQSpec(40, 8) and part.spec.embedding is None
    with torch.no_grad():
        close(part.encoder(given["image"]), given["encoder_out"])
        made, quantized = part((given["image"] + 1) / 2)
        assert torch.equal(quantized.digits.flatten(), given["indices"])
        close(quantized.z.movedim(-1, 1), given["quantized"])
        close(2 * made - 1, given["decoded"])
        close(sum(quantized.losses.values()), given["g_commit"])
        close(part.decode(part.encode((given["image"] + 1) / 2)), made.clamp(0, 1))


def taming(w: Weights, image, names="taming", attends=frozenset({2})):
    """The encoder's vectors and, of given vectors, the decoder's image, by the published equations."""
    z = w.conv("quant_conv", vqgan_encoder(w, 2 * image - 1, names, WIDTHS, 1, attends, 32), 6, 1)
    return z, lambda q: (vqgan_decoder(w, w.conv("post_quant_conv", q, 32, 1), names, WIDTHS, 2, attends) + 1) / 2


def agrees(w, z, decode):
    """The converted tokenizer gives what the published equations give."""
    w.of("quantize.embedding.weight", 24, z.shape[1], scale=float(z.std()))
    decode(z)  # draws the decoder's weights
    part = published_vqgan(dict(w), 16).build()
    with torch.no_grad():
        close(part.vectors(IMAGES).movedim(-1, 1), z)
        codes = part.encode(IMAGES)
        q = part.quantizer.decode(codes.digits).movedim(-1, 1)
        assert len(codes.digits.unique()) > 4
        close(part.decode(codes), decode(q).clamp(0, 1))
    return part, codes, q


@pytest.mark.parametrize("attends", [{2}, {1, 2}, set()])
def test_tamings_layout_is_read_whatever_levels_attend(attends):
    w = Weights()
    part, codes, q = agrees(w, *taming(w, IMAGES, attends=attends))
    assert part.spec.attention == tuple(i in attends for i in range(3)) and isinstance(part.spec.quantizer, NearestSpec)
    assert torch.equal(q, w["quantize.embedding.weight"][codes.digits[..., 0].long()].movedim(-1, 1))


def test_every_family_is_built_from_its_spec_and_trains():
    for family in conv.FAMILIES:
        spec = VQGANSpec(quantizer=NearestSpec(8, 4), family=family, embedding=None, attention_sizes=())
        assert Spec.from_json(spec.to_json()) == spec
        part = spec.build()
        made, quantized = part(IMAGES)
        (made.mean() + sum(quantized.losses.values())).backward()
        assert all(p.grad is not None for p in part.parameters()), family
        assert made.shape == IMAGES.shape and quantized.z.shape == (2, 8, 8, 4)
    assert "family" not in VQGANSpec().to_json()  # as before there were several
    with pytest.raises(ValueError, match="family: got 'other'; give one of taming, simvq, open-magvit2"):
        VQGANSpec(family="other")


def test_depth_to_space_has_tensorflows_order_of_channels():
    part = conv.DepthToSpace(3)
    with torch.no_grad():
        part.conv.weight.zero_()
        part.conv.bias.copy_(torch.arange(12.0))
        made = part(torch.zeros(1, 3, 1, 1))
    assert made[0, :, 0, 0].tolist() == [0, 1, 2] and made[0, :, 0, 1].tolist() == [3, 4, 5] and made[0, :, 1, 0].tolist() == [6, 7, 8]


def test_a_file_of_another_width_or_with_a_tensor_too_many_is_refused_in_one_line(tmp_path, capsys):
    w = Weights()
    agrees(w, *taming(w, IMAGES))
    bad = {
        "decoder.up.1.upsample.conv.weight": {**w, "decoder.up.1.upsample.conv.weight": torch.zeros(64, 32, 3, 3)},
        "decoder.up.1.upsample.conv.bias": {n: t for n, t in w.items() if n != "decoder.up.1.upsample.conv.bias"},
        "encoder.extra.weight": {**w, "encoder.extra.weight": torch.zeros(1)},
    }
    for name, state in bad.items():
        torch.save({"state_dict": state}, tmp_path / "x.ckpt")
        assert main(["convert", str(tmp_path / "x.ckpt"), "--out", str(tmp_path / "out")]) == 2
        told = capsys.readouterr().err
        assert name in told and len(told.strip().splitlines()) == 1 and not (tmp_path / "out").exists()


# LlamaGen, Open-MAGVIT2, IBQ: random weights in the published layouts


def test_llamagens_layout_counts_levels_of_the_decoder_from_below_and_normalises_codewords():
    w = Weights()
    part, codes, q = agrees(w, *taming(w, IMAGES, "llamagen"))
    assert part.spec.attention == (False, False, True) and part.spec.quantizer == CosineSpec(24, 6)
    table, z = F.normalize(w["quantize.embedding.weight"], dim=-1), F.normalize(part.vectors(IMAGES), dim=-1)
    assert torch.equal(codes.digits[..., 0].long(), (z @ table.T).argmax(-1))
    close(q, table[codes.digits[..., 0].long()].movedim(-1, 1))


def magvit2(w: Weights, adaptive: bool):
    return magvit2_encoder(w, 2 * IMAGES - 1, WIDTHS, 2, 5), lambda q: (magvit2_decoder(w, q, WIDTHS, 2, adaptive) + 1) / 2


@pytest.mark.parametrize(("adaptive", "family"), [(True, "open-magvit2"), (False, "simvq")])
def test_open_magvit2s_layout_without_a_codebook_is_lookup_free(adaptive, family):
    w = Weights()
    z, decode = magvit2(w, adaptive)
    decode(z)
    part = published_vqgan({**w, "loss.lecam_ema.value": torch.zeros(1)}, 16).build()
    spec = part.spec
    assert (spec.family, spec.quantizer, spec.embedding, spec.residual_blocks) == (family, LFQSpec(5), None, 2)
    with torch.no_grad():
        close(part.vectors(IMAGES).movedim(-1, 1), z)
        codes = part.encode(IMAGES)
        assert torch.equal(codes.digits.movedim(-1, 1), (z > 0).to(torch.uint8)) and codes.radix == (2,) * 5
        close(part.decode(codes), decode(z.sign()).clamp(0, 1))


def test_ibqs_files_are_read_with_their_averages_and_the_largest_product():
    w, other = Weights(), Weights(7)
    agrees_with = taming(w, IMAGES)
    w.of("quantize.embedding.weight", 24, 6, scale=1.0)
    agrees_with[1](agrees_with[0])
    z, decode = taming(other, IMAGES)
    other.of("quantize.embedding.weight", 24, 6, scale=1.0)
    decode(z)
    state = {**w, **{f"model_ema.{name.replace('.', '')}": tensor for name, tensor in other.items()}}
    state |= {"model_ema.decay": torch.tensor(0.999), "model_ema.num_updates": torch.tensor(-1, dtype=torch.int32)}
    state |= {"model_ema.lossdiscriminatormain0weight": torch.zeros(2)}
    part = published_vqgan(state, 16).build()
    assert part.spec.quantizer == IBQSpec(24, 6)
    with torch.no_grad():
        close(part.vectors(IMAGES).movedim(-1, 1), z)
        codes = part.encode(IMAGES)
        wanted = (z.movedim(1, -1) @ other["quantize.embedding.weight"].T).argmax(-1)
        assert torch.equal(codes.digits[..., 0].long(), wanted)
        q = other["quantize.embedding.weight"][wanted].movedim(-1, 1)
        close(part.decode(codes), decode(q).clamp(0, 1))
    del state["model_ema.quant_convweight"]
    with pytest.raises(ValueError, match=r"without averages: quant_conv\.weight"):
        published_vqgan(state, 16)


def test_the_scheme_that_tensors_do_not_show_is_an_argument(tmp_path, capsys):
    w = Weights()
    agrees(w, *taming(w, IMAGES))
    torch.save({"state_dict": dict(w)}, tmp_path / "x.ckpt")
    line = ["convert", str(tmp_path / "x.ckpt"), "--out", str(tmp_path / "out")]
    for scheme, spec in (("ibq", IBQSpec(24, 6)), ("cosine", CosineSpec(24, 6))):
        assert main([*line, "--quantizer", scheme]) == 0, capsys.readouterr().err
        assert Tokenizer.from_pretrained(tmp_path / "out").spec.quantizer == spec
    w = Weights()
    z, decode = magvit2(w, True)
    decode(z)
    torch.save(dict(w), tmp_path / "x.ckpt")
    assert main([*line, "--quantizer", "ibq"]) == 2
    assert "quantizer: got ibq, but there is no codebook" in capsys.readouterr().err
