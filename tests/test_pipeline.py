"""Pipeline: saved and loaded strictly, image 17 of a batch is image 17 drawn alone, images in every form."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from bitmosaic import Codes, Pipeline
from bitmosaic.conditions import ClassConditionSpec, NoConditionSpec
from bitmosaic.images import FASHION_CLASSES, fashion_sample, to_pil
from bitmosaic.priors.masked import MaskedPriorSpec
from bitmosaic.samplers.entropy_ordered import EntropyOrderedSpec
from bitmosaic.tokenizers.binary_autoencoder import BinaryAutoencoderSpec


def make(condition=None) -> Pipeline:
    torch.manual_seed(0)
    tokenizer = BinaryAutoencoderSpec((28, 28), 1, 6, 8, (1, 1, 1), 1, (7,), 8, groups=4).build()
    prior = MaskedPriorSpec((7, 7), 6, depth=2, heads=2, width=32, condition=condition or ClassConditionSpec(10)).build()
    names = FASHION_CLASSES if condition is None else ()
    return Pipeline(tokenizer, prior, EntropyOrderedSpec(steps=5, evaluations=4), names)


@pytest.fixture(scope="module")
def pipeline():
    return make()


@pytest.fixture
def saved(pipeline, tmp_path):
    pipeline.save_pretrained(tmp_path / "p")
    return tmp_path / "p"


def test_round_trip_is_bitwise(pipeline, saved):
    again = Pipeline.from_pretrained(saved)
    assert again.class_names == pipeline.class_names and again.sampler == pipeline.sampler
    for a, b in ((again.tokenizer, pipeline.tokenizer), (again.prior, pipeline.prior)):
        assert all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))
    assert torch.equal(again("bag", 3, output_type="pt"), pipeline("bag", 3, output_type="pt"))


def test_half_precision_on_disk_loads_as_float32(pipeline, tmp_path):
    pipeline.save_pretrained(tmp_path / "half", torch.float16)
    size = {d: (tmp_path / d / "prior" / "model.safetensors").stat().st_size for d in ("half",)}
    again = Pipeline.from_pretrained(tmp_path / "half")
    assert again.prior.positions.dtype == torch.float32
    assert size["half"] < 3 * sum(p.numel() for p in pipeline.prior.parameters())
    assert (again.prior.positions - pipeline.prior.positions).abs().max() < 1e-3


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_that_are_no_numbers_are_refused_by_name(pipeline, tmp_path, value, dtype):
    pipeline.save_pretrained(tmp_path / "p", dtype)
    path = tmp_path / "p" / "prior" / "model.safetensors"
    weights = load_file(path)
    weights["positions"].view(-1)[3] = value
    save_file(weights, path)
    with pytest.raises(ValueError, match="prior/model.safetensors: not all numbers are finite, so it is damaged: positions"):
        Pipeline.from_pretrained(tmp_path / "p")


def test_saving_again_replaces_and_leaves_nothing_beside(pipeline, saved):
    pipeline.save_pretrained(saved)
    assert [p.name for p in saved.parent.iterdir()] == ["p"]


def edit(path, change):
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def test_tensors_must_fit(saved):
    path = saved / "prior" / "model.safetensors"
    whole = path.read_bytes()
    edit(path, lambda t: t.update({"norm.wait": t.pop("norm.weight")}))
    with pytest.raises(ValueError, match=r"missing: norm\.weight; extra: norm\.wait"):
        Pipeline.from_pretrained(saved)
    path.write_bytes(whole)
    edit(path, lambda t: t.update(hidden=torch.zeros(5)))
    with pytest.raises(ValueError, match=r"misshapen: hidden \(5,\), want \(32,\)"):
        Pipeline.from_pretrained(saved)
    path.write_bytes(whole[:-7])
    with pytest.raises(ValueError, match="not a readable safetensors file"):
        Pipeline.from_pretrained(saved)
    path.unlink()
    with pytest.raises(ValueError, match="does not exist"):
        Pipeline.from_pretrained(saved)


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("prior", lambda c: c.update(colour=1), "extra colour"),
        ("prior", lambda c: c.pop("depth"), "missing depth"),
        ("prior", lambda c: c.update(depth="two"), r"depth: got 'two', want int"),
        ("prior", lambda c: c.update(heads=5), "not divisible"),
        ("tokenizer", lambda c: c.update(type="Nothing"), "no part is called 'Nothing'"),
        ("tokenizer", lambda c: c.update(type="EntropyOrderedSpec"), "do not fit"),
        ("", lambda c: c.update(more=1), "no more"),
        ("", lambda c: c["sampler"].update(steps=0), "at least 1"),
        ("", lambda c: c.update(class_names=["a"]), "1 names for a prior of 10"),
    ],
)
def test_fields_must_fit(saved, part, change, message):
    path = saved / part / "config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))
    with pytest.raises(ValueError, match=message):
        Pipeline.from_pretrained(saved)


def test_what_is_no_pipeline(tmp_path):
    with pytest.raises(ValueError, match="no pipeline nowhere"):
        Pipeline.from_pretrained("nowhere")
    with pytest.raises(ValueError, match="holds no config.json"):
        Pipeline.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match="not readable JSON|want an object"):
        Pipeline.from_pretrained(tmp_path)


def test_image_17_of_a_batch_is_image_17_alone(pipeline):
    conditions, seeds = [i % 10 for i in range(18)], list(range(100, 118))
    batch = pipeline(conditions, seeds, output_type="np")
    assert np.array_equal(batch[17], pipeline(7, 117, output_type="np")[0])
    assert np.array_equal(batch, pipeline(conditions, seeds, output_type="np", batch_size=5))


def test_conditions(pipeline):
    alone = pipeline("bag", 1, output_type="pt")
    assert torch.equal(alone, pipeline(8, [1], output_type="pt"))
    assert torch.equal(alone, pipeline("8", [1], output_type="pt"))
    assert torch.allclose(alone, pipeline({"bag": 1.0}, 1, output_type="pt"), atol=1e-5)
    assert len(pipeline(["bag", None, {"bag": 0.5, "sandal": 0.5}], output_type="pil")) == 3
    assert torch.equal(pipeline(None, 4, output_type="pt"), pipeline("bag", 4, guidance_scale=0, output_type="pt"))
    for wrong in ("hat", 10, -1, 1.5, True, {"hat": 1.0}):
        with pytest.raises(ValueError, match="class"):
            pipeline([wrong])


def test_seeds_and_settings_are_checked(pipeline):
    with pytest.raises(ValueError, match="2 conditions and 3 seeds"):
        pipeline(["bag", "coat"], [1, 2, 3])
    with pytest.raises(ValueError, match="seeds: got -1"):
        pipeline("bag", -1)
    with pytest.raises(ValueError, match="no setting colour"):
        pipeline("bag", 1, colour=3)
    with pytest.raises(ValueError, match="at least 1"):
        pipeline("bag", 1, num_inference_steps=0)
    with pytest.raises(ValueError, match="output_type"):
        pipeline("bag", 1, output_type="jpeg")


def test_stream_and_callback_see_every_step(pipeline):
    steps = list(pipeline.stream("bag", [1, 2], num_inference_steps=4))
    assert [s.index for s in steps] == [1, 2, 3, 4] and steps[-1].known.all()
    seen = []
    image = pipeline("bag", [1, 2], num_inference_steps=4, output_type="pt", callback_on_step_end=seen.append)
    assert len(seen) == 4 and torch.equal(image, pipeline.decode(steps[-1].codes, "pt"))


def test_complete_keeps_what_is_known(pipeline):
    codes = pipeline.encode([fashion_sample().image(i) for i in range(3)])
    known = torch.rand(3, 7, 7, generator=torch.Generator().manual_seed(0)) < torch.tensor([0.9, 0.5, 1.0])[:, None, None]
    *_, last = pipeline.complete(codes, known, "bag", [1, 2, 3], steps=4)
    assert last.known.all() and torch.equal(last.codes.digits[known], codes.digits[known])
    *_, alone = pipeline.complete(codes[1], known[1:2], "bag", [2], steps=4)
    assert torch.equal(alone.codes.digits[0], last.codes.digits[1])


def test_images_in_every_form(pipeline):
    image = fashion_sample().image(5)
    wanted = pipeline.encode(image).digits
    pil = to_pil(image)
    forms = [pil, pil.convert("RGB"), np.array(pil), image.float() / 255, image[0], [pil], image[None], np.array(pil)[None, :, :, None]]
    for form in forms:
        assert torch.equal(pipeline.encode(form).digits, wanted)
    assert pipeline.encode(Image.new("RGBA", (301, 77)), fit="crop").grid == (7, 7)
    assert pipeline.decode(pipeline.encode([pil, pil]))[1].size == (28, 28)
    with pytest.raises(ValueError):
        pipeline.encode("nowhere.png")
    with pytest.raises(ValueError):
        pipeline.decode(Codes(torch.zeros(1, 7, 7, 3, dtype=torch.uint8), (2, 2, 2)))


def test_many_images_are_encoded_and_understood_in_parts(pipeline, monkeypatch):
    images = list(fashion_sample().pixels[:70])
    whole, vectors = pipeline.encode(images), pipeline.features(images, condition=list(range(10)) * 7)
    monkeypatch.setattr("bitmosaic.pipelines.batches.PIXELS", 32 * 28 * 28)
    assert torch.equal(pipeline.encode(images).digits, whole.digits) and vectors.shape == (70, 49 * 32)
    alone = pipeline.features(images[69], condition=9)
    torch.testing.assert_close(alone[0], vectors[69], rtol=0, atol=1e-5)


def test_a_folder_that_is_no_pipeline_does_not_hide_one_that_ships(tmp_path, monkeypatch):
    (tmp_path / "fashion").mkdir()
    monkeypatch.chdir(tmp_path)
    assert Pipeline.from_pretrained("fashion").class_names == FASHION_CLASSES


LABELS = {
    "a tensor": torch.tensor([8, 1]), "bytes": torch.tensor([8, 1], dtype=torch.uint8), "an array": np.array([8, 1]),
    "tensors in a list": [torch.tensor(8), torch.tensor(1)], "numpy's numbers": [np.int64(8), np.uint8(1)],
    "a generator": (i for i in (8, 1)),
}  # fmt: skip


@pytest.mark.parametrize("kind", LABELS)
def test_labels_are_classes_in_whatever_holds_them(pipeline, kind):
    wanted = pipeline([8, 1], [3, 4], output_type="pt")
    assert torch.equal(pipeline(LABELS[kind], [3, 4], output_type="pt"), wanted)


def test_one_label_is_a_class_for_every_job(pipeline):
    image, box = fashion_sample().image(5), (0, 0, 8, 8)
    codes, hidden = pipeline.encode(image), torch.zeros(1, 7, 7, dtype=torch.bool)
    jobs = {
        "call": lambda c: pipeline(c, 3, output_type="pt"), "stream": lambda c: list(pipeline.stream(c, 3))[-1].codes.digits,
        "complete": lambda c: list(pipeline.complete(codes, hidden, c))[-1].codes.digits,
        "features": lambda c: pipeline.features(image, 1, c),
        "inpaint": lambda c: pipeline.inpaint(image, box, c, 8, output_type="pt").images,
        "edit": lambda c: pipeline.edit(image, box, c, output_type="pt").images,
        "outpaint": lambda c: pipeline.outpaint(image[:, 4:], (0, 4, 0, 0), c, output_type="pt").images,
        "enrich": lambda c: pipeline.enrich(image, c, repeats=1, output_type="pt").images,
        "interpolate": lambda c: pipeline.interpolate([c, "coat"], frames=2, output_type="pt"),
    }  # fmt: skip
    jobs["a blend"] = lambda c: pipeline({c: 0.5, "coat": 0.5}, 3, output_type="pt")
    eights = torch.tensor(8), np.int32(8), np.array(8), torch.tensor(8, dtype=torch.uint8)
    for name, job in jobs.items():
        wanted = job(8)
        for eight in eights:
            if name != "a blend" or not isinstance(eight, np.ndarray):  # which Python takes as no key
                assert torch.equal(job(eight), wanted), (name, eight)
    for eight in eights:  # as a seed
        assert torch.equal(pipeline("bag", eight, output_type="pt"), pipeline("bag", 8, output_type="pt"))
    assert torch.equal(pipeline("bag", torch.tensor([3, 4]), output_type="pt"), pipeline("bag", [3, 4], output_type="pt"))


@pytest.mark.parametrize("wrong", [torch.tensor([8.0]), torch.tensor([True]), torch.tensor([[8]]), torch.tensor(11), np.array([-1])])
def test_tensors_that_are_no_labels_are_refused(pipeline, wrong):
    with pytest.raises(ValueError, match="condition: "):
        pipeline(wrong)


EMPTY = {
    "images": lambda p, image, codes: [
        lambda: p.encode([]), lambda: p.encode(()), lambda: p.encode(torch.zeros(0, 1, 28, 28)), lambda: p.encode(np.zeros((0, 28, 28, 1))),
        lambda: p.features([]), lambda: p.forward_intermediates([]), lambda: p.forward_features([]), lambda: p.compress([]),
    ],
    "image": lambda p, image, codes: [
        lambda: p.inpaint([], (0, 0, 9, 9)), lambda: p.edit([], (0, 0, 9, 9), "bag"), lambda: p.outpaint([], 4), lambda: p.enrich([]),
    ],
    "condition": lambda p, image, codes: [
        lambda: p([]), lambda: p({}), lambda: p([{}]), lambda: list(p.stream([])), lambda: p.features(image, condition=[]),
        lambda: list(p.complete(codes, torch.zeros(1, 7, 7, dtype=torch.bool), [])), lambda: p.inpaint(image, (0, 0, 9, 9), []),
        lambda: p.edit(image, (0, 0, 9, 9), []), lambda: p.outpaint(image, 4, {}), lambda: p.enrich(image, []), lambda: p(torch.tensor([])),
    ],
    "seeds": lambda p, image, codes: [
        lambda: p("bag", []), lambda: list(p.stream("bag", ())), lambda: p.inpaint(image, (0, 0, 9, 9), None, []),
        lambda: p.outpaint(image, 4, None, []), lambda: p.enrich(image, seeds=[]), lambda: p("bag", torch.tensor([], dtype=torch.long)),
        lambda: list(p.complete(codes, torch.zeros(1, 7, 7, dtype=torch.bool), None, [])),
    ],
    "codes": lambda p, image, codes: [
        lambda: p.decode(codes[slice(0, 0)]), lambda: list(p.complete(codes[slice(0, 0)], torch.zeros(0, 7, 7, dtype=torch.bool))),
    ],
    "conditions": lambda p, image, codes: [lambda: p.interpolate([]), lambda: p.interpolate("bag")],
    "weights": lambda p, image, codes: [lambda w=w: p.interpolate(["bag", "coat"], weights=w) for w in ([], [[]], [0.5])],
    "layer": lambda p, image, codes: [lambda: p.forward_intermediates(image, [])],
    "padding": lambda p, image, codes: [lambda: p.outpaint(image, [])],
    "data": lambda p, image, codes: [lambda: p.decompress([])],
}  # fmt: skip


@pytest.mark.parametrize("name", EMPTY)
def test_empty_lists_are_refused_with_the_name_of_the_argument(pipeline, name):
    image = fashion_sample().image(5)
    for call in EMPTY[name](pipeline, image, pipeline.encode(image)):
        with pytest.raises(ValueError, match=f"^{name}[:,] "):
            call()


def test_features(pipeline):
    images = [fashion_sample().image(i) for i in range(4)]
    assert pipeline.features(images).shape == (4, 49 * 32) and pipeline.feature_layer == 1
    assert torch.equal(pipeline.features(images), pipeline.features(images, 1, pool=False).flatten(1))
    assert pipeline.features(images, layer=0, pool=False).shape == (4, 49, 32) and pipeline.features(images, pool=True).shape == (4, 32)
    assert not torch.equal(pipeline.features(images, 1), pipeline.features(images, 1, condition="bag"))
    with pytest.raises(ValueError, match="layers 0 to 1"):
        pipeline.features(images, 2)


def test_without_classes(tmp_path):
    pipeline = make(NoConditionSpec())
    pipeline.save_pretrained(tmp_path / "p")
    again = Pipeline.from_pretrained(tmp_path / "p")
    assert again.class_names == ()
    assert torch.equal(pipeline(seeds=[1, 2], output_type="pt"), again(seeds=[1, 2], guidance_scale=1.0, output_type="pt"))


def test_bfloat16(pipeline, saved):
    half = Pipeline.from_pretrained(saved, dtype=torch.bfloat16)
    image = half("bag", [1, 2], output_type="pt")
    assert image.dtype == torch.float32 and image.isfinite().all()
    assert half.features(fashion_sample().image(0)).dtype == torch.float32


def test_a_bare_import_knows_every_part(saved):
    """Nothing but Pipeline has been imported when a user loads a folder."""
    code = f"from bitmosaic import Pipeline; print(len(Pipeline.from_pretrained({str(saved)!r})('bag', 1, steps=2)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert out.stdout == "1\n", out.stderr


def test_saving_never_replaces_what_is_no_pipeline(pipeline, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.txt").write_text("mine")
    for place in (tmp_path / "photos", tmp_path / "photos" / "a.txt"):
        with pytest.raises(ValueError, match="so it stays"):
            pipeline.save_pretrained(place)
    assert (tmp_path / "photos" / "a.txt").read_text() == "mine"


def test_pixels_and_codes_of_an_image_are_the_same_alone_and_among_others():
    """oneDNN convolves a batch of one in another way, whose last digits differ."""
    pipe = Pipeline.from_pretrained("fashion")
    images = fashion_sample().pixels[:4].float() / 255
    codes, alone = pipe.encode(images), [pipe.encode(image) for image in images]
    assert all(torch.equal(codes[i].digits, one.digits) for i, one in enumerate(alone))
    together = pipe.decode(codes, "pt")
    assert all(torch.equal(together[i : i + 1], pipe.decode(codes[i], "pt")) for i in range(4))


def test_features_of_an_image_are_the_same_bits_alone_and_among_others():
    """To the last bit where a matrix product gives equal rows equal sums; MKL's kernels for AVX2 do not."""
    pipe, images = Pipeline.from_pretrained("fashion"), fashion_sample().pixels[:11].float() / 255
    linear = pipe.prior.modulation
    rows = linear(torch.rand(1, linear.in_features, generator=torch.Generator().manual_seed(0)).expand(8, -1))
    exact = torch.equal(rows, rows[:1].expand(8, -1))
    labels = torch.arange(11) % 10
    for condition in (None, labels, {"bag": 0.5, "coat": 0.5}):
        together = pipe.features(images, condition=condition)
        for some in ([0], [10], [3, 7], list(range(5, 11))):
            own = condition[some] if condition is labels else condition
            found = pipe.features(images[some], condition=own)
            assert torch.equal(found, together[some]) if exact else torch.allclose(found, together[some], atol=1e-4)
    alone, together = pipe.forward_features(images[10]), pipe.forward_features(images)[10:]
    assert torch.equal(alone, together) if exact else torch.allclose(alone, together, atol=1e-4)


def test_the_default_features_are_those_that_a_linear_classifier_reads_best():
    """Of the shipped pipeline: nearer to the classes than the mean over places, which was the default, and than the middle layer's."""
    pipe, sample = Pipeline.from_pretrained("fashion"), fashion_sample()
    labels, pixels = sample.labels[:450], sample.pixels[:450]
    assert pipe.feature_layer == 4

    def right(x: torch.Tensor) -> float:
        x = torch.nn.functional.normalize(x - x[:300].mean(0))
        sure = (x[300:] @ x[:300].T * 10).exp() @ torch.nn.functional.one_hot(labels[:300]).float()  # the classes of near images
        return float((sure.argmax(1) == labels[300:]).float().mean())

    assert right(pipe.features(pixels)) > right(pipe.features(pixels, 3, pool=True)) + 0.03
