"""Quantizers against tensors of the published programs: LFQ, IBQ, BSQ (SEED-Voken, bsq-vit), FQGAN's and LlamaGen's, VQGAN-LC's."""

import json

import pytest
import torch
from reference import reference
from safetensors.torch import load_file

from bitmosaic.quantizers import (
    BSQSpec,
    CosineSpec,
    FrozenFeaturesSpec,
    GumbelSpec,
    IBQSpec,
    LFQSpec,
    NearestEMASpec,
    NearestSpec,
    ResidualSpec,
    SimVQSpec,
)
from bitmosaic.quantizers.codebook import one_hot_lookup
from bitmosaic.quantizers.entropy import assignment_entropies
from bitmosaic.quantizers.gumbel import lower_bound
from bitmosaic.quantizers.product import overlap

CLOSE = {"atol": 2e-6, "rtol": 2e-5}


def tensors(name):
    folder = reference(name)
    return load_file(folder / "reference.safetensors"), json.loads((folder / "args.json").read_text())


def last(x):
    """(b, c, h, w) -> (b, h, w, c)."""
    return x.movedim(1, -1).contiguous()


def differentiated(quantizer, z, cotangent, weights=None):
    """The quantized vectors and losses, and gradients at z and at the parameters of sum(zq G) + the losses."""
    z = z.clone().requires_grad_()
    found = quantizer(z)
    scalar = (found.z * cotangent).sum() + sum(found.losses.values())
    scalar.backward()
    return found, z.grad, {name: p.grad for name, p in quantizer.named_parameters()}


@pytest.mark.parametrize("prefix", ["", "small_"])
def test_lfq(prefix):
    t, sizes = tensors("ibq_lfq_bsq")
    spec = LFQSpec(sizes["lfq_bits"], entropy=1.0, diversity=sizes["batch_weight"], commitment=1.0, group=8)
    found, grad, _ = differentiated(spec.build(), last(t[prefix + "z"]), last(t["cotangent"]))
    torch.testing.assert_close(found.z, last(t[prefix + "lfq_zq"]))
    assert torch.equal((found.digits.long() << torch.arange(8)).sum(-1).flatten(), t[prefix + "lfq_indices"])
    torch.testing.assert_close(found.losses["commitment"], t[prefix + "lfq_commitment"], **CLOSE)
    torch.testing.assert_close(found.losses["entropy"], t[prefix + "lfq_entropy_loss"], **CLOSE)
    torch.testing.assert_close(grad, last(t[prefix + "lfq_grad_z"]), atol=2e-5, rtol=2e-4)


def test_lfq_decodes_published_indices():
    t, sizes = tensors("ibq_lfq_bsq")
    bits = t["small_lfq_indices"].view(2, 3, 4, 1) >> torch.arange(sizes["lfq_bits"]) & 1
    assert torch.equal(LFQSpec(sizes["lfq_bits"]).build().decode(bits), last(t["lfq_codes_from_indices"]))


