"""Masks that leave places known in part: what is shown, what known pixels do to what is drawn, and what is said of it."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from parts import shaken
from PIL import Image
from test_editing import HOLES, SIZE, hole
from test_pipeline import make

from bitmosaic import Pipeline
from bitmosaic.cli import main
from bitmosaic.images import fashion_sample, places_of
from bitmosaic.media import PICTURES
from bitmosaic.pipelines.editing.partly import NOISE, SWEEPS, known_of
from bitmosaic.priors.autoregressive import AutoregressivePriorSpec
from bitmosaic.tokenizers.binary_autoencoder import BinaryAutoencoderSpec


def scattered(share: float) -> torch.Tensor:
    return torch.rand(SIZE, generator=torch.Generator().manual_seed(1)) < share


def lines(width: int) -> torch.Tensor:
    found = torch.zeros(SIZE, dtype=torch.bool)
    found[13 : 13 + width] = found[:, 21 : 21 + width] = True
    return found


@pytest.fixture(scope="module")
def pipeline():
    made = make()
    shaken(made.prior)
    return made


@pytest.fixture(scope="module")
def shipped():
    return Pipeline.from_pretrained("fashion")


@pytest.fixture(scope="module")
def image():
    return fashion_sample().pixels[0]


@pytest.mark.parametrize(
    "mask", [hole(4, 8, 12, 20), hole(5, 6, 17, 23), hole(11, 12, 14, 15), hole(0, 14, 28, 28), hole(0, 0, 28, 28), hole(0, 0, 28, 2)]
)
def test_of_holes_every_place_is_hidden_that_they_touch(mask):
    known = known_of(mask, 4)
    assert torch.equal(known.whole, ~places_of(mask, 4)) and torch.equal(known.shown, known.whole)
    assert not known.steered.any()


@pytest.mark.parametrize("factor", [1, 2, 4, 16])
def test_of_whole_places_nothing_is_steered(factor):
    for seed in range(20):
        places = torch.rand(7, 7, generator=torch.Generator().manual_seed(seed)) < (seed + 1) / 20
        known = known_of(places.repeat_interleave(factor, 0).repeat_interleave(factor, 1), factor)
        assert torch.equal(known.whole, ~places) and torch.equal(known.shown, ~places) and not known.steered.any()


@pytest.mark.parametrize("width", [1, 2])
def test_places_that_lines_cross_are_shown_and_steered(width):
    known, touched = known_of(lines(width), 4), places_of(lines(width), 4)
    assert torch.equal(known.steered, touched)
    assert torch.equal(known.shown, ~touched | (lines(width).unflatten(1, (7, 4)).unflatten(0, (7, 4)).float().mean((1, 3)) <= 0.5))
    both = known_of(lines(width) | hole(0, 0, 12, 12), 4)
    assert not both.shown[:3, :3].any() and both.steered[6, 5] and not both.steered[0, 0]


@pytest.mark.parametrize("share", [0.5, 0.8, 0.95])
def test_of_scattered_pixels_places_are_shown_that_have_an_eighth(share):
    known, there = known_of(scattered(share), 4), (~scattered(share)).unflatten(1, (7, 4)).unflatten(0, (7, 4)).sum((1, 3))
    assert torch.equal(known.shown, there >= 2) and torch.equal(known.steered, there < 16)


@pytest.mark.parametrize("share", [0.5, 0.8, 0.95])
def test_pixels_scattered_in_a_part_of_a_picture_are_used_there(share):
    mask = scattered(share) & hole(12, 0, 28, 28)
    known = known_of(mask, 4)
    assert known.whole[:, :3].all() and known.steered[:, 4:].all() and not known.steered[:, :3].any()
    assert torch.equal(known.shown[:, 4:], known_of(scattered(share), 4).shown[:, 4:])


def test_a_thin_frame_of_known_pixels_is_used_and_the_edge_of_a_hole_is_hidden():
    frame = known_of(hole(3, 3, 25, 25), 4)
    assert not frame.whole.any() and not frame.shown.any() and frame.steered[0].all() and not frame.steered[2:5, 2:5].any()
    column = ~hole(10, 6, 18, 28)  # one whole column of places, and half of those beside it
    assert torch.equal(known_of(column, 4).shown, ~places_of(column, 4)) and not known_of(column, 4).steered.any()


def wrong(answers, image, mask) -> float:
    """Root of the mean squared error on hidden pixels, over all answers."""
    return float((answers.images - image / 255).square()[..., mask].mean().sqrt())


@pytest.fixture(scope="module")
def blind(shipped, image):
    """Three answers to everything hidden."""
    return shipped.inpaint(image, HOLES["everything"], None, range(3), output_type="pt")


@pytest.mark.parametrize(("share", "better"), [(0.5, 0.5), pytest.param(0.8, 0.65, marks=pytest.mark.slow), (0.95, 0.85)])
def test_scattered_pixels_steer_the_answers(shipped, blind, image, share, better):
    """Measured against answers to everything hidden, which is what was given before."""
    mask, seeds = scattered(share), range(3)
    answers = shipped.inpaint(image, mask, None, seeds, output_type="pt")
    assert wrong(answers, image, mask) < better * wrong(blind, image, mask)
    assert torch.equal((answers.images * 255).round()[..., ~mask], image[..., ~mask].float().expand(3, -1, -1))
    (note,) = answers.notes
    assert "known pixels are scattered" in note and "how well they agree with the known pixels" in note


def test_thin_lines_are_filled_better_than_by_hidden_places(shipped):
    images, mask = fashion_sample().pixels[:2], lines(1)
    steered, hidden = 0.0, 0.0
    for picture in images:
        steered += wrong(shipped.inpaint(picture, mask, None, 0, output_type="pt"), picture, mask)
        whole = places_of(mask, 4).repeat_interleave(4, 0).repeat_interleave(4, 1)
        hidden += wrong(shipped.inpaint(picture, whole, None, 0, output_type="pt"), picture, mask)
    assert steered < 0.9 * hidden


@pytest.mark.parametrize("mask", [scattered(0.95), scattered(0.5), lines(1), HOLES["one pixel"]])
def test_only_known_pixels_have_influence_and_an_answer_is_its_seeds(pipeline, image, mask):
    seeds = [3, 4, 5]
    many = pipeline.inpaint(image, mask, "bag", seeds, output_type="pt")
    other = pipeline.inpaint(torch.where(mask, 255 - image, image), mask, "bag", seeds, output_type="pt")
    assert torch.equal(many.images, other.images) and many.bits == other.bits
    for i, seed in enumerate(many.seeds):
        alone = pipeline.inpaint(image, mask, "bag", seed, output_type="pt")
        assert torch.allclose(alone.images[0], many.images[i], atol=1e-4) and alone.bits[0] == pytest.approx(many.bits[i], rel=1e-3)
    assert list(many.bits) == sorted(many.bits)
    changed = pipeline.inpaint(torch.where(mask, image, 255 - image), mask, "bag", seeds, output_type="pt")
    assert mask.sum() == 1 or not torch.equal(changed.images[..., mask], many.images[..., mask])  # the one in a corner is black


@pytest.mark.parametrize(("mask", "rounds"), [(scattered(0.95), 3), (lines(1), 0), (hole(5, 5, 15, 20), 3)])
def test_steps_count_rounds_and_sweeps(pipeline, image, mask, rounds):
    steps = []
    pipeline.inpaint(image, mask, "bag", [1, 2], num_inference_steps=3, callback_on_step_end=steps.append)
    total = rounds + (SWEEPS if known_of(mask, 4).steered.any() else 0)
    assert [(step.index, step.total) for step in steps] == [(i + 1, total) for i in range(total)]
    assert all(len(step.codes) == 2 and step.entropy.shape == step.known.shape for step in steps) and steps[-1].known.all()


def test_answers_of_a_prior_in_raster_order_are_ranked_by_known_pixels_alone():
    torch.manual_seed(0)
    tokenizer = BinaryAutoencoderSpec((8, 8), 1, 5, 8, (1, 1), 1, (), 8, groups=4).build()
    pipe = Pipeline(tokenizer, shaken(AutoregressivePriorSpec((4, 4), 5).build()))
    mask = torch.rand(8, 8, generator=torch.Generator().manual_seed(0)) < 0.7
    steps = []
    answers = pipe.inpaint(torch.zeros(1, 8, 8, dtype=torch.uint8), mask, seeds=[0, 1], output_type="pt", callback_on_step_end=steps.append)
    assert len(answers.images) == 2 and answers.images[..., ~mask].eq(0).all()
    assert "draws" not in answers.notes[0] and answers.notes[0].endswith("answers are ranked by how well they agree with the known pixels")
    codes, known = steps[-1].codes, known_of(mask, 2)
    unseen = pipe.code_length(codes, known.whole.expand(2, -1, -1), [None] * 2)
    wrong = pipe.decode(codes, "pt").square() * ~mask * known.steered.repeat_interleave(2, 0).repeat_interleave(2, 1)
    wanted = unseen + wrong.sum((1, 2, 3)) / (2 * NOISE**2 * math.log(2))
    assert answers.bits == pytest.approx(sorted(wanted.tolist()), rel=0.01)


def test_holes_and_generation_have_nothing_to_say_and_windows_do(pipeline, image):
    assert pipeline.inpaint(image, hole(5, 5, 15, 20), "bag").notes == () and pipeline.inpaint(image, []).notes == ()
    assert pipeline.enrich(image, repeats=1).notes == ()
    (note,) = pipeline.outpaint(image, (0, 0, 8, 0)).notes
    assert note.startswith("painted in 2 windows of 28 x 28 pixels")
    (one,) = pipeline.inpaint(torch.zeros(1, 60, 60, dtype=torch.uint8), (20, 20, 30, 30), fit="tile").notes
    assert one.startswith("painted in a window of 28 x 28 pixels")


def test_the_commands_say_it_on_stderr_and_in_the_sheet(tmp_path, monkeypatch, capsys):
    make().save_pretrained(tmp_path / "tiny")
    monkeypatch.chdir(tmp_path)
    Image.fromarray((scattered(0.95).numpy() * 255).astype(np.uint8)).save("mask.png")
    assert main("inpaint fashion:3 --pipeline tiny --mask mask.png --count 2 --out a".split()) == 0
    told = capsys.readouterr()
    assert told.err.count("\n") == 1 and told.err.startswith("mask: 0 of 49 places of 4 x 4 pixels are known whole")
    names = ("sheet.png", "fashion-3-1.png", "fashion-3-2.png")
    assert all(PICTURES.notes(Path("a") / name)["Notes"] == told.err.strip() for name in names)
    Image.new("L", (60, 45)).save("large.png")
    for command in ("inpaint", "edit --class bag"):
        name, *rest = command.split()
        assert main([name, "large.png", *rest, *"--pipeline tiny --box 0 0 9 9 --count 1 --out b".split()]) == 2
        refused = capsys.readouterr().err
        assert "fit 'crop'" in refused and "tile" not in refused  # which draws noise with the pipeline that ships
    assert main("inpaint large.png --fit tile --pipeline tiny --box 0 0 30 30 --count 1 --out b".split()) == 0
    assert "windows of 28 x 28 pixels, each as a picture of its own" in capsys.readouterr().err
    assert main("inpaint fashion:3 --pipeline tiny --box 0 0 9 9 --count 1 --out c".split()) == 0 and not capsys.readouterr().err
