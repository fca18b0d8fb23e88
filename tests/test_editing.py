"""Masks, code lengths, and the jobs without retraining: what is known stays, bit for bit, and what lay under a mask is not seen."""

import itertools

import numpy as np
import pytest
import torch
from parts import shaken
from test_pipeline import make

from bitmosaic import Pipeline
from bitmosaic.conditions import ClassConditionSpec, NoConditionSpec
from bitmosaic.images import crop_mask, fashion_sample, places_of, read_mask, spread, to_pil, to_uint8
from bitmosaic.pipelines.editing import Answers, blend, windows
from bitmosaic.pipelines.editing.jobs import _quarters
from bitmosaic.priors.masked import MaskedPriorSpec
from bitmosaic.samplers import EntropyOrderedSpec
from bitmosaic.tokenizers.binary_autoencoder import BinaryAutoencoderSpec

SIZE = (28, 28)


@pytest.fixture(scope="module")
def pipeline():
    made = make()
    shaken(made.prior)
    return made


@pytest.fixture(scope="module")
def image():
    return fashion_sample().pixels[0]


def hole(*box):
    found = torch.zeros(SIZE, dtype=torch.bool)
    left, top, right, bottom = box
    found[top:bottom, left:right] = True
    return found


def most_hidden():
    rng = torch.Generator().manual_seed(0)
    return torch.rand(SIZE, generator=rng) < 0.95


# ---- inpainting

HOLES = {
    "3 x 3 pixels": hole(11, 12, 14, 15), "one pixel": hole(0, 27, 1, 28), "95 %": most_hidden(), "nothing": hole(0, 0, 0, 0),
    "everything": hole(0, 0, 28, 28),
}  # fmt: skip


@pytest.mark.parametrize("feather", [0, 3])
@pytest.mark.parametrize("name", HOLES)
def test_known_pixels_come_back_bitwise_and_known_codes_stay(pipeline, image, name, feather):
    mask, steps = HOLES[name], []
    answers = pipeline.inpaint(image, mask, "bag", [4, 5], feather=feather, output_type="np", callback_on_step_end=steps.append)
    assert isinstance(answers, Answers) and answers.images.shape == (2, 28, 28, 1) and answers.images.dtype == np.uint8
    for made in answers.images:
        assert np.array_equal(made[..., 0][~mask.numpy()], image[0].numpy()[~mask.numpy()])
    assert sorted(answers.bits) == list(answers.bits) and sorted(answers.seeds) == [4, 5]
    if name == "nothing":
        assert answers.bits == (0.0, 0.0) and not steps
        return
    known, first = ~places_of(mask, 4), pipeline.encode(list(spread(image[None] / 255, ~mask)[0].expand(2, -1, -1, -1))).digits
    assert all(bool(step.known[:, known].all()) and torch.equal(step.codes.digits[:, known], first[:, known]) for step in steps)
    assert steps[-1].known.all()


def test_rounds_count_hidden_places(pipeline, image):
    steps = []
    pipeline.inpaint(image, [(0, 0), (3, 3), (6, 6)], "bag", num_inference_steps=3, callback_on_step_end=steps.append)
    assert [int((~step.known).sum()) for step in steps] == [2, 1, 0]  # floor(cos(pi/6) 3), floor(cos(pi/3) 3), none


def test_everything_hidden_is_generation(pipeline, image):
    answers = pipeline.inpaint(image, HOLES["everything"], "bag", [7, 8], output_type="pt")
    order = torch.tensor(answers.seeds) - 7
    assert torch.equal(answers.images, pipeline("bag", [7, 8], output_type="pt")[order])


def test_what_lies_under_the_mask_has_no_influence(pipeline, image):
    mask = HOLES["3 x 3 pixels"] | hole(0, 0, 9, 5)
    other = torch.where(mask, 255 - image, image)
    a, b = (pipeline.inpaint(x, mask, "bag", [1, 2], feather=2, output_type="pt") for x in (image, other))
    assert torch.equal(a.images, b.images) and a.bits == b.bits
    assert not torch.equal(pipeline.encode(image).digits, pipeline.encode(other).digits)


