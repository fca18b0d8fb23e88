"""Shifted training images: what they hold, that the null never draws them, and that windows of a canvas take their condition."""

from dataclasses import replace

import pytest
import torch
from test_train import tiny_run

from bitmosaic.conditions import ClassConditionSpec, Classes
from bitmosaic.conditions.classes import SHIFTED
from bitmosaic.images import ArrayImages, Batches, fashion_sample, to_pil
from bitmosaic.images.shift import background_pixel, shifted, shifting
from bitmosaic.pipelines import Pipeline
from bitmosaic.spec import Spec
from bitmosaic.train.code_store import CodeStore
from bitmosaic.train.train import train


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def test_a_shifted_image_is_a_view_of_the_image_on_its_background():
    images = torch.randint(1, 256, (40, 3, 6, 8), generator=rng(), dtype=torch.uint8)
    pixel = torch.tensor([7, 0, 200], dtype=torch.uint8)
    moved = shifted(images, pixel, rng())
    assert moved.shape == images.shape and len({tuple(one.flatten().tolist()) for one in moved}) == 40
    for one, of in zip(moved, images, strict=True):
        canvas = pixel[:, None, None].repeat(1, 12, 16)
        canvas[:, 3:9, 4:12] = of
        assert any(torch.equal(one, canvas[:, y : y + 6, x : x + 8]) for y in range(7) for x in range(9))


def test_the_background_is_that_of_the_images():
    assert background_pixel(fashion_sample()).tolist() == [0]
    photos = torch.randint(0, 256, (70, 3, 8, 8), generator=rng(), dtype=torch.uint8)
    with pytest.raises(ValueError, match="shift: these images have no background in common"):
        background_pixel(ArrayImages(photos, torch.zeros(70, dtype=torch.long), ("a",)))


def test_batches_shift_a_share_and_are_functions_of_their_number():
    sample = fashion_sample()
    images = ArrayImages(sample.pixels[:100], sample.labels[:100], sample.class_names)
    plain, some = Batches(images, 100, 3)(0).images, Batches(images, 100, 3, changed=shifting(images, 0.3))
    once, again = some(0).images, some(0).images
    assert torch.equal(once, again)
    assert 15 < (once != plain).flatten(1).any(1).sum() < 45
    assert shifting(images, 0.0) is None


def test_the_null_is_never_shifted_and_shifted_images_are_never_dropped():
    encoder = ClassConditionSpec(4, shifted=True).build(8)
    assert encoder.table.weight.shape == (6, 8) and torch.equal(encoder(None, 1).vector[0], encoder.table.weight[4])
    given = Classes(torch.tensor([0, 5] * 50))
    dropped = encoder.drop(given, 0.5, rng()).labels
    assert (dropped[1::2] == 5).all() and {0, 4} == set(dropped[::2].tolist())
    read = encoder.reader(("a", "b", "c", "d"))
    assert read.read([SHIFTED, "b", None]).labels.tolist() == [5, 1, 4]
    with pytest.raises(ValueError, match="labels"):
        encoder(Classes(torch.tensor([6])), 1)
    with pytest.raises(ValueError, match="no class"):
        ClassConditionSpec(4).build(8).reader(("a", "b", "c", "d")).read([SHIFTED])


def test_descriptions_from_before_have_none():
    told = ClassConditionSpec(4, shifted=True).to_json()
    assert Spec.from_json(told).shifted and not Spec.from_json({key: told[key] for key in told if key != "shifted"}).shifted


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    place = tmp_path_factory.mktemp("shift")
    for i in range(12):
        (place / "data" / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        to_pil(fashion_sample().image(i)).save(place / "data" / "ab"[i % 2] / f"{i}.png")
    run = tiny_run(place / "data")
    condition = replace(run.prior.condition, shifted=True)
    train(run.changed(shift=0.25, prior=replace(run.prior, condition=condition)), place / "run")
    return place / "run"


def test_a_run_learns_from_shifted_images_and_its_pipeline_asks_for_them_in_windows(trained, monkeypatch):
    store = CodeStore.of_run(trained / "codes")
    assert (len(store), store.whole) == (16, 12) and sum(map(len, store.all())) == 12
    labels = store.read(torch.arange(16), torch.zeros(16, dtype=torch.long)).labels.tolist()
    assert set(labels[:12]) == {0, 1} and labels[12:] == [3] * 4  # behind two classes and the null
    pipe, asked = Pipeline.from_pretrained(trained / "pipeline"), []
    labels_of = type(pipe).labels
    monkeypatch.setattr(type(pipe), "labels", lambda self, given: (asked.append(given[0]), labels_of(self, given))[1])
    picture = fashion_sample().image(0)
    one = torch.nn.functional.interpolate(picture[None].float(), pipe.image_size)[0].to(torch.uint8).expand(pipe.channels, -1, -1)
    answers = pipe.outpaint(one, (0, 0, 4, 0), num_inference_steps=1)
    assert SHIFTED in asked and "as a picture of its own" not in " ".join(answers.notes)
    asked.clear()
    pipe.outpaint(one, (0, 0, 4, 0), "a", num_inference_steps=1)
    pipe.inpaint(one, (0, 0, 8, 8), num_inference_steps=1)
    pipe.panorama("b", size=(pipe.image_size[0], 2 * pipe.image_size[1]), num_inference_steps=1)
    assert SHIFTED not in asked
    pipe.panorama(size=(pipe.image_size[0], 2 * pipe.image_size[1]), num_inference_steps=1)
    assert SHIFTED in asked


def test_shift_and_condition_go_together(tmp_path):
    run = tiny_run(tmp_path)
    with pytest.raises(ValueError, match="shift: got 0.2, and prior.condition.shifted False"):
        run.changed(shift=0.2)
    with pytest.raises(ValueError, match="shift: got 1.5; want a share"):
        run.changed(shift=1.5)
