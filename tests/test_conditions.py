"""Conditions as values: every kind is cut, joined, moved, has a null, and is encoded the same alone and among others."""

import dataclasses
import json

import pytest
import torch
from test_spec import specs

from bitmosaic.codes import Codes
from bitmosaic.conditions import (
    Blends,
    ClassConditionSpec,
    Classes,
    Condition,
    ConditionSpec,
    Encoded,
    NoConditionSpec,
    Nothing,
    TextConditionSpec,
    Texts,
)
from bitmosaic.conditions.byte_pairs import BytePairs, words
from bitmosaic.conditions.text import PADDING
from bitmosaic.folders import load_part, save_part
from bitmosaic.priors import D3PMSpec, LlamaGenSpec, MaskedDigitsSpec, MaskedPriorSpec, MaskGITSpec, Prior
from bitmosaic.samplers import MaskGITSamplerSpec

CAPTIONS = ["red heart", "blue heart", "a red apple", "blue book", "red book"]
NAMES = ("bag", "coat", "Tür")
TEXT = TextConditionSpec(length=8, merges=12)
GIVEN = {  # of each kind: its spec, and what users give of five images
    "classes": (ClassConditionSpec(3), ["bag", 1, None, "Tür", torch.tensor(2)]),
    "blends": (ClassConditionSpec(3), [{"bag": 0.5, "coat": 0.5}, 1, None, {0: 1.0}, {"Tür": 0.25, None: 0.75}]),
    "nothing": (NoConditionSpec(), [None] * 5),
    "text": (TEXT, ["A red heart", "", None, "blue", "日本 \U0001f600 and a text that is much longer than fits"]),
}
kinds = pytest.mark.parametrize("kind", GIVEN)


def encoder_and_values(kind, width=6):
    spec, given = GIVEN[kind]
    torch.manual_seed(0)
    encoder = spec.build(width, tokens=True).eval()
    encoder.learn(CAPTIONS)
    found = encoder.reader(NAMES).read(given)
    return encoder, encoder.null(5) if found is None else found


def parts(encoded):
    return [x for x in (encoded.vector, encoded.tokens, encoded.mask) if x is not None]


def test_every_kind_has_a_row_here():
    every = {kind for kind in specs() if issubclass(kind, ConditionSpec)}
    assert every == {type(spec) for spec, _ in GIVEN.values()}
    assert set(Condition.__subclasses__()) == {Classes, Blends, Nothing, Texts} == {type(encoder_and_values(kind)[1]) for kind in GIVEN}


@kinds
@torch.no_grad()
def test_values_are_cut_and_joined(kind):
    encoder, values = encoder_and_values(kind)
    whole = encoder(values, 5)
    assert len(values) == len(whole) == 5
    cuts = [values[:2], values[2], values[[3]], values[torch.tensor([4])]]
    assert [len(cut) for cut in cuts] == [2, 1, 1, 1] and type(cuts[0]) is type(values)
    again = Condition.joined(cuts).to("cpu")
    for one, other in zip(parts(encoder(again, 5)), parts(whole), strict=True):
        assert torch.equal(one, other)
    order = [3, 0, 4, 4]
    for one, other in zip(parts(encoder(values[order], 4)), parts(whole), strict=True):
        torch.testing.assert_close(one, other[order])


@kinds
@torch.no_grad()
def test_one_alone_is_encoded_as_among_others(kind):
    encoder, values = encoder_and_values(kind)
    whole = encoder(values, 5)
    for i in range(5):
        for one, other in zip(parts(encoder(values[i], 1)), parts(whole), strict=True):
            torch.testing.assert_close(one[0], other[i])


@kinds
@torch.no_grad()
def test_the_null_is_what_none_is_and_what_dropout_gives(kind):
    encoder, values = encoder_and_values(kind)
    null = encoder(None, 5)
    for one, other in zip(parts(encoder(encoder.null(5), 5)), parts(null), strict=True):
        assert torch.equal(one, other)
    torch.testing.assert_close(encoder(values[2], 1).vector, null.vector[:1])  # the third of each kind is None
    if not encoder.guides:
        assert encoder.drop(values, 1.0, torch.Generator()) is None
        return
    if kind != "blends":  # nobody trains on blends
        rng = torch.Generator().manual_seed(0)
        assert torch.equal(encoder(encoder.drop(values, 1.0, rng), 5).vector, null.vector)
        kept = encoder.drop(values, 0.0, rng)
        assert all(torch.equal(a, b) for a, b in zip(parts(encoder(kept, 5)), parts(encoder(values, 5)), strict=True))


@kinds
def test_values_of_another_kind_or_number_are_refused_in_one_line(kind):
    encoder, values = encoder_and_values(kind)
    other = Texts(torch.ones(5, 8, dtype=torch.int64)) if kind != "text" else Classes(torch.zeros(5, dtype=torch.int64))
    with pytest.raises(ValueError, match="condition: got .*; this prior is conditioned on"):
        encoder(other, 5)
    with pytest.raises(ValueError, match="5"):
        encoder(values, 4)
    with pytest.raises(ValueError, match="one kind makes a batch"):
        Condition.joined([values, other])