@pytest.mark.parametrize("size", [(100, 100), (14, 14), (29, 31), (326, 306), (480, 640), (300, 90)])
def test_nor_where_the_image_is_cropped(pipeline, size):
    rng = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (1, *size), generator=rng).byte()
    mask = torch.zeros(size, dtype=torch.bool)
    mask[size[0] // 3 : size[0] // 2, size[1] // 2 : size[1] // 2 + size[1] // 6] = True
    other = torch.where(mask, 255 - image, image)
    a, b = (pipeline.inpaint(x, mask, "bag", fit="crop", output_type="pt") for x in (image, other))
    assert torch.equal(a.images, b.images) and a.bits == b.bits


def test_a_hole_that_fits_is_painted_in_one_go(pipeline):
    canvas = torch.zeros(1, 100, 100, dtype=torch.uint8)
    for box in ((40, 40, 43, 43), (30, 30, 45, 45), (13, 2, 33, 22), (97, 0, 100, 3)):
        found = list(windows(read_mask(box, (100, 100), 4), SIZE))
        assert len(found) == 1
        rows, columns = found[0]
        assert rows.start <= box[1] and rows.stop >= box[3] and columns.start <= box[0] and columns.stop >= box[2]
    far = read_mask((5, 5, 8, 8), (100, 100), 4) | read_mask((70, 40, 73, 43), (100, 100), 4)
    assert {int(far[window].sum()) for window in windows(far, SIZE)} <= {0, 9}
    steps = []
    pipeline.inpaint(canvas, far, fit="tile", num_inference_steps=3, callback_on_step_end=steps.append)
    assert len(steps) == 6


def test_a_feather_stays_inside_and_levels_the_seam(pipeline, image):
    mask = hole(8, 8, 20, 20)
    plain, soft = (pipeline.inpaint(image, mask, "bag", 1, feather=f, output_type="pt").images[0, 0] for f in (0, 3))
    _, rings = spread(torch.zeros(1, 1, *SIZE), ~mask)
    assert torch.equal(plain[rings > 3], soft[rings > 3]) and not torch.equal(plain[rings == 1], soft[rings == 1])

    def seam(x):
        return (x[8, 8:20] - x[7, 8:20]).abs().mean()

    assert seam(soft) < seam(plain)


def test_an_answer_is_its_seeds_and_no_others(pipeline, image):
    many = pipeline.inpaint(image, hole(5, 5, 20, 23), "bag", range(5), output_type="pt", batch_size=2)
    for i, seed in enumerate(many.seeds):
        alone = pipeline.inpaint(image, hole(5, 5, 20, 23), "bag", seed, output_type="pt")
        assert torch.allclose(alone.images[0], many.images[i], atol=1e-4)
        assert alone.bits[0] == many.bits[i]


def test_images_of_other_sizes_are_cropped_or_tiled_or_refused(pipeline, image):
    big = torch.zeros(1, 45, 60, dtype=torch.uint8)
    big[0] = torch.arange(60)[None] * 4 % 251
    mask = torch.zeros(45, 60, dtype=torch.bool)
    mask[3:40, 20:58] = True
    with pytest.raises(ValueError, match="got 60 x 45 pixels; this pipeline works on 28 x 28. fit 'crop' takes the centre and scales it$"):
        pipeline.inpaint(big, mask)
    tiled = pipeline.inpaint(big, mask, seeds=[0, 1], fit="tile", feather=2, output_type="np").images
    assert tiled.shape == (2, 45, 60, 1) and all(np.array_equal(x[..., 0][~mask], big[0].numpy()[~mask]) for x in tiled)
    assert not np.array_equal(tiled[0], tiled[1])
    cropped = pipeline.inpaint(big, mask, fit="crop", output_type="np").images[0, ..., 0]
    kept = ~crop_mask(mask, SIZE).numpy()
    centre = pipeline.inpaint(big, [], fit="crop", output_type="np").images[0, ..., 0]
    assert cropped.shape == SIZE and np.array_equal(cropped[kept], centre[kept]) and 0 < kept.sum() < 28 * 28
    with pytest.raises(ValueError, match="so it is too small; fit 'crop' scales it"):
        pipeline.inpaint(image[:, :20], hole(0, 0, 4, 4)[:20], fit="tile")
    same = [pipeline.inpaint(image, hole(0, 0, 9, 9), fit=fit, output_type="pt").images for fit in ("exact", "crop", "tile")]
    assert torch.equal(same[0], same[1]) and torch.equal(same[0], same[2])


@pytest.mark.parametrize("full", [(28, 28), (28, 56), (29, 30), (100, 61)])
def test_windows_cover_the_canvas_from_what_is_known_outwards(full):
    repaint = torch.ones(full, dtype=torch.bool)
    repaint[:10, :10] = False
    seen = []
    covered = torch.zeros(full, dtype=torch.bool)
    for rows, columns in windows(repaint, SIZE):
        assert rows.stop - rows.start == columns.stop - columns.start == 28 and rows.start >= 0 and rows.stop <= full[0]
        assert not seen or covered[rows, columns].any()  # it has something to go on from
        covered[rows, columns] = True
        seen.append((rows.start, columns.start))
    assert covered.all() and seen[0] == (0, 0) and len(seen) == len(set(seen))


def test_bad_arguments_say_what_would_do(pipeline, image):
    for wrong, said in (
        ({"fit": "squash"}, "fit: got 'squash'"), ({"feather": -1}, "feather: got -1"), ({"output_type": "jpg"}, "output_type: got 'jpg'"),
        ({"batch_size": 0}, "batch_size: got 0"), ({"seeds": -3}, "seeds: got -3"), ({"condition": "boat"}, "no class 'boat'"),
        ({"warmth": 3}, "has no setting warmth"), ({"num_inference_steps": 0}, "steps: got 0"), ({"feather": "2"}, "feather: got '2'"),
    ):  # fmt: skip
        for mask in (hole(0, 0, 9, 9), []):
            with pytest.raises(ValueError, match=said):
                pipeline.inpaint(image, mask, **wrong)
    assert pipeline.inpaint(image, [], guidance_scale=None).bits == (0.0,)


def test_colour_images_of_another_shape_are_edited_too():
    torch.manual_seed(0)
    tokenizer = BinaryAutoencoderSpec((16, 24), 3, 6, 8, (1, 1, 1), 1, (), 8, groups=4).build()
    prior = MaskedPriorSpec((4, 6), 6, depth=1, heads=1, width=16, condition=ClassConditionSpec(3)).build()
    pipe = Pipeline(tokenizer, shaken(prior), EntropyOrderedSpec(3, 2))
    image = torch.randint(0, 256, (3, 16, 24), generator=torch.Generator().manual_seed(1)).byte()
    mask = torch.zeros(16, 24, dtype=torch.bool)
    mask[2:9, 5:20] = True
    made = torch.from_numpy(pipe.inpaint(image, mask, 1, output_type="np").images[0]).movedim(-1, 0)
    assert torch.equal(made[:, ~mask], image[:, ~mask]) and not torch.equal(made, image)
    around = pipe.outpaint(image, (3, 5, 7, 0), 1, output_type="np").images[0]
    assert around.shape == (21, 34, 3) and np.array_equal(around[5:, 3:27], image.movedim(0, -1).numpy())
    assert pipe.enrich(image, repeats=1).images[0].size == (24, 16)


# ---- the other jobs


def test_edit_is_inpainting_with_a_class(pipeline, image):
    def same(given, wanted):
        a = pipeline.edit(image, (0, 0, 9, 9), "sandal", 3, output_type="pt", **given)
        return torch.equal(a.images, pipeline.inpaint(image, (0, 0, 9, 9), 5, 3, output_type="pt", **wanted).images)

    assert same({}, {"guidance_scale": 5.0}) and not same({}, {})  # more than its own, 1.5, unless it is told
    assert same({"guidance_scale": None}, {"guidance_scale": 5.0}) and same({"guidance_scale": 4.0}, {"guidance_scale": 4.0})
    assert same({"sampler": "looks"}, {"sampler": "looks"})
    with pytest.raises(ValueError, match="name the class"):
        pipeline.edit(image, (0, 0, 9, 9), None)


def test_outpaint_keeps_the_image_and_paints_around_it(pipeline, image):
    small = image[:, 4:24, 6:22]  # 20 x 16
    answers = pipeline.outpaint(small, (6, 4, 6, 4), "bag", [0, 1], feather=1, output_type="np")
    assert answers.images.shape == (2, 28, 28, 1)
    assert all(np.array_equal(made[4:24, 6:22, 0], small[0].numpy()) for made in answers.images)
    large = pipeline.outpaint(to_pil(image), 17, seeds=2, output_type="np").images[0, ..., 0]
    assert large.shape == (62, 62) and np.array_equal(large[17:45, 17:45], image[0].numpy())
    assert all(part.std() > 0 for part in (large[:17], large[45:], large[:, :17], large[:, 45:]))
    for wrong in (0, -1, 2.0, (1, 2, 3), (0, 0, 0, 0), (1, 1, 1, 0.5)):
        with pytest.raises(ValueError, match="padding: got"):
            pipeline.outpaint(image, wrong)
    with pytest.raises(ValueError, match="canvas is 18 x 22 pixels.*add more"):
        pipeline.outpaint(small, 1)


def test_interpolation_starts_and_ends_at_its_classes(pipeline):
    way = pipeline.interpolate(["bag", "coat", "bag"], 3, frames=5, output_type="pt")
    ends = pipeline(["bag", "coat"], [3, 3], output_type="pt")
    assert way.shape == (5, 1, 28, 28)
    assert torch.allclose(way[[0, 2, 4]], ends[[0, 1, 0]], atol=1e-4)  # the decoder's sums hang on the batch, the codes do not
    mixed = pipeline.interpolate(["bag", "coat", None], 3, weights=[[0.2, 0.3, 0.5], [0, 1, 0]], output_type="pt")
    assert len(mixed) == 2 and torch.allclose(mixed[1], ends[1], atol=1e-4)


def test_blends_sum_to_one():
    assert blend(["a", "b", "c"], 5) == [{"a": 1}, {"a": 0.5, "b": 0.5}, {"b": 1}, {"b": 0.5, "c": 0.5}, {"c": 1}]
    assert blend(["a", "b", "a"], 0, [[0.25, 0.5, 0.25]]) == [{"a": 0.5, "b": 0.5}]
    assert all(abs(sum(frame.values()) - 1) < 1e-9 for frame in blend(list("abcd"), 17))
    for wrong in (({"bag": 1.0}, "coat"), (["bag"], "coat")):
        with pytest.raises(ValueError, match="conditions: got .*give single classes"):
            blend(wrong, 3)
    for wrong in ((["a"], 5), (["a", "b"], 1), (["a", "b"], 3, [[1]]), (["a", "b"], 3, [[2, -1]]), (["a", "b"], 3, [[0.4, 0.4]])):
        with pytest.raises(ValueError, match="conditions, frames: got|weights: got"):
            blend(*wrong)


@pytest.mark.parametrize("grid", [(7, 7), (4, 6), (1, 3), (16, 16)])
def test_quarters_hold_each_place_once(grid):
    groups = _quarters(grid, torch.Generator().manual_seed(0))
    assert groups.shape == grid
    for row, column in itertools.product(range(0, grid[0] - 1, 2), range(0, grid[1] - 1, 2)):
        assert sorted(groups[row : row + 2, column : column + 2].flatten().tolist()) == [0, 1, 2, 3]
    assert grid == (1, 3) or len({tuple(groups[r : r + 2, :2].flatten().tolist()) for r in range(0, grid[0] - 1, 2)}) > 1


def test_enriching_draws_every_place_anew_a_quarter_at_a_time(pipeline, image):
    steps = []
    answers = pipeline.enrich(image, "bag", [1, 2], repeats=2, num_inference_steps=2, output_type="pt", callback_on_step_end=steps.append)
    assert answers.images.shape == (2, 1, 28, 28) and len(steps) == 2 * 4 * 2 and steps[-1].known.all()
    hidden = [int((~step.known[0]).sum()) for step in steps[::2]]  # after the first round of two, 0.71 of a quarter is hidden
    assert all(5 <= h <= 11 for h in hidden)
    alone = pipeline.enrich(image, "bag", answers.seeds[1], repeats=2, num_inference_steps=2, output_type="pt")
    assert torch.allclose(alone.images[0], answers.images[1], atol=1e-4)
    large = to_pil(image).resize((56, 56))
    assert pipeline.enrich(large, fit="crop", repeats=1, num_inference_steps=2).images[0].size == SIZE
    for wrong in ({"shrink": 0}, {"shrink": 1.5}, {"repeats": 1.5}, {"shrink": 29}, {"repeats": 0}, {"fit": "tile"}):
        with pytest.raises(ValueError, match="shrink: got|repeats: got|fit: got 'tile'"):
            pipeline.enrich(image, **wrong)


def test_a_pipeline_without_classes_edits_too(image):
    plain = make(NoConditionSpec())
    answers = plain.inpaint(image, hole(0, 0, 20, 20), seeds=range(2))
    assert answers.images[0].size == SIZE and len(answers.images) == 2
    assert torch.equal(to_uint8(plain.inpaint(image, [], output_type="pt").images[0]), image)
    with pytest.raises(ValueError, match="without classes"):
        plain.edit(image, hole(0, 0, 9, 9), "bag")
