"""LlamaGen and MaskGIT against tensors of the published programs: networks, losses, filters, whole chains."""

import json

import pytest
import torch
from reference import reference
from safetensors.torch import load_file

from bitmosaic.codes import Codes
from bitmosaic.convert import convert_part
from bitmosaic.convert.index_priors import published_llamagen, published_maskgit
from bitmosaic.priors import Prior
from bitmosaic.priors.maskgit import masked_counts, token_loss
from bitmosaic.samplers import LlamaGenSamplerSpec, MaskGITSamplerSpec
from bitmosaic.samplers.llamagen import kept, probabilities
from bitmosaic.samplers.maskgit import confidence, draw, guidance_at, masked_again

CLOSE = {"rtol": 0, "atol": 2e-5}


def tensors(folder, name):
    return load_file(reference(folder) / f"{name}.safetensors")


def settings(folder):
    return json.loads((reference(folder) / "args.json").read_text())


@pytest.fixture(scope="module")
def llamagen():
    return published_llamagen(tensors("llamagen", "weights"), (4, 4), 4).build()


@pytest.fixture(scope="module")
def maskgit():
    return published_maskgit(tensors("maskgit_maskbit", "weights_uvit"), None, 4).build()


def test_llamagen_says_what_the_published_network_says(llamagen):
    given = tensors("llamagen", "forward")
    digits, vectors = given["tokens"][..., None], llamagen.embed(given["labels"], 3)
    with torch.no_grad():
        every = torch.ones(3, 16, dtype=torch.bool)
        logits = llamagen.head.logits(llamagen.context(digits, every, vectors)[None])
        torch.testing.assert_close(logits, given["logits"][:, :16], **CLOSE)
        torch.testing.assert_close(next(llamagen.whole(digits, vectors)), given["block0"], **CLOSE)
        one, before = llamagen.in_order(vectors), None
        for i in range(16):
            torch.testing.assert_close(llamagen.head.logits(one(before)[None]), given["logits"][:, i], **CLOSE)
            before = digits[:, i]


def test_llamagen_learns_as_the_published_program(llamagen):
    given = tensors("llamagen", "forward")
    labels = torch.where(given["train.class_uniform"] < 0.1, 7, given["labels"])
    every = torch.ones(3, 16, dtype=torch.bool)
    digits = given["tokens"][..., None]
    context = llamagen.context(digits, every, llamagen.embed(labels, 3))
    loss = llamagen.head.loss(digits.flatten(0, 1), context.flatten(0, 1), torch.Generator())
    torch.testing.assert_close(loss, given["train.loss"], **CLOSE)
    block = llamagen.blocks[0].attention.qkv.weight, llamagen.blocks[-1].feed_forward.w2.weight
    grads = torch.autograd.grad(loss, [llamagen.table.weight, llamagen.condition.table.weight, *block])
    for found, name in zip(grads, ("tok_embeddings", "class_table", "block0_wqkv", "last_w2"), strict=True):
        torch.testing.assert_close(found, given[f"train.grad_{name}"], **CLOSE)


def test_llamagen_keeps_the_indices_that_the_published_filter_keeps():
    given = tensors("llamagen", "filter")
    for k, p in settings("llamagen")["filters"]:
        found, wanted = kept(given["logits"], k, p), given[f"kept.k{k}_p{p:.2f}" if p == 0.05 else f"kept.k{k}_p{p}"]
        assert torch.equal(found[1:], wanted[1:])
        if p < 1:  # which of the first row's equal logits comes first hangs on the sort
            first = given["logits"][0]
            assert torch.equal(first[found[0]].sort().values, first[wanted[0]].sort().values)
        else:
            assert torch.equal(found[0], wanted[0])
    torch.testing.assert_close(probabilities(given["logits"], 0.7, 5, 0.9), given["probs.temperature"], **CLOSE)


def test_llamagen_samples_as_the_published_program(llamagen):
    given, args = tensors("llamagen", "generation"), settings("llamagen")
    codes, known = Codes(torch.zeros(2, 4, 4, 1, dtype=torch.uint8), (40,)), torch.zeros(2, 4, 4, dtype=torch.bool)
    greedy = LlamaGenSamplerSpec(args["cfg"], temperature=0.0).build()
    *_, last = greedy(llamagen, codes, known, given["labels"], [torch.Generator().manual_seed(i) for i in range(2)])
    assert torch.equal(last.codes.flat()[..., 0].long(), given["greedy_cfg.tokens"].long())
    for name, how in args["generation"].items():
        if how["sample_logits"]:
            guided = given[f"{name}.guided_logits"].flatten(0, 1)
            p = probabilities(guided, how["temperature"], how["top_k"], how["top_p"])
            torch.testing.assert_close(p.view(16, 2, -1), given[f"{name}.probability"], **CLOSE)
            assert (p.view(16, 2, -1).gather(2, given[f"{name}.tokens"].T.long()[..., None]) > 0).all()


@pytest.mark.parametrize("guided", [0, 8])
def test_llamagen_guides_the_places_that_it_is_told_to(llamagen, guided, monkeypatch):
    """8 is cfg_interval 6 of the published program, which counts from the second code."""
    given, seen = tensors("llamagen", "generation"), []
    name, head = "cfg_interval" if guided else "sampled_cfg", llamagen.head.logits
    monkeypatch.setattr(llamagen.head, "logits", lambda *args: seen.append(head(*args)) or seen[-1])
    tokens, asked = given[f"{name}.tokens"].long(), []
    codes, known = Codes(tokens.view(2, 4, 4, 1), (40,)), torch.zeros(2, 4, 4, dtype=torch.bool)

    def told(p, uniform):
        asked.append(p)
        return tokens[:, len(asked) - 1]

    monkeypatch.setattr("bitmosaic.samplers.llamagen.drawn", told)
    sampler = LlamaGenSamplerSpec(settings("llamagen")["cfg"], guided_places=guided).build()
    list(sampler(llamagen, codes, known, given["labels"], [torch.Generator() for _ in range(2)]))
    torch.testing.assert_close(torch.stack(seen), given[f"{name}.guided_logits"], **CLOSE)


