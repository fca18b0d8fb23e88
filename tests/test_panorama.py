"""Panoramas: codes of one large grid, filled window by window and decoded in windows that blend."""

import pytest
import torch
from PIL import Image
from quick import quick_pipeline

from bitmosaic import Pipeline
from bitmosaic.cli import main
from bitmosaic.codes import Codes
from bitmosaic.images import fashion_sample
from bitmosaic.pipelines.editing.panorama import blended, steps

FEW = {"steps": 2, "evaluations": 2}


@pytest.fixture(scope="module")
def pipeline():
    return quick_pipeline()


def test_every_place_is_drawn_once_and_from_what_is_known():
    for shape, at in (((7, 28), (0, 10)), ((14, 20), (3, 6)), ((7, 7), (0, 0))):
        window = tuple(slice(start, start + 7) for start in at)
        for given in (False, True):
            hidden, drawn = torch.ones(shape, dtype=torch.bool), torch.zeros(shape, dtype=torch.int64)
            if given:
                hidden[window] = False
            for number, (place, asked) in enumerate(steps(hidden, (7, 7), window)):
                assert asked.shape == (7, 7) and asked.any()
                assert given or number == 0 or not asked.all()
                drawn[place] += asked
            assert torch.equal(drawn, hidden.long())


def test_a_picture_in_the_middle_keeps_its_codes(pipeline, monkeypatch):
    image, decoded = fashion_sample().pixels[3], []
    decode = type(pipeline).decode_pixels
    monkeypatch.setattr(type(pipeline), "decode_pixels", lambda self, codes: (decoded.append(codes), decode(self, codes))[1])
    made = pipeline.panorama(1, [0, 1], size=(28, 84), image=image, output_type="pt", **FEW)
    assert made.images.shape == (2, 1, 28, 84) and made.bits == tuple(sorted(made.bits)) and set(made.seeds) == {0, 1}
    assert [codes.digits.shape for codes in decoded] == [(2, 7, 7, 20)] * 15  # in windows, a place apart
    digits = torch.cat([decoded[0].digits, decoded[7].digits, decoded[14].digits], 2)
    assert torch.equal(digits[:, :, 7:14], pipeline.encode([image]).digits.expand(2, -1, -1, -1))
    assert digits[:, :, :7].any() and not torch.equal(digits[0], digits[1])


@torch.no_grad()
def test_windows_blend(pipeline):
    """Every pixel is a mean of what windows give there, with weights that add up to one and fade at a window's edges."""
    digits = torch.randint(2, (1, 7, 9, 20), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    made = blended(pipeline, digits)
    parts = [pipeline.decode_pixels(Codes(digits[:, :, at : at + 7], pipeline.radix)) for at in range(3)]
    assert torch.equal(made[..., :4], parts[0][..., :4]) and torch.equal(made[..., -4:], parts[2][..., -4:])
    assert ((made[..., 4] - parts[0][..., 4]).abs() < 0.05 * (parts[1][..., 0] - parts[0][..., 4]).abs() + 1e-6).all()
    given = torch.stack([parts[0][..., 8:28], parts[1][..., 4:24], parts[2][..., :20]])
    assert (made[..., 8:28] <= given.amax(0) + 1e-5).all() and (made[..., 8:28] >= given.amin(0) - 1e-5).all()


def test_a_picture_that_fills_all_costs_nothing(pipeline):
    image = fashion_sample().pixels[3]
    whole = pipeline.panorama(1, 5, size=(28, 28), image=image, output_type="pt", **FEW)
    assert torch.equal(whole.images, pipeline.decode(pipeline.encode([image]), "pt")) and whole.bits == (0.0,)


def test_an_answer_is_its_seeds(pipeline):
    alone = pipeline.panorama(8, 7, size=(28, 56), output_type="np", **FEW).images[0]
    among = pipeline.panorama(8, [3, 7], size=(28, 56), output_type="np", **FEW)
    assert (alone == among.images[among.seeds.index(7)]).all()
    assert (alone != among.images[among.seeds.index(3)]).any()


def test_its_size_is_the_pipelines_unless_told(pipeline):
    assert pipeline.panorama(None, 0, **FEW).images[0].size == (112, 28)


def test_what_does_not_fit_is_told(pipeline):
    for size in ((28, 30), (24, 56), (28,), (28.0, 56)):
        with pytest.raises(ValueError, match="size: got .*multiples of 4 pixels, from 28 and 28 on"):
            pipeline.panorama(1, 0, size=size)
    with pytest.raises(ValueError, match="are 100,000 places; give at most 4,096"):
        pipeline.panorama(1, 0, size=(400, 4000))
    with pytest.raises(ValueError, match="fit 'crop'"):
        pipeline.panorama(1, 0, image=torch.zeros(1, 40, 40, dtype=torch.uint8))


def test_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    quick_pipeline().save_pretrained("quick")
    few = ["--pipeline", "quick", "--steps", "1", "--evaluations", "1", "--count", "2"]
    assert main(["panorama", "--class", "bag", "--width", "56", *few]) == 0
    assert sorted(path.name for path in (tmp_path / "panorama").iterdir()) == ["panorama-1.png", "panorama-2.png", "sheet.png"]
    with Image.open(tmp_path / "panorama" / "panorama-1.png") as image:
        assert image.size == (56, 28) and image.info["Command"] == "panorama" and '"width": 56' in image.info["Settings"]
    assert main(["panorama", "fashion:3", "--height", "29", *few]) == 2
    assert "size: got (29, 112)" in capsys.readouterr().err
    assert main(["panorama", "--width", "0", *few]) == 2
    assert "size: got (28, 0)" in capsys.readouterr().err
    assert Pipeline.from_pretrained("quick").panorama(8, 0, size=(28, 56), steps=1, evaluations=1).seeds == (0,)
