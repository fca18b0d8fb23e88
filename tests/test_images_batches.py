"""Batches are a function of seed and step; arrays are checked."""

import pytest
import torch

from bitmosaic.images import ArrayImages, Batches, epoch_order, in_order, some_images


def numbered(n, labels=False):
    """Image i is dark but for its left column, which holds i + 1."""
    pixels = torch.zeros(n, 1, 2, 3, dtype=torch.uint8)
    pixels[..., 0] = torch.arange(1, n + 1).view(n, 1, 1)
    return ArrayImages(pixels, torch.arange(n) % 3 if labels else None)


def test_order_is_a_permutation_of_seed_and_epoch_alone():
    assert epoch_order(50, 1, 2).sort().values.tolist() == list(range(50))
    torch.manual_seed(123)
    assert torch.equal(epoch_order(50, 1, 2), epoch_order(50, 1, 2))
    others = [epoch_order(50, seed, epoch) for seed, epoch in ((1, 3), (2, 2), (2, 1), (-1, 2), (10**30, 2), (12, 0))]
    assert not any(torch.equal(epoch_order(50, 1, 2), other) for other in others)


def test_the_global_generator_is_left_alone():
    state = torch.get_rng_state()
    Batches(numbered(5), 3, seed=0, flip=True)(0)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("batch_size", [1, 4, 7, 10, 25])
def test_batches_run_across_epochs(batch_size):
    batches = Batches(numbered(10), batch_size, seed=5)
    stream = torch.cat([batches(step).indices for step in range(8)])
    wanted = torch.cat([epoch_order(10, 5, epoch) for epoch in range(21)])
    assert torch.equal(stream, wanted[:8 * batch_size])
    assert batches.epoch(0) == 0 and batches.epoch(5) == pytest.approx(5 * batch_size / 10)


def test_restarted_in_the_middle():
    images = numbered(11, labels=True)
    running = Batches(images, 4, seed=9, flip=True)
    road = [running(step) for step in range(12)]
    for step in (7, 3, 11):
        again = Batches(images, 4, seed=9, flip=True)(step)
        assert torch.equal(again.images, road[step].images) and torch.equal(again.indices, road[step].indices)
        assert torch.equal(again.labels, road[step].indices % 3)
    assert not torch.equal(Batches(images, 4, seed=8)(0).indices, road[0].indices)


def test_flip_mirrors_about_half_and_else_changes_nothing():
    images = numbered(200)
    batch, plain = Batches(images, 100, seed=0, flip=True), Batches(images, 100, seed=0)
    mirrored = []
    for step in range(4):
        straight, drawn = plain(step).images, batch(step).images
        assert torch.equal(straight, images.pixels[plain(step).indices])
        turned = (drawn == straight.flip(-1)).flatten(1).all(1)
        assert ((drawn == straight).flatten(1).all(1) ^ turned).all()
        mirrored.append(turned)
    assert 0.4 < torch.cat(mirrored).float().mean() < 0.6
    assert not torch.equal(torch.cat(mirrored[:2]), torch.cat(mirrored[2:]))  # drawn anew each epoch


def test_flip_does_not_depend_on_the_batch_size():
    images = numbered(6)
    small, large = Batches(images, 2, seed=4, flip=True), Batches(images, 12, seed=4, flip=True)
    assert torch.equal(torch.cat([small(step).images for step in range(6)]), large(0).images)


def test_a_batch_is_the_callers_own():
    images = numbered(6)
    before = images.pixels.clone()
    Batches(images, 6, seed=0)(0).images.zero_()
    next(in_order(images, 6)).images.zero_()
    assert torch.equal(images.pixels, before)


def test_in_order_gives_every_image_once():
    images = numbered(7, labels=True)
    batches = list(in_order(images, 3))
    assert [len(batch.images) for batch in batches] == [3, 3, 1]
    assert torch.equal(torch.cat([batch.images for batch in batches]), images.pixels)
    assert torch.equal(torch.cat([batch.labels for batch in batches]), images.labels)
    assert next(in_order(numbered(2), 5)).labels is None


def test_callers_mistakes():
    for batch_size in (0, -1, 2.5):
        with pytest.raises(ValueError, match="batch_size: got"):
            Batches(numbered(3), batch_size, seed=0)
    with pytest.raises(ValueError, match="step: got -1"):
        Batches(numbered(3), 2, seed=0)(-1)
    with pytest.raises(ValueError, match="batch_size: got 0"):
        next(in_order(numbered(3), 0))


@pytest.mark.parametrize("shape", [(2, 4, 4), (0, 3, 4, 4), (2, 4, 4, 3)])
def test_arrays_of_another_kind(shape):
    with pytest.raises(ValueError, match="pixels: got torch.uint8"):
        ArrayImages(torch.zeros(shape, dtype=torch.uint8))
    with pytest.raises(ValueError, match="pixels: got torch.float32"):
        ArrayImages(torch.zeros(2, 3, 4, 4))


@pytest.mark.parametrize("labels, names, complaint", [
    (torch.tensor([0, 1]), (), "give 3 integers"), (torch.tensor([0.0, 1, 2]), (), "labels: got torch.float32"),
    (torch.tensor([0, 1, 2]), ("a", "b"), r"values in \[0, 2\)"), (torch.tensor([0, -1, 2]), (), "labels: got -1 to 2"),
    (None, ("a",), "class_names: got 1 names without labels"),
])
def test_labels_that_do_not_fit(labels, names, complaint):
    with pytest.raises(ValueError, match=complaint):
        ArrayImages(torch.zeros(3, 1, 2, 2, dtype=torch.uint8), labels, names)


def test_array_images():
    images = numbered(5, labels=True)
    assert (len(images), images.size, images.channels, images.class_names) == (5, (2, 3), 1, ("0", "1", "2"))
    assert images.labels.dtype == torch.int64 and images.unreadable == {} and images.image(4)[0, 0, 0] == 5
    prints = [images.fingerprint(), numbered(5).fingerprint(), numbered(6, labels=True).fingerprint()]
    prints.append(ArrayImages(images.pixels, images.labels.flip(0)).fingerprint())
    prints.append(ArrayImages(images.pixels, images.labels, ("a", "b", "c")).fingerprint())
    changed = images.pixels.clone()
    changed[3, 0, 1, 1] ^= 1
    prints.append(ArrayImages(changed, images.labels).fingerprint())
    assert len(set(prints)) == len(prints) and numbered(5, labels=True).fingerprint() == prints[0]


def test_some_images_of_a_set_that_repeats_are_not_all_alike():
    """As crops of 128 photographs in turn: 32 in even steps would be of one photograph."""
    pixels = (torch.arange(4096) % 128).to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 2, 2)
    found = some_images(ArrayImages(pixels.contiguous()), 32)
    assert len(found) == 32 and found.flatten(1)[:, 0].unique().numel() > 16
    assert torch.equal(found, some_images(ArrayImages(pixels.contiguous()), 32))