def test_maskgit_says_and_learns_what_the_published_network_does(maskgit):
    given = tensors("maskgit_maskbit", "maskgit")
    assert torch.equal(masked_counts(12, given["mask.r"]), given["mask.mask"].sum(1))
    digits, known = given["tokens"][..., None], ~given["mask.mask"]
    with torch.no_grad():
        for labels, name in ((given["labels"], "logits"), (None, "logits_null")):
            logits = maskgit.head.logits(maskgit.context(digits, known, maskgit.embed(labels, 4))[None])
            torch.testing.assert_close(logits, given[name], **CLOSE)
    for weight in (0.0, 0.1):
        loss = token_loss(given["logits"], given["tokens"], given["mask.mask"], 0.1, weight)
        torch.testing.assert_close(loss, given[f"loss_unmasked{weight}"], **CLOSE)


@pytest.mark.parametrize("name", ["constant", "linear", "power_cosine"])
def test_maskgit_samples_as_the_published_program(maskgit, name):
    """Each round of the recorded chains, with their noise: the logits, what is drawn, and what is masked again."""
    given, how = tensors("maskgit_maskbit", "maskgit_sampling"), settings("maskgit_maskbit")["maskgit_chains"][name]
    decay = how["guidance_decay"]
    scale = how["guidance_scale"] + (decay != "power-cosine")  # there l + s (l - l_null), which is l_null + (1 + s) (l - l_null)
    spec = MaskGITSamplerSpec(6, scale, how["randomize_temperature"], decay, how.get("guidance_scale_pow", 3.0))
    annealed = how.get("softmax_temperature_annealing", False)
    for i in range(6):
        before, labels = given[f"{name}.input"][i], torch.tensor([5, 4])
        known = before != 24
        with torch.no_grad():
            both = [maskgit.context(before.clamp(max=23)[..., None], known, maskgit.embed(one, 2)) for one in (labels, None)]
            logits = maskgit.head.logits(torch.stack(both), guidance_at(spec, i))
        logits = logits / (0.5 + 0.8 * (1 - (i + 1) / 6)) if annealed else logits
        torch.testing.assert_close(logits, given[f"{name}.guided_logits"][i], rtol=0, atol=5e-5)
        noise, guided = spec.temperature * (1 - (i + 1) / 6), given[f"{name}.guided_logits"][i]
        drawn = torch.where(known, before, draw(guided, given[f"{name}.uniform_token"][i], noise))
        sure = confidence(guided, drawn, given[f"{name}.uniform_confidence"][i], noise)
        again = masked_again(sure, ~known, torch.tensor([12, 12]), i + 1, 6)
        after = given[f"{name}.input"][i + 1] if i < 5 else given[f"{name}.final"]
        assert torch.equal(drawn.masked_fill(again, 24), after)


@pytest.mark.parametrize("folder, name, grid", [("llamagen", "weights", (4, 4)), ("maskgit_maskbit", "weights_uvit", (3, 4))])
def test_a_published_file_becomes_a_prior(folder, name, grid, tmp_path):
    path = reference(folder) / f"{name}.safetensors"
    prior = Prior.from_pretrained(convert_part(path, tmp_path / "prior", heads=4, grid=grid))
    assert prior.grid == grid and prior.spec.heads == 4
    with pytest.raises(ValueError, match="target, timesteps"):
        convert_part(path, tmp_path / "other", heads=4, grid=grid, timesteps=256)
    state = load_file(path)
    name = next(iter(state))
    for wrong in ({k: v for k, v in state.items() if k != name}, {**state, "more": torch.zeros(2)}, {**state, name: torch.zeros(3, 5)}):
        with pytest.raises(ValueError, match="not a published|missing|more"):
            (published_llamagen(wrong, grid, 4) if folder == "llamagen" else published_maskgit(wrong, grid, 4)).build()


def test_two_published_files_become_a_pipeline_that_draws(tmp_path, capsys):
    """taming-transformers' VQGAN of 40 codewords and LlamaGen's prior over as many."""
    from bitmosaic import Pipeline
    from bitmosaic.cli import main

    vqgan, prior = reference("taming_vqgan") / "weights.safetensors", reference("llamagen") / "weights.safetensors"
    words = ["convert", str(vqgan), str(prior), "--grid", "4", "4", "--heads", "4", "--out", str(tmp_path / "p")]
    assert main([*words, "--evaluations", "9"]) == 2
    assert "evaluations: a pipeline with this prior is drawn by LlamaGenSamplerSpec" in capsys.readouterr().err
    assert main([*words, "--guidance-scale", "1.5"]) == 0
    assert "one of 40 codewords a place" in capsys.readouterr().out
    pipe = Pipeline.from_pretrained(tmp_path / "p")
    assert pipe.sampler == LlamaGenSamplerSpec(1.5) and pipe.tokenizer.radix == (40,) and len(pipe.class_names) == 7
    assert [image.size for image in pipe([0, 6], seeds=[1, 2])] == [pipe.tokenizer.image_size[::-1]] * 2
    assert main([*words[:3], "--grid", "2", "8", "--heads", "4", "--out", str(tmp_path / "wide")]) == 0
    height, width = Pipeline.from_pretrained(tmp_path / "wide").tokenizer.image_size
    assert width == 4 * height
