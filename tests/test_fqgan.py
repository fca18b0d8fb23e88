"""FQGAN's tokenizer on its authors' tensors: every step, the losses of its quantizer, its layout."""

import pytest
import torch
from reference import reference
from safetensors.torch import load_file

from bitmosaic import Pipeline
from bitmosaic.cli import main
from bitmosaic.conditions import ClassConditionSpec
from bitmosaic.convert.fqgan import published_fqgan
from bitmosaic.folders import save_part
from bitmosaic.priors import FARSpec
from bitmosaic.quantizers import CosineSpec, FactorizedSpec
from bitmosaic.tokenizers import Tokenizer
from bitmosaic.tokenizers.fqgan import FQGANSpec

BRANCHES = ("vis", "sem")  # as the published decoder joins them


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-4, atol=2e-5)


@pytest.fixture(scope="module")
def published():
    folder = reference("fqgan")
    state = load_file(folder / "weights.safetensors")
    return published_fqgan(state, heads=4), state, load_file(folder / "reference.safetensors")


def test_every_step_and_the_losses_agree(published):
    (converted, _, given), part = published, published[0].build()
    quantizer = FactorizedSpec((CosineSpec(32, 4, entropy=0.03),) * 2)
    assert converted.spec == FQGANSpec((32, 32), 3, quantizer, 32, (1, 1, 1, 1), 1, 8, 1, 4)
    with torch.no_grad():
        h = part.encoder(given["image"])
        for i, branch in enumerate(BRANCHES):
            close(part.branches[i][:-1](h), given[f"encoder_{branch}"])
        images = (given["image"] + 1) / 2
        made, quantized = part(images)
        for i, branch in enumerate(BRANCHES):
            assert torch.equal(quantized.digits[..., i].flatten(), given[f"net_indices_{branch}"])
        close(2 * made - 1, given["decoded"])
        codes = part.encode(images)
        close(2 * part.decode(codes) - 1, given["decoded_from_indices"].clamp(-1, 1))
    losses = {name: sum(given[f"net_losses_{b}"][k] for b in BRANCHES) for k, name in enumerate(("codebook", "commitment", "entropy"))}
    for name, wanted in {**losses, "disentanglement": given["net_disentangle"]}.items():
        close(quantized.losses[name], wanted)


def test_adapters_take_other_sides_than_those_trained_for(published):
    part, given = published[0].build(), published[2]
    with torch.no_grad():
        wide = torch.cat([given["image"], given["image"]], 3)
        assert part.vectors(wide).shape == (2, 4, 8, 8)
        part.branches[0][0].grid = (2, 8)  # the same positions laid out otherwise: not the same features
        other = part.branches[0](part.encoder(given["image"]))
        part.branches[0][0].grid = (4, 4)
        assert not torch.allclose(other, part.branches[0](part.encoder(given["image"])))


def test_a_file_of_three_codebooks_is_read_in_the_order_in_which_its_decoder_joins_them(published, tmp_path, capsys):
    """The same branches under the names of three: visual, middle, high; the widened input of the decoder takes each where it stands."""
    two = published[1]
    parts = ("quantize", "quant_conv", "encoder.norm_out", "encoder.conv_out")
    names = {f"{part}_sem.": (f"{part}_sem_mid.", f"{part}_sem_high.") for part in parts}
    names |= {"encoder.semantic_head.": ("encoder.semantic_head_mid.", "encoder.semantic_head_high.")}
    three = {"mid_sem_feat_pred.ln_pre.bias": torch.zeros(3)}
    for name, tensor in two.items():
        theirs = next((theirs for theirs in names if name.startswith(theirs)), None)
        three |= {own + name.removeprefix(theirs): tensor for own in names[theirs]} if theirs else {name: tensor}
    three["quantize_sem_high.embedding.weight"] = three["quantize_sem_high.embedding.weight"].flip(0)
    joined = two["post_quant_conv.weight"]
    three["post_quant_conv.weight"] = torch.cat([joined, torch.zeros_like(joined[:, 4:])], 1)
    torch.save(three, tmp_path / "x.pt")
    assert main(["convert", str(tmp_path / "x.pt"), "--heads", "4", "--out", str(tmp_path / "out")]) == 0, capsys.readouterr().err
    part, images = Tokenizer.from_pretrained(tmp_path / "out"), (published[2]["image"] + 1) / 2
    with torch.no_grad():
        digits, other = part.encode(images).digits, published[0].build().encode(images)
        assert part.radix == (32, 32, 32) and torch.equal(digits[..., :2], other.digits)
        assert torch.equal(31 - digits[..., 2], other.digits[..., 1])
        close(part.decode(part.encode(images)), published[0].build().decode(other))
    torch.save({name: x for name, x in three.items() if name != "quant_conv_sem_high.bias"}, tmp_path / "x.pt")
    assert main(["convert", str(tmp_path / "x.pt"), "--heads", "4", "--out", str(tmp_path / "no")]) == 2
    assert "quant_conv_sem_high.bias" in capsys.readouterr().err


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="64 at the lowest resolution of 5 heads"):
        FQGANSpec(adapter_heads=5)
    with pytest.raises(ValueError, match="is not divisible by 4"):
        FQGANSpec((18, 16), multipliers=(1, 1, 1))


def test_the_command_reads_the_layout_and_names_what_is_wrong(published, tmp_path, capsys):
    state = published[1]
    line = ["convert", str(tmp_path / "x.pt"), "--heads", "4", "--out", str(tmp_path / "out")]
    torch.save({"model": {**state, "quantize_vis.codebook_used": torch.zeros(9)}}, tmp_path / "x.pt")
    assert main(line) == 0, capsys.readouterr().err
    assert Tokenizer.from_pretrained(tmp_path / "out").radix == (32, 32)
    name = "encoder.visual_head.0.transformer.0.attn.in_proj_bias"
    torch.save({n: t for n, t in state.items() if n != name}, tmp_path / "x.pt")
    assert main(line) == 2 and name in capsys.readouterr().err


def test_the_tokenizer_and_far_become_a_pipeline_that_draws_digit_after_digit(published, tmp_path, capsys):
    torch.save(published[1], tmp_path / "x.pt")
    assert main(["convert", str(tmp_path / "x.pt"), "--heads", "4", "--out", str(tmp_path / "fqgan")]) == 0
    for name, grid in (("far", (4, 4)), ("other", (2, 2))):
        spec = FARSpec(grid, (32, 32), condition=ClassConditionSpec(3))
        save_part(spec.build(), spec, tmp_path / name)
    assert main(["convert", str(tmp_path / "fqgan"), str(tmp_path / "far"), "--out", str(tmp_path / "pipe")]) == 0, capsys.readouterr().err
    made = Pipeline.from_pretrained(tmp_path / "pipe")([0, 2], [1, 2], output_type="pt")
    assert made.shape == (2, 3, 32, 32) and made.isfinite().all() and not torch.equal(made[0], made[1])
    assert main(["convert", str(tmp_path / "fqgan"), str(tmp_path / "other"), "--out", str(tmp_path / "no")]) == 2
    assert "grid: the tokenizer has (4, 4) places" in capsys.readouterr().err