@pytest.mark.parametrize("entropy", [False, True])
@pytest.mark.parametrize("prefix", ["", "small_"])
def test_ibq(entropy, prefix):
    t, sizes = tensors("ibq_lfq_bsq")
    if prefix and not entropy:
        pytest.skip("stored with entropies alone")
    weight = 1.0 if entropy else 0.0
    quantizer = IBQSpec(sizes["ibq_n"], sizes["ibq_dim"], sizes["ibq_beta"], weight, sizes["ibq_temperature"]).build()
    quantizer.load_state_dict({"codebook": t["ibq_codebook"]})
    z = last(t["ibq_z"]) * (0.02 if prefix else 1)
    if entropy:
        losses = t[f"ibq_entropy_{prefix}losses"]
        z = z.requires_grad_()
        found = quantizer(z)
        torch.testing.assert_close(found.losses.pop("entropy"), losses[3], **CLOSE)
        torch.testing.assert_close(sum(found.losses.values()), losses[0], **CLOSE)
        _, grad, others = differentiated(quantizer, z.detach(), last(t["ibq_cotangent"]))
        torch.testing.assert_close(grad, last(t[f"ibq_entropy_{prefix}grad_z"]), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(others["codebook"], t[f"ibq_entropy_{prefix}grad_codebook"], atol=1e-5, rtol=1e-4)
        return
    found, grad, others = differentiated(quantizer, z, last(t["ibq_cotangent"]))
    torch.testing.assert_close(found.z, last(t["ibq_zq"]), **CLOSE)
    assert torch.equal(found.digits.flatten(), t["ibq_indices"])
    torch.testing.assert_close(sum(found.losses.values()), t["ibq_loss"], **CLOSE)
    torch.testing.assert_close(quantizer.decode(found.digits), last(t["ibq_codes_from_indices"]))
    torch.testing.assert_close(grad, last(t["ibq_grad_z"]), **CLOSE)
    torch.testing.assert_close(others["codebook"], t["ibq_grad_codebook"], **CLOSE)


def test_bsq():
    t, sizes = tensors("ibq_lfq_bsq")
    how, d = sizes["bsq"], sizes["bsq_dim"]
    entropy, diversity = how["zeta"] * how["gamma0"], how["gamma"] / how["gamma0"]
    spec = BSQSpec(d, entropy, diversity, how["beta"], sizes["bsq_group"], sizes["bsq_inv_temperature"])
    quantizer, u = spec.build(), t["bsq_z"].clone().requires_grad_()
    found = quantizer.on_sphere(u)
    digits, loss = found.digits, sum(found.losses.values())
    torch.testing.assert_close(found.z, t["bsq_group_l2_zq"])
    assert torch.equal((digits.long() << torch.arange(d - 1, -1, -1)).sum(-1), t["bsq_indices"])
    torch.testing.assert_close(loss, t["bsq_group_l2_loss"], **CLOSE)
    ((found.z * t["bsq_cotangent"]).sum() + loss).backward()
    torch.testing.assert_close(u.grad, t["bsq_group_l2_grad_z"], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(quantizer.decode(digits), t["bsq_codes_from_indices"])
    torch.testing.assert_close(quantizer(3 * t["bsq_z"]).z, t["bsq_group_l2_zq"])  # which normalises first


def test_cosine():
    t, sizes = tensors("fqgan")
    quantizer = CosineSpec(sizes["K"], sizes["dim"], sizes["beta"], 1.0, sizes["entropy_ratio"]).build()
    quantizer.load_state_dict({"codebook": t["codebook"]})
    found, grad, others = differentiated(quantizer, last(t["z"]), last(t["cotangent"]))
    assert torch.equal(found.digits.flatten(), t["indices"])
    torch.testing.assert_close(found.z, last(t["zq"]), **CLOSE)
    for ours, theirs in (("codebook", "vq_loss"), ("commitment", "commit_loss"), ("entropy", "entropy_loss")):
        torch.testing.assert_close(found.losses[ours], t[theirs], **CLOSE)
    torch.testing.assert_close(grad, last(t["grad_z"]), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(others["codebook"], t["grad_codebook"], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(quantizer.decode(found.digits), last(t["codes_from_indices"]), **CLOSE)


def test_the_entropy_of_fqgan():
    t, _ = tensors("fqgan")
    each, of_mean = assignment_entropies(t["entropy_affinity"] / 0.01)
    torch.testing.assert_close(each - of_mean, t["entropy_of_affinity"], **CLOSE)


def test_a_trained_codebook_of_vqgan_lc():
    t, sizes = tensors("vqgan_lc")
    quantizer = NearestSpec(sizes["K"], sizes["embed_dim"], 1.0, 0.33).build()
    quantizer.load_state_dict({"codebook": t["random_base"]})
    found, grad, others = differentiated(quantizer, last(t["z"]), last(t["cotangent"]))
    assert torch.equal(found.digits.flatten(), t["random_indices"])
    torch.testing.assert_close(found.z, last(t["random_zq"]), **CLOSE)
    torch.testing.assert_close(sum(found.losses.values()), t["random_loss"], **CLOSE)
    torch.testing.assert_close(grad, last(t["random_grad_z"]), **CLOSE)
    torch.testing.assert_close(others["codebook"], t["random_grad_base"], **CLOSE)


@pytest.mark.parametrize("start", ["ema_", "ema_warm_"])
def test_running_means(start):
    """From counts as published: where they begin at zero codewords explode, which is why ours begin at one."""
    t, sizes = tensors("vqgan_lc")
    quantizer = NearestEMASpec(sizes["K"], sizes["embed_dim"], 1.0, 0.99, dead=0.0).build()
    quantizer.codebook.copy_(t[start + "codebook_0"])
    quantizer.sums.copy_(t[start + "embed_avg_0"])
    quantizer.counts.copy_(t[start + "cluster_size_0"])
    batches = [("z", "1"), ("ema_z_2", "2")] if start == "ema_" else [("z", "1")]
    for z, step in batches:
        found = quantizer(last(t[z]), torch.Generator().manual_seed(0))
        indices = t["ema_warm_indices"] if start == "ema_warm_" else t[f"ema_indices_{step}"]
        assert torch.equal(found.digits.flatten(), indices)
        if start == "ema_":
            torch.testing.assert_close(found.losses["commitment"], t[f"ema_loss_{step}"], **CLOSE)
        for ours, theirs in (("counts", "cluster_size"), ("sums", "embed_avg"), ("codebook", "codebook")):
            torch.testing.assert_close(getattr(quantizer, ours), t[f"{start}{theirs}_{step}"], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("names, wanted", [(("vis", "sem"), "dis_loss"), (("vis", "sem", "third"), "dis_loss_triple")])
def test_disentanglement(names, wanted):
    t, sizes = tensors("fqgan")
    parts = [last(t[f"dis_{name}"]).requires_grad_() for name in names]
    loss = sizes["disentangle_ratio"] * overlap([torch.nn.functional.normalize(part, dim=-1) for part in parts])
    torch.testing.assert_close(loss, t[wanted], **CLOSE)
    loss.backward()
    if wanted == "dis_loss":
        torch.testing.assert_close(parts[0].grad, last(t["dis_grad_vis"]), **CLOSE)


def test_residual_codes_are_those_worked_out_for_resgen():
    t = load_file(reference("resgen_like") / "rvq.safetensors")
    depth, codewords, width = t["codebooks"].shape
    quantizer = ResidualSpec(NearestSpec(codewords, width), depth).build()
    with torch.no_grad():
        for level, codebook in zip(quantizer.levels, t["codebooks"], strict=True):
            level.codebook.copy_(codebook)
    digits = quantizer.encode(t["features"])
    assert torch.equal(digits, t["tokens"])
    torch.testing.assert_close(t["features"] - quantizer.decode(digits), t["residuals"][:, -1], **CLOSE)
    for place, (z, k) in enumerate(zip(t["target"], t["k"].tolist(), strict=True)):
        if k:
            assert torch.equal(quantizer.encode_from(z[None], depth - k)[0], t["requantised_target"][place, depth - k :])


@pytest.mark.parametrize("mode", ["linear", "mlp"])
def test_frozen_features_of_vqgan_lc(mode):
    t, sizes = tensors("vqgan_lc")
    quantizer = FrozenFeaturesSpec(sizes["K"], sizes["embed_dim"], sizes["feature_dim"], mode).build()
    start = f"{mode}_proj."
    state = {f"projector.{name.removeprefix(start)}": value for name, value in t.items() if name.startswith(start)}
    quantizer.load_state_dict({"features": t["features"], **state})
    torch.testing.assert_close(quantizer.codebook, t[f"{mode}_codebook"], **CLOSE)
    found, grad, others = differentiated(quantizer, last(t["z"]), last(t["cotangent"]))
    assert torch.equal(found.digits.flatten(), t[f"{mode}_indices"])
    torch.testing.assert_close(sum(found.losses.values()), t[f"{mode}_loss"], **CLOSE)
    torch.testing.assert_close(grad, last(t[f"{mode}_grad_z"]), **CLOSE)
    for name in state:
        theirs = t[f"{mode}_grad_proj.{name.removeprefix('projector.')}"]
        torch.testing.assert_close(others[name], theirs, atol=1e-5, rtol=1e-4)


def test_gumbel():
    """Each codebook alone; the published program draws for both at once."""
    t, _ = tensors("mcquic")
    x, cotangent = (last(t[name]).unflatten(-1, (2, -1)).movedim(-2, 0) for name in ("x", "cotangent"))
    for m in range(2):
        quantizer = GumbelSpec(*t["codebook"].shape[1:]).build()
        with torch.no_grad():
            quantizer.codebook.copy_(t["codebook"][m])
            quantizer.temperature.copy_(t["temperature"][m].squeeze())
        z = x[m].clone().requires_grad_()
        assert torch.equal(quantizer.encode(z)[..., 0], t["encode"][:, m])
        logits = quantizer.logits(z)
        torch.testing.assert_close(logits, t["logit"][:, m], atol=1e-5, rtol=1e-4)
        noisy = logits - (-t["uniform"][:, m].log()).log()
        made = one_hot_lookup(noisy.softmax(-1), noisy.argmax(-1), quantizer.codebook)
        torch.testing.assert_close(made, last(t["dequantized_sample"]).unflatten(-1, (2, -1))[..., m, :], **CLOSE)
        (made * cotangent[m]).sum().backward()
        torch.testing.assert_close(z.grad, last(t["grad_x"]).unflatten(-1, (2, -1))[..., m, :], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(quantizer.codebook.grad, t["grad_codebook"][m], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(quantizer.temperature.grad, t["grad_temperature"][m].squeeze(), atol=1e-4, rtol=1e-3)


def test_the_lower_bound_of_mcquic():
    t, _ = tensors("mcquic")
    x = t["bound_input"].clone().requires_grad_()
    lower_bound(x, 0.5).backward(t["bound_cotangent"])
    assert torch.equal(x.grad, t["bound_grad"])


WEIGHTINGS = pytest.mark.parametrize("way, commitment, pull", [("legacy", 1.0, 0.25), ("new", 0.25, 1.0)])


@WEIGHTINGS
def test_nearest_with_both_published_weightings(way, commitment, pull):
    t, sizes = tensors("taming_vqgan")
    assert sizes["beta"] == 0.25
    quantizer = NearestSpec(*t["codebook"].shape, commitment, pull).build()
    quantizer.load_state_dict({"codebook": t["codebook"]})
    found, grad, others = differentiated(quantizer, last(t["z"]), last(t["cotangent"]))
    assert torch.equal(found.digits.flatten(), t["indices"])
    torch.testing.assert_close(found.z, last(t["zq"]), **CLOSE)
    torch.testing.assert_close(sum(found.losses.values()), t[f"loss_{way}"], **CLOSE)
    torch.testing.assert_close(grad, last(t[f"grad_z_{way}"]), **CLOSE)
    torch.testing.assert_close(others["codebook"], t[f"grad_codebook_{way}"], **CLOSE)


@WEIGHTINGS
@pytest.mark.parametrize("axes", ["q2d", "q1d"])
def test_simvq(axes, way, commitment, pull):
    t, _ = tensors("simvq")
    quantizer = SimVQSpec(*t[f"{axes}_basis"].shape, commitment, pull).build()
    names = {"basis": "basis", "projection.weight": "proj_weight", "projection.bias": "proj_bias"}
    quantizer.load_state_dict({ours: t[f"{axes}_{theirs}"] for ours, theirs in names.items()})
    found, grad, others = differentiated(quantizer, last(t[f"{axes}_z"]), last(t[f"{axes}_cotangent"]))
    assert torch.equal(found.digits.flatten(), t[f"{axes}_indices"])
    torch.testing.assert_close(quantizer.codebook, t[f"{axes}_codebook"], **CLOSE)
    torch.testing.assert_close(found.z, last(t[f"{axes}_zq"]), **CLOSE)
    torch.testing.assert_close(sum(found.losses.values()), t[f"{axes}_loss_{way}"], **CLOSE)
    torch.testing.assert_close(grad, last(t[f"{axes}_grad_z_{way}"]), **CLOSE)
    for name in ("weight", "bias"):
        torch.testing.assert_close(others[f"projection.{name}"], t[f"{axes}_grad_proj_{name}_{way}"], **CLOSE)
