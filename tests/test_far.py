"""FAR, a causal prior with a depth head: parity with its authors' program, the chain rule within a place, sampling, and its layout."""

import json

import pytest
import torch
from reference import reference
from safetensors.torch import load_file

from bitmosaic.codes import Codes
from bitmosaic.convert.index_priors import published_far
from bitmosaic.priors import FARSpec
from bitmosaic.samplers import LlamaGenSamplerSpec
from bitmosaic.samplers.llamagen import probabilities


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def published():
    folder = reference("fqgan")
    state, given = load_file(folder / "far.safetensors"), load_file(folder / "reference.safetensors")
    return published_far(state, (4, 4), heads=2), state, given, json.loads((folder / "args.json").read_text())


def test_logits_loss_and_gradients_agree(published):
    part, _, given, args = published
    prior = part.build().train().requires_grad_()
    assert part.spec == FARSpec((4, 4), (20, 20), 2, 2, 32, 2, part.spec.condition, part.spec.multiple)
    digits = torch.stack([given["far_i1"], given["far_i2"]], -1)
    dropped = given["far_uniform"] < args["far"]["class_dropout_prob"]
    label = torch.where(dropped, args["far"]["num_classes"], given["far_label"])
    told = prior.condition.table.weight[label]
    context = prior.context(digits, torch.ones(3, 16, dtype=torch.bool), told)
    x = prior.head.streams(context.flatten(0, 1), digits.flatten(0, 1)[:, :-1])
    for j in range(2):
        close(prior.head.outs[j](x[:, j]).view(3, 16, 20).detach(), given[f"far_logits_{j + 1}"])
    loss = prior.head.loss(digits.flatten(0, 1), context.flatten(0, 1), None)
    close(loss.detach(), given["far_loss"])
    loss.backward()
    close(prior.joined.weight.grad, given["far_grad:aggregation_layer.weight"])
    close(prior.blocks[0].attention.qkv.weight.grad, given["far_grad:layers.0.attention.wqkv.weight"])
    close(prior.head.blocks[0].feed_forward.w2.weight.grad, given["far_grad:ar_head.0.feed_forward.w2.weight"])
    close(prior.head.tables[0].weight.grad, given["far_grad:tok_embeddings_1.weight"])


def test_the_guided_sample_was_drawn_from_our_probabilities(published):
    part, _, given, args = published
    prior, digits = part.build(), torch.stack([given["far_sample_1"], given["far_sample_2"]], -1)
    null = torch.full((3,), args["far"]["num_classes"])
    with torch.no_grad():
        told = prior.condition.table.weight[torch.cat([given["far_label"], null])]
        ask, before = prior.in_order(told), None
        for i in range(16):  # with keys and values kept
            contexts = ask(before).view(2, 3, -1)
            for j in range(2):
                logits = prior.head.next_logits(contexts, digits[:, i, :j], args["cfg_scale"][j])
                p = probabilities(logits, args["temperature"][j], args["top_k"][j], args["top_p"][j])
                close(p, given[f"far_sample_probability_{j + 1}"][:, i])
            before = digits[:, i].repeat(2, 1)


def tiny(radix=(3, 2, 5)):
    torch.manual_seed(0)
    prior = FARSpec((2, 3), radix).build().eval()
    with torch.no_grad():
        for p in prior.parameters():
            p.mul_(8)
    return prior


def test_the_probabilities_of_all_codes_of_a_place_sum_to_one_by_digits_and_by_bits():
    head, context = tiny().head, torch.randn(1, 1, 16, generator=torch.Generator().manual_seed(1))
    every = torch.cartesian_prod(*(torch.arange(r) for r in head.radix))
    with torch.no_grad():
        found = head.log_likelihood(every, context.expand(1, len(every), 16), None)
        bits = Codes(every[:, None], head.radix).bits()[:, 0]
        by_bits = super(type(head), head).log_likelihood(bits, context.expand(1, len(every), 16), None)
    close(found.exp().sum(), torch.tensor(1.0))
    close(found, by_bits)
    first = found.exp().view(3, 2, 5).sum((1, 2))
    assert (found.exp().view(3, 2, 5).sum(2) / first[:, None]).std(0).max() > 1e-3  # the second digit depends on the first


def test_digits_are_sampled_one_after_another_and_an_image_does_not_depend_on_those_beside_it():
    prior, known = tiny(), torch.zeros(3, 2, 3, dtype=torch.bool)
    start = Codes(torch.zeros(3, 2, 3, 3, dtype=torch.uint8), prior.radix)
    sampler, labels = LlamaGenSamplerSpec(guidance_scale=2.0, top_p=0.9).build(), torch.tensor([0, 1, 2])

    def drawn(some):
        *_, last = sampler(prior, start[some], known[some], labels[some], [torch.Generator().manual_seed(i) for i in range(3)[some]])
        return last.codes.check().digits

    whole = drawn(slice(0, 3))
    assert torch.equal(whole[1:2], drawn(slice(1, 2))) and len(whole.unique()) > 2


def test_a_file_that_is_not_whole_is_refused_with_the_names_of_its_tensors(published):
    state = published[1]
    with pytest.raises(ValueError, match=r"ar_head\.1\.attention\.wo\.weight"):
        published_far({n: t for n, t in state.items() if n != "ar_head.1.attention.wo.weight"}, (4, 4), 2)
    with pytest.raises(ValueError, match=r"not a published FAR: tensor aggregation_layer\.weight is missing"):
        published_far({n: t for n, t in state.items() if n != "aggregation_layer.weight"}, (4, 4), 2)
    with pytest.raises(ValueError, match="odd"):
        published_far({**state, "odd": torch.zeros(2)}, (4, 4), 2)
