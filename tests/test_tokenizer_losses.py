"""The losses of tokenizers on tensors of the published programs: adversaries by name, LeCam, FQGAN's representation loss and its step."""

import json
from types import SimpleNamespace

import pytest
import torch
from reference import reference
from safetensors.torch import load_file
from torch import nn

from bitmosaic.convert.fqgan import BLOCK, published_fqgan
from bitmosaic.images import Batch
from bitmosaic.losses.lecam import LeCam
from bitmosaic.losses.patchgan import DISCRIMINATOR, GENERATOR
from bitmosaic.losses.representation import RepresentationSpec, info_nce
from bitmosaic.nets.patchgan import PatchGANSpec
from bitmosaic.quantizers import LFQSpec
from bitmosaic.spec import Spec
from bitmosaic.tokenizers.vqgan import VQGANSpec
from bitmosaic.train.tokenizer_game import TokenizerGame, TokenizerLosses


def tensors(name, file="reference"):
    return load_file(reference(name) / f"{file}.safetensors")


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-4, atol=2e-5)


class Teacher(nn.Module):
    """A feature network of one map, whose mean over places is given."""

    def __init__(self, features):
        super().__init__()
        self.features = features

    def maps(self, images):
        return [torch.zeros(len(images), 4, 2, 2), self.features[: len(images), :, None, None].expand(-1, -1, 2, 2)]


# ---- adversaries


def test_adversaries_by_name_are_the_published_ones():
    t = tensors("simvq")
    real, made = t["logits_real"], t["logits_fake"]
    close(GENERATOR["non-saturating"](made), t["gen_non_saturating"])
    for name, wanted in {"hinge": "disc_hinge", "logistic": "disc_vanilla", "non-saturating": "disc_non_saturating"}.items():
        close(DISCRIMINATOR[name](real, made), t[wanted])
    t = tensors("fqgan")
    real, made = t["logits_real"], t["logits_fake"]
    close(DISCRIMINATOR["hinge"](real, made), t["hinge_d"])
    close(DISCRIMINATOR["logistic"](real, made), t["vanilla_d"])
    close(GENERATOR["hinge"](made), t["hinge_g"])
    t = load_file(reference("studiogan_losses") / "adversarial.safetensors")
    close(GENERATOR["logistic"](t["fake"]), t["g_logistic"])


def test_lecam_is_simvqs():
    t, lecam = tensors("simvq"), LeCam()
    batches = (t["logits_real"], t["logits_fake"]), (t["lecam_logits_real_2"], t["lecam_logits_fake_2"])
    for i, (real, made) in enumerate(batches):
        close(lecam(real, made, 0.999), t["lecam_reg"][i])
        close(torch.stack([lecam.real, lecam.made]), t["lecam_ema"][i])


def test_lecam_is_studiogans_whose_means_begin_late():
    """Up to its first step the decay is 0, so the means are the batch's."""
    held, how = load_file(reference("studiogan_losses") / "adversarial.safetensors"), settings()
    lecam, steps = LeCam(), len(held["lecam_real"])
    for step in range(steps):
        real, made = (held[f"lecam_{kind}"][step].clone().requires_grad_() for kind in ("real", "fake"))
        found = lecam(real, made, how["decay"] if step >= how["start"] else 0.0)
        close(torch.stack([lecam.real, lecam.made, found.detach()]), held["lecam_trace"][step])
    found.backward()
    close(real.grad, held["lecam_grad_real_last"])
    close(made.grad, held["lecam_grad_fake_last"])


def settings():
    found = json.loads((reference("studiogan_losses") / "args.json").read_text())
    return {"decay": found["lecam"]["decay"], "start": found["lecam"]["start_iter"]}


# ---- the representation loss


def head(t, state, weight=0.5):
    """The published head: of codewords of 4 numbers at 16 places."""
    made = RepresentationSpec(1, weight, -1, 16, 1, 2).build(4, 16)
    names = {"class_embedding": "token", "positional_embedding": "positions"}
    for kind in ("weight", "bias"):
        names |= {f"{theirs}.{kind}": f"{ours}.{kind}" for theirs, ours in (("ln_pre", "norm_in"), ("ln_post", "norm_out"))}
        names |= {f"upscale.{i}.{kind}": f"widen.{i}.{kind}" for i in (0, 2)}
        names |= {f"transformer.0.{theirs}{kind}": f"blocks.0.{ours}{kind}" for ours, theirs in BLOCK.items()}
    made.load_state_dict({ours: state[f"feat_pred_head.{theirs}"] for theirs, ours in names.items()})
    return made


def test_info_nce_is_fqgans():
    t = tensors("fqgan")
    predicted = t["nce_prediction"].requires_grad_()
    loss = info_nce(predicted[:, 0], t["nce_teacher"])
    loss.backward()
    close(loss, t["nce_loss"])
    close(predicted.grad, t["nce_grad"])