@kinds
def test_what_is_no_condition_of_a_kind_is_refused(kind):
    encoder, _ = encoder_and_values(kind)
    reader = encoder.reader(NAMES if encoder.classes else ())
    for wrong in ([1.5], [b"bag"], [{"hat": 1.0}], [object()], [True]):
        with pytest.raises(ValueError, match="^condition: "):
            reader.read(wrong)


def test_a_class_encoder_is_given_no_prompt_and_text_no_class():
    classes, text, none = (encoder_and_values(kind)[0].reader(NAMES) for kind in ("classes", "text", "nothing"))
    assert classes.parse("bag", "class") == classes.parse("bag", "prompt") == ("bag", 0)
    with pytest.raises(ValueError, match="prompt: no class 'a red heart', and this pipeline knows no text; its classes are 0 bag"):
        classes.parse("a red heart", "prompt")
    assert text.parse("none", "class") == ("none", None) and text.parse("none", "prompt") == ("none", "none")
    with pytest.raises(ValueError, match="class: got 'bag', but this pipeline knows no classes; give --prompt"):
        text.parse("bag", "class")
    with pytest.raises(ValueError, match="prompt: .*give --prompt"):
        text.every()
    assert none.every() == [("image", None)] and none.parse("none", "class") == ("none", None)
    with pytest.raises(ValueError, match="without classes or captions"):
        none.parse("a red heart", "prompt")


# ---- text


def test_byte_pairs_are_learned_the_same_in_any_order_and_bring_words_together():
    pairs = BytePairs.learned(CAPTIONS, 100)
    assert pairs.merges == BytePairs.learned(CAPTIONS[::-1], 100).merges and len(pairs.merges) < 100
    assert len(pairs.encode("Red HEART")) == 2 and pairs.encode("red heart") == pairs.encode("  red\theart \n")
    assert pairs.encode("redheart") != pairs.encode("red heart")
    assert pairs.encode("e\u0301") == pairs.encode("\u00e9") and pairs.encode("Stra\u00dfe") == pairs.encode("STRASSE")
    assert BytePairs.learned([], 5).encode("ab") == list(b" ab")
    assert pairs.encode("") == pairs.encode(" \n\u2003\x00") == []


@pytest.mark.parametrize("text", ["\ud800", "日本語の猫", "a\u200dz", "\x00\x1b", "🏴\U000e0067\U000e007f", "flag: France", "\uffff" * 3])
def test_any_text_has_tokens_of_bytes(text):
    assert b"".join(words(text)) == bytes(BytePairs([]).encode(text))
    encoder, _ = encoder_and_values("text")
    assert encoder(encoder.reader(()).read([text]), 1).vector.isfinite().all()


def test_a_text_is_cut_at_its_length_and_says_so():
    encoder, _ = encoder_and_values("text")
    reader = encoder.reader(())
    digits = "1 2 3 4 5"  # each a space and a byte, which no caption holds; seven tokens fit behind the start
    assert reader.beyond("red") == 0 and reader.beyond(digits) == 10 - 7
    assert torch.equal(reader.read([digits]).tokens, reader.read([digits + " and more"]).tokens)


@torch.no_grad()
def test_padding_changes_nothing():
    encoder, _ = encoder_and_values("text")
    value = encoder.reader(()).read(["red heart"])
    before = encoder(value, 1)
    own = int((value.tokens != PADDING).sum())
    encoder.table.weight[PADDING] += 100
    encoder.positions[own:] -= 50
    after = encoder(value, 1)
    assert torch.equal(before.mask, after.mask) and int(after.mask.sum()) == own
    torch.testing.assert_close(after.vector, before.vector, rtol=0, atol=1e-5)
    torch.testing.assert_close(after.tokens[:, :own], before.tokens[:, :own], rtol=0, atol=1e-5)
    assert not torch.allclose(after.tokens[:, own:], before.tokens[:, own:])


def text_prior(kind):
    torch.manual_seed(0)
    prior = dataclasses.replace(kind(), condition=TEXT).build().eval()
    prior.condition.learn(CAPTIONS)
    with torch.no_grad():
        for p in prior.parameters():
            p.copy_(torch.randn(p.shape) * 0.3)
    return prior, prior.condition.reader(())


