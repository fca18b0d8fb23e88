"""Features of layers, and probes: classifiers find what is there, no more, and the command writes all of it down."""

import json

import pytest
import torch
from parts import shaken
from PIL import Image
from test_pipeline import make

from bitmosaic.cli import main
from bitmosaic.evaluate import probe
from bitmosaic.evaluate.probe import Vectors, few_label_accuracy, linear_accuracy, neighbour_accuracy, representations
from bitmosaic.images import ArrayImages, fashion_sample, to_pil


@pytest.fixture(scope="module")
def pipeline():
    made = make()
    shaken(made.prior)
    return made


@pytest.fixture(scope="module")
def images():
    return fashion_sample().pixels[:5]


def test_intermediates_are_the_features_of_each_layer(pipeline, images):
    each = pipeline.forward_intermediates(images)
    assert [x.shape for x in each] == [(5, 49, 32)] * 2 and not torch.equal(each[0], each[1])
    for layer, x in enumerate(each):
        assert torch.equal(x, pipeline.features(images, layer, pool=False))
        assert torch.allclose(x.mean(1), pipeline.features(images, layer, pool=True), atol=1e-5)
        assert torch.equal(x.flatten(1), pipeline.features(images, layer))
    assert torch.equal(pipeline.forward_intermediates(images, [1, 0], "bag")[0], pipeline.features(images, 1, "bag", pool=False))
    normed = pipeline.forward_features(images)
    assert torch.allclose(normed, pipeline.prior.norm(each[-1]), atol=1e-5)
    assert torch.equal(pipeline.forward_intermediates(images, [-1])[0], each[1]) and len(pipeline.forward_intermediates(images, 1)) == 1
    for wrong in (2, -1):
        with pytest.raises(ValueError, match=f"layer: got {wrong}; this prior has layers 0 to 1"):
            pipeline.features(images, wrong)


def test_features_are_pooled_in_parts(pipeline, images):
    whole = pipeline.features(images, 1, pool=False)
    assert torch.allclose(pipeline.features(images, 1, pool=1)[:, 0], whole.mean(1), atol=1e-5)
    assert torch.allclose(pipeline.features(images, 1, pool=7), whole, atol=1e-5)
    parts = pipeline.features(images, 1, pool=2)
    assert parts.shape == (5, 4, 32) and torch.allclose(parts[:, 0], whole.unflatten(1, (7, 7))[:, :4, :4].mean((1, 2)), atol=1e-5)
    for wrong in (8, 0, -1, 2.5):
        with pytest.raises(ValueError, match=f"pool: got {wrong}"):
            pipeline.features(images, 1, pool=wrong)


def clouds(n: int, apart: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Three round clouds in 20 dimensions, their middles so far apart."""
    rng = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 3
    middles = torch.zeros(3, 20)
    middles[range(3), range(3)] = apart
    return (middles[labels] + torch.randn(n, 20, generator=rng)).half(), labels


def some(apart: float, n: int = 300) -> Vectors:
    (train, labels), (test, others) = clouds(n, apart, 0), clouds(600, apart, 1)
    return Vectors(train, test, labels, others)


@pytest.mark.parametrize("small", [True, False])
def test_classifiers_find_what_is_there_and_no_more(small, monkeypatch):
    if not small:
        monkeypatch.setattr(probe, "SMALL", 0)  # by SGD
    easy, hard, nothing = some(8.0), some(2.5), some(0.0)
    assert linear_accuracy(easy) > 0.99 and neighbour_accuracy(easy) > 0.99
    assert 0.75 < linear_accuracy(hard) < 0.97  # the best there is: 0.93
    assert 0.25 < linear_accuracy(nothing) < 0.42 and 0.25 < neighbour_accuracy(nothing) < 0.42
    assert linear_accuracy(hard) == linear_accuracy(hard)
    shifted = Vectors(1000 + 50 * hard.train.float(), 1000 + 50 * hard.test.float(), hard.train_labels, hard.test_labels)
    assert abs(linear_accuracy(shifted) - linear_accuracy(hard)) < 0.03  # scale and shift say nothing


def test_more_labels_say_more():
    vectors = some(3.0, 600)
    one, many = few_label_accuracy(vectors, 1), few_label_accuracy(vectors, 100)
    assert len(one) == 5 and len(set(one)) > 1 and sum(one) < sum(many)
    with pytest.raises(ValueError, match="per_class: got 201; the smallest class has 200"):
        few_label_accuracy(vectors, 201)
    with pytest.raises(ValueError, match="all training images are of one class"):
        linear_accuracy(vectors, torch.zeros(3, dtype=torch.long))


def test_representations_are_what_they_say(pipeline):
    sample = fashion_sample()
    train, test = (ArrayImages(sample.pixels[part], sample.labels[part], sample.class_names) for part in (slice(70), slice(70, 80)))
    state, counted = torch.get_rng_state(), []
    found = representations(pipeline, train, test, on_batch=counted.append)
    assert torch.equal(state, torch.get_rng_state()) and sum(counted) == 80
    assert list(found) == ["pixels", "bits", "layer 0", "layer 1", "untrained 0", "untrained 1"]
    assert torch.allclose(found["pixels"].train.float(), train.pixels.flatten(1) / 255, atol=1e-3)
    assert torch.equal(found["bits"].test.bool(), pipeline.encode(test.pixels).digits.flatten(1).bool())
    wanted = pipeline.features(test.pixels, 1, pool=False).flatten(1)
    assert torch.allclose(found["layer 1"].test.float(), wanted, rtol=2e-3, atol=2e-3)
    again = representations(pipeline, train, test, True)
    assert again["layer 0"].train.shape == (70, 32) and not torch.equal(again["layer 0"].train, again["untrained 0"].train)
    assert torch.equal(again["layer 0"].train_labels, train.labels)
    with pytest.raises(ValueError, match="would take 0 GiB; take means"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(probe, "MEMORY", 1000)
            representations(pipeline, train, test)
    with pytest.raises(ValueError, match="probing needs classes"):
        representations(pipeline, ArrayImages(train.pixels), test)


def test_the_command_on_a_folder(tmp_path, monkeypatch, capsys):
    sample = fashion_sample()
    for name, label in (("bag", 8), ("shirt", 6)):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in (sample.labels == label).nonzero().flatten()[:20].tolist():
            to_pil(sample.image(i)).save(tmp_path / "data" / name / f"{i}.png")
    make().save_pretrained(tmp_path / "tiny")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "bag" / "broken.png").write_bytes(b"no picture")
    for pool in ("0", "1"):
        assert main(["probe", "tiny", "--data", "data", "--pool", pool]) == 0, capsys.readouterr().err
    assert "broken.png" in capsys.readouterr().err
    told = json.loads((tmp_path / "probe" / "probe.json").read_text())
    assert told["train"] + told["test"] == 40 and told["test"] in (7, 8)
    assert told["features"] == "mean of places" and told["best"].startswith("layer")
    assert set(told["accuracy"]) == {"pixels", "bits", "layer 0", "layer 1", "untrained 0", "untrained 1"}
    assert set(told["few_labels"]["pixels"]) == {"1", "10"}
    for name in ("layers.png", "labels.png", "map.png"):
        with Image.open(tmp_path / "probe" / name) as picture:
            assert picture.width > 400
    assert main(["probe", "tiny", "--data", "data/bag"]) == 2 and "has no classes" in capsys.readouterr().err
    assert main(["probe", "tiny", "--train", "0"]) == 2
    assert main(["probe", "tiny", "--data", "data", "--test", "1"]) == 0