def test_the_head_and_the_whole_step_of_fqgan_agree():
    """Its loss, without the perceptual part, and the gradients of it; differences of images in [-1, 1] are twice ours."""
    t, state = tensors("fqgan"), tensors("fqgan", "weights")
    teacher, tokenizer = t["teacher"], published_fqgan(state, heads=4).build().train()
    losses = TokenizerLosses(
        l1_weight=0.0, squared_weight=4.0, discriminator=PatchGANSpec(3, 8, 2), adversarial_start=10, adversarial_weight=0.5,
        balance="constant", diffaugment=False, representation=(RepresentationSpec(1, 0.5, -1, 16, 1, 2),),
    )  # fmt: skip
    game = TokenizerGame(tokenizer, losses, Teacher(teacher))
    game.players["heads"][0] = head(t, state)
    _load_discriminator(game.players["discriminator"], state)
    with torch.no_grad():
        given = (t["image"] + 1) / 2
        codewords = tokenizer(given)[1].z[..., 4:]
        close(game.players["heads"][0].tokens(codewords), t["net_feature"])
    tokenizer.medium = SimpleNamespace(floats=lambda stored: stored)  # so that nothing is rounded
    batch = Batch(given, None, torch.arange(2))
    rng = torch.Generator().manual_seed(0)
    before = next(game.play(batch, 9, rng))
    close(before.loss.detach(), t["g_total_before_start"])
    turns = list(_turns(game, batch, 10, rng))
    metrics = turns[0].metrics
    close(metrics["loss"] + 0.5 * metrics["adversarial"], t["g_total_after_start"])
    assert metrics["weight"] == 0.5 and [turn.player for turn in turns] == ["tokenizer", "heads", "discriminator"]
    own = dict(tokenizer.named_parameters())
    pairs = {"encoder.conv_in.weight": "encoder.0.weight", "quantize_vis.embedding.weight": "quantizer.parts.0.codebook"}
    pairs |= {"quantize_sem.embedding.weight": "quantizer.parts.1.codebook", "quant_conv_sem.weight": "branches.1.4.weight"}
    for theirs, ours in pairs.items():
        torch.testing.assert_close(own[ours].grad, t[f"grad:{theirs}"], rtol=2e-3, atol=1e-4)
    close(0.5 * turns[2].loss.detach(), t["d_total"])


def _turns(game, batch, step, rng):
    """The turns of a step, with their gradients."""
    for turn in game.play(batch, step, rng):
        game.players[turn.player].zero_grad()
        turn.loss.backward()
        yield turn


def _load_discriminator(part, state):
    own = {name.removeprefix("loss.discriminator."): x for name, x in state.items() if name.startswith("loss.discriminator.")}
    theirs = sorted({name.rpartition(".")[0] for name in own}, key=lambda name: int(name.split(".")[-1]))
    ours = [name for i in range(3) for name in (f"convs.{i}", *([f"norms.{i}"] if i else []))] + ["out"]
    pairs = [(n, f"{b}.{n.rpartition('.')[2]}") for a, b in zip(theirs, ours, strict=True) for n in own if n.startswith(f"{a}.")]
    part.load_state_dict({ours: own[theirs] for theirs, ours in pairs})


# ---- what cannot be


def test_what_does_not_fit_is_named():
    small = VQGANSpec(channels=1, quantizer=LFQSpec(4))
    for spec, problem in (
        (RepresentationSpec(0, width=8, heads=2), "has 16 channels, and width is 8; give width 16"),
        (RepresentationSpec(0, level=4), "level 4, but the feature network has 2 maps"),
        (RepresentationSpec(1, heads=2), "book 1, but the quantizer has 1"),
    ):
        with pytest.raises(ValueError, match=problem):
            TokenizerGame(small.build(), TokenizerLosses(representation=(spec,)), Teacher(torch.zeros(1, 16)))
    with pytest.raises(ValueError, match="features: representation is given but no feature network was given"):
        TokenizerGame(small.build(), TokenizerLosses(representation=(RepresentationSpec(0, heads=2),)))
    for fields, problem in (
        ({"generator_loss": "wasserstein"}, "generator_loss: got 'wasserstein'; give one of hinge, logistic, non-saturating"),
        ({"balance": "none"}, "balance: got 'none'; give one of adaptive, constant"),
        ({"lecam_decay": 1.0}, "lecam_decay: got 1.0; want a number in"),
        ({"lecam_weight": -1.0}, "lecam_weight: got -1.0; want a finite number"),
    ):
        with pytest.raises(ValueError, match=problem):
            TokenizerLosses(**fields)
    with pytest.raises(ValueError, match="width: got 15; want a multiple of 8 heads"):
        RepresentationSpec(width=15)


def test_losses_saved_before_are_what_they_were():
    saved = TokenizerLosses(squared_weight=4.0, discriminator=PatchGANSpec(1, 8, 2)).to_json()
    assert not saved.keys() & {"generator_loss", "balance", "lecam_weight", "representation", "l1_weight"}
    assert Spec.from_json(saved) == TokenizerLosses(squared_weight=4.0, discriminator=PatchGANSpec(1, 8, 2))
    new = TokenizerLosses(lecam_weight=0.05, generator_loss="non-saturating", representation=(RepresentationSpec(),))
    assert Spec.from_json(new.to_json()) == new