@pytest.mark.parametrize("kind", [MaskedPriorSpec, MaskGITSpec, MaskedDigitsSpec, D3PMSpec])
@torch.no_grad()
def test_masked_and_denoising_priors_read_tokens_and_no_padding(kind):
    prior, reader = text_prior(kind)
    codes = Codes(torch.zeros(2, 4, 4, len(prior.radix), dtype=torch.int32), prior.radix)
    known = torch.zeros(2, 16, dtype=torch.bool)

    def said(encoded):
        if prior.family == "denoising":
            return prior.denoise(codes.flat()[..., 0].long(), torch.tensor([3, 9]), encoded)
        return prior.context(codes.flat(), known, encoded)

    encoded = prior.embed(reader.read(["red heart", "a blue book"]), 2)
    seen = said(encoded)
    noise = torch.where(encoded.mask[..., None], encoded.tokens, torch.randn(encoded.tokens.shape))
    torch.testing.assert_close(said(Encoded(encoded.vector, noise, encoded.mask)), seen)
    other = Encoded(encoded.vector, encoded.tokens.flip(0), encoded.mask.flip(0))
    assert not torch.allclose(said(other), seen, atol=1e-3), "the tokens are not read"
    turned = prior.embed(reader.read(["heart red", "blue a book"]), 2)
    assert not torch.allclose(said(turned), seen, atol=1e-4), "the order of the words is not read"


@pytest.mark.parametrize("kind", [MaskedPriorSpec, MaskGITSpec, MaskedDigitsSpec, LlamaGenSpec, D3PMSpec])
def test_a_text_prior_learns_in_every_parameter_and_drops_to_the_null(kind):
    prior, reader = text_prior(kind)
    codes = Codes(torch.randint(0, 2, (4, 4, 4, len(prior.radix)), dtype=torch.int32), prior.radix)
    values = prior.condition.of_data(None, ["red heart", "", "blue book", "a red apple"])
    reached = set()
    for seed in range(4):
        prior.zero_grad()
        prior.train().loss(codes, values, torch.Generator().manual_seed(seed), 0.3).backward()
        assert all(p.grad is not None for p in prior.parameters()), "stops distributed training"
        reached |= {name for name, p in prior.named_parameters() if (p.grad != 0).any()}
    assert reached == {name for name, _ in prior.named_parameters()}
    prior.zero_grad()
    prior.loss(codes, values, torch.Generator().manual_seed(0), 1.0).backward()
    assert (prior.condition.table.weight.grad != 0).any(1).nonzero().flatten().tolist() == [1], "the null is the start alone"


def test_what_is_learned_of_the_captions_is_saved_with_the_prior(tmp_path):
    prior, reader = text_prior(MaskedPriorSpec)
    save_part(prior, prior.spec, tmp_path / "prior")
    again = load_part(tmp_path / "prior", Prior)
    assert again.condition.pairs.merges == prior.condition.pairs.merges != []
    assert torch.equal(again.condition.reader(()).read(["red heart"]).tokens, reader.read(["red heart"]).tokens)
    low = load_part(tmp_path / "prior", Prior, torch.bfloat16)
    assert low.condition.pairs.merges == prior.condition.pairs.merges


def test_descriptions_of_conditions_stay_as_they_were_stored():
    stored = {"type": "ClassConditionSpec", "classes": 10}
    assert ConditionSpec.from_json(stored) == ClassConditionSpec(10) and ClassConditionSpec(10).to_json() == stored
    assert json.dumps(NoConditionSpec().to_json()) == '{"type": "NoConditionSpec"}'
    for wrong in ({"length": 1}, {"merges": -1}, {"width": 15}, {"depth": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            TextConditionSpec(**wrong)


@pytest.mark.slow
def test_a_masked_prior_learns_to_draw_what_a_caption_says():
    """The first word says the left half, the second the right one; each of fourteen captions draws its own picture from any seed."""
    colours, things = ["red", "green", "blue", "black"], ["heart", "book", "star", "fish"]
    pairs = [(a, b) for a in range(4) for b in range(4) if (a, b) not in ((0, 1), (2, 3))]
    texts = [f"a {colours[a]} {things[b]}" for a, b in pairs]
    grids = torch.tensor([[[a, a, 4 + b, 4 + b]] * 4 for a, b in pairs])[..., None]
    torch.manual_seed(0)
    text = TextConditionSpec(length=5, merges=60, width=32, depth=1, heads=2)
    prior = MaskGITSpec((4, 4), 8, 3, 2, 32, text, inner=64, smoothing=0.0).build().train()
    prior.condition.learn(texts)
    optimizer, rng = torch.optim.AdamW(prior.parameters(), 3e-3, weight_decay=0.01), torch.Generator().manual_seed(0)
    for _ in range(300):
        rows = torch.randint(len(pairs), (32,), generator=rng)
        loss = prior.loss(Codes(grids[rows], (8,)), prior.condition.of_data(None, [texts[i] for i in rows]), rng)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    sampler, nothing = MaskGITSamplerSpec(steps=4, guidance_scale=2.0, temperature=0.5).build(), torch.zeros_like(grids)
    generators = [torch.Generator().manual_seed(i) for i in range(len(pairs))]
    value = prior.eval().condition.reader(()).read(texts)
    *_, last = sampler(prior, Codes(nothing, (8,)), torch.zeros(len(pairs), 4, 4, dtype=torch.bool), value, generators)
    assert torch.equal(last.codes.digits, grids)
