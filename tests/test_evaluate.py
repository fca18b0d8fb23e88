"""Measuring: reconstruction, Frechet distances, nearest images and curves of a run."""

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

from bitmosaic.codes import Codes
from bitmosaic.evaluate.curves import curves, read_metrics, smooth
from bitmosaic.evaluate.frechet import Statistics, feature_statistics, frechet_distance, frechet_to_images
from bitmosaic.evaluate.neighbours import nearest
from bitmosaic.evaluate.reconstruction import BitUse, reconstruction_report
from bitmosaic.images import ArrayImages, Folder, in_order
from bitmosaic.nets.feature_net import ConvClassifierSpec
from bitmosaic.tokenizers.base import Tokenizer
from bitmosaic.tokenizers.binary_autoencoder import BinaryAutoencoderSpec


def noise(*shape, seed=0):
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


class EightBits(Tokenizer):
    """A pixel's eight bits, most significant first, are its code; the bits in `lost` are written as zero."""

    channels, factor, radix, image_size = 1, 1, (2,) * 8, (8, 8)

    def __init__(self, lost=()):
        super().__init__()
        self.register_buffer("kept", torch.tensor([int(bit not in lost) for bit in range(8)]))

    def encode(self, images):
        self.check_signals(images)
        values = (images * 255).round().long().movedim(1, -1)
        return Codes((values >> torch.arange(7, -1, -1)) % 2 * self.kept, self.radix)

    def decode(self, codes):
        return (codes.digits.long() << torch.arange(7, -1, -1)).sum(-1)[:, None] / 255


class Index(EightBits):
    """The same as one digit of 256."""

    radix = (256,)

    def encode(self, images):
        return Codes((images * 255).round().long().movedim(1, -1), self.radix)

    def decode(self, codes):
        return codes.digits.movedim(-1, 1) / 255


def folder_with_one_broken(path, n=4, size=12):
    for i, image in enumerate(noise(n, size, size)):
        Image.fromarray(image.numpy()).save(path / f"{i}.png")
    (path / "broken.png").write_text("no picture")
    return Folder(path, size, channels=1)


# reconstruction


def test_psnr_and_l1_by_hand():
    pixels = torch.full((2, 1, 8, 8), 129, dtype=torch.uint8)
    pixels[1] = 136  # 129 loses 1, 136 loses 8
    report = reconstruction_report(EightBits(lost=(4, 7)), ArrayImages(pixels))
    assert report.count == 2 and report.bits_per_image == 8 * 64
    assert report.psnr == pytest.approx((20 * math.log10(255) + 20 * math.log10(255 / 8)) / 2)
    assert report.l1 == pytest.approx((1 + 8) / 2 / 255)


def test_an_exact_tokenizer():
    report = reconstruction_report(EightBits(), ArrayImages(noise(6, 1, 8, 8)))
    assert (report.l1, report.ssim) == (0, pytest.approx(1, abs=1e-6)) and not report.bits.dead
    assert report.psnr == pytest.approx(20 * math.log10(255) + 10 * math.log10(64))  # finite: one value off by one
    json.loads(json.dumps(report.to_json(), allow_nan=False))


def test_more_lost_is_worse():
    images = ArrayImages(noise(5, 1, 16, 12))
    reports = [reconstruction_report(EightBits(lost), images) for lost in ((7,), (6, 7), (5, 6, 7), (2,), (0,))]
    for better, worse in zip(reports, reports[1:], strict=False):
        assert better.psnr > worse.psnr and better.ssim > worse.ssim and better.l1 < worse.l1


def test_dead_bits_are_named():
    pixels = noise(50, 1, 8, 8) | 0b0010_0000  # bit 2 is always one
    bits = reconstruction_report(EightBits(lost=(6,)), ArrayImages(pixels)).bits
    assert bits.dead == (2, 6) and bits.mean[2] == 1 and bits.mean[6] == 0
    assert all(abs(bits.mean[i] - 0.5) < 0.05 and bits.entropy[i] > 0.99 for i in (0, 1, 3, 4, 5, 7))
    assert "2 dead: bit 2 (mostly 1), bit 6 (mostly 0)" in bits.summary() and "\n" not in bits.summary()
    assert bits.to_json()["dead"] == [2, 6]


def test_entropy_of_bits():
    bits = BitUse((0.5, 0.25, 0.0, 0.0005))
    assert bits.entropy == pytest.approx((1, 2 - 0.75 * math.log2(3), 0, 0.0062), abs=1e-4)
    assert bits.dead == (2, 3)
    assert "none dead" in BitUse((0.5, 0.4)).summary()


def test_text_and_json_say_the_same():
    report = reconstruction_report(EightBits(lost=(7,)), ArrayImages(noise(3, 1, 8, 8)))
    for part in ("images    3", f"{report.psnr:.2f} dB", f"{report.ssim:.4f}", "512 bits an image", "1 dead: bit 7"):
        assert part in report.text()
    assert report.to_json()["bits"]["dead"] == [7] and report.to_json()["psnr"] == report.psnr


def test_codes_that_are_indices_have_a_use_of_the_codebook():
    images = ArrayImages(noise(3, 1, 8, 8))
    report = reconstruction_report(Index(), images, batch_size=2)
    assert report.bits is None and report.to_json()["bits"] is None and report.bits_per_image == 512
    counts = torch.bincount(images.pixels.flatten().long(), minlength=256)
    p = counts[counts > 0] / counts.sum()
    assert report.codebook.used == len(p) and report.codebook.perplexity == pytest.approx(2 ** float(-(p * p.log2()).sum()), rel=1e-5)
    assert f"{len(p)} of 256 codewords, perplexity" in report.text() and report.to_json()["codebook"]["used"] == len(p)


@pytest.mark.parametrize("size", [(1, 1), (2, 9), (3, 3), (5, 5), (6, 30), (10, 11), (12, 40)])
def test_small_images_have_an_ssim(size):
    images = ArrayImages(noise(2, 1, *size))
    assert reconstruction_report(EightBits(), images).ssim == pytest.approx(1, abs=1e-6)
    assert -1 <= reconstruction_report(EightBits((0,)), images).ssim < 1


def test_batches_do_not_matter_and_unreadable_images_are_passed_over(tmp_path):
    images = folder_with_one_broken(tmp_path)
    whole = reconstruction_report(EightBits((5,)), images)
    single = reconstruction_report(EightBits((5,)), images, batch_size=1)
    assert whole.count == 4
    assert (single.psnr, single.ssim, single.l1) == pytest.approx((whole.psnr, whole.ssim, whole.l1), abs=1e-6)
    assert single.bits == whole.bits


def test_a_limit_is_spread_over_the_set():
    pixels = torch.arange(10, dtype=torch.uint8).repeat_interleave(64).view(10, 1, 8, 8) % 2 * 255
    pixels[5:] = 255
    report = reconstruction_report(EightBits(), ArrayImages(pixels), limit=2)  # images 0 and 5
    assert report.count == 2 and report.bits.mean == (0.5,) * 8
    assert reconstruction_report(EightBits(), ArrayImages(pixels), limit=100).count == 10


def test_the_binary_autoencoder_is_measured_and_stays_in_its_mode():
    tokenizer = BinaryAutoencoderSpec().build()
    tokenizer.encoder.eval()
    before = [module.training for module in tokenizer.modules()]
    report = reconstruction_report(tokenizer, ArrayImages(noise(3, 3, 16, 24)), batch_size=2)
    assert [module.training for module in tokenizer.modules()] == before
    assert report.bits_per_image == 8 * 12 * 8 and len(report.bits.mean) == 8
    assert all(math.isfinite(value) for value in (report.psnr, report.ssim, report.l1))


def test_reconstruction_refuses(tmp_path):
    for wrong in ({"batch_size": 0}, {"limit": 0}):
        with pytest.raises(ValueError, match="batch_size, limit: got"):
            reconstruction_report(EightBits(), ArrayImages(noise(1, 1, 8, 8)), **wrong)
    images = folder_with_one_broken(tmp_path, n=1)
    (tmp_path / "0.png").write_text("gone")
    images._kept.clear()
    with pytest.raises(ValueError, match="images: none of 2 can be read; skipped 2 unreadable"):
        reconstruction_report(EightBits(), images)


# Frechet


class Pixels(torch.nn.Module):
    """Pixels as features."""

    def embed(self, images):
        return images.flatten(1)


def random_statistics(d, n, seed=0):
    return feature_statistics(Pixels(), [torch.randn(n, 1, 1, d, generator=torch.Generator().manual_seed(seed))])


def test_statistics_are_those_of_numpy_in_any_batches():
    x = torch.randn(57, 1, 2, 3, generator=torch.Generator().manual_seed(0)) + 1000
    for batch in (1, 10, 57):
        found = feature_statistics(Pixels(), x.split(batch))
        assert found.count == 57 and found.covariance.dtype == torch.float64
        assert np.allclose(found.mean, x.double().flatten(1).numpy().mean(0), rtol=1e-12)
        assert np.allclose(found.covariance, np.cov(x.double().flatten(1).numpy().T), rtol=1e-9)


@pytest.mark.parametrize("d, n", [(4, 100), (30, 100), (30, 10), (5, 2)])
def test_a_set_is_at_no_distance_from_itself(d, n):
    a = random_statistics(d, n)
    assert 0 <= frechet_distance(a, a) < 1e-9 * d


def test_shifted_gaussians_have_the_closed_form():
    a = random_statistics(6, 50)
    shift = torch.arange(6).double()
    assert frechet_distance(a, Statistics(a.mean + shift, a.covariance, 50)) == pytest.approx(55)
    spread = frechet_distance(a, Statistics(a.mean, 9 * a.covariance, 50))
    assert spread == pytest.approx((3 - 1) ** 2 * float(a.covariance.trace()))


def test_commuting_covariances_have_the_closed_form():
    turn = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))[0]
    spreads = torch.tensor([[1.0, 2.0, 0.0, 3.0], [2.0, 0.0, 0.0, 5.0]], dtype=torch.float64)  # some are singular
    a, b = (Statistics(torch.zeros(4).double(), turn @ s.square().diag() @ turn.T, 9) for s in spreads)
    assert frechet_distance(a, b) == pytest.approx(float((spreads[0] - spreads[1]).square().sum()), abs=1e-6)


def test_general_covariances_agree_with_the_matrix_square_root():
    a, b = random_statistics(7, 40), random_statistics(7, 40, seed=1)
    root = torch.linalg.eigvals(a.covariance @ b.covariance).sqrt().sum().real
    plain = (a.mean - b.mean).square().sum() + (a.covariance + b.covariance).trace() - 2 * root
    assert frechet_distance(a, b) == pytest.approx(float(plain)) == pytest.approx(frechet_distance(b, a))


def test_made_images_against_a_set():
    net = ConvClassifierSpec(channels=1).build()
    images = ArrayImages(noise(40, 1, 8, 8))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    same = frechet_to_images(net, images.pixels / 255, images, batch_size=7)
    other = frechet_to_images(net, noise(40, 1, 8, 8, seed=1) / 255, images)
    far = frechet_to_images(net, torch.zeros(40, 1, 8, 8), images)
    assert 0 <= same < 1e-6 < other < far
    assert net.training and all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert feature_statistics(net, (batch.images for batch in in_order(images, 9))).count == 40


def test_frechet_refuses():
    with pytest.raises(ValueError, match="at least 2"):
        feature_statistics(Pixels(), [torch.zeros(1, 1, 2, 2)])
    with pytest.raises(ValueError, match="finite"):
        feature_statistics(Pixels(), [torch.full((2, 1, 2, 2), float("nan"))])
    with pytest.raises(ValueError, match="net: Linear has no embed"):
        feature_statistics(torch.nn.Linear(1, 1), [])
    with pytest.raises(ValueError, match="width 4 against 3"):
        frechet_distance(random_statistics(3, 9), random_statistics(4, 9))
    with pytest.raises(ValueError, match=r"made: got \(2, 3, 8, 8\); want \(n, 1, 8, 8\)"):
        frechet_to_images(Pixels(), torch.zeros(2, 3, 8, 8), ArrayImages(noise(2, 1, 8, 8)))


# neighbours


@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_planted_copies_are_found(batch_size):
    images = noise(60, 3, 6, 5)
    planted = torch.tensor([41, 0, 59, 41])
    indices, distances = nearest(images[planted] / 255, images, batch_size)
    assert torch.equal(indices, planted) and distances.tolist() == [0] * 4
    touched = images[planted].clone()
    touched[:, 0, 0, 0] ^= 1
    indices, distances = nearest(touched, ArrayImages(images), batch_size)
    assert torch.equal(indices, planted) and distances.tolist() == pytest.approx([1 / 255] * 4)


def test_nearest_agrees_with_all_distances():
    images, query = noise(80, 1, 9, 9), noise(12, 1, 9, 9, seed=1)
    every = (query.double().flatten(1)[:, None] - images.double().flatten(1)).norm(dim=2) / 255
    indices, distances = nearest(query, images, 13)
    assert torch.equal(indices, every.argmin(1)) and torch.allclose(distances, every.min(1).values)


def test_the_first_of_equals_is_taken():
    images = noise(3, 1, 4, 4).repeat(4, 1, 1, 1)
    for batch_size in (2, 5, 12):
        assert nearest(images[:3], images, batch_size)[0].tolist() == [0, 1, 2]


def test_unreadable_images_are_no_neighbours(tmp_path):
    images = folder_with_one_broken(tmp_path)  # broken.png is the last
    assert nearest(images.image(3)[None], images)[0].tolist() == [3]
    with pytest.raises(ValueError, match=r"query: got \(1, 3, 12, 12\); want \(n, 1, 12, 12\)"):
        nearest(torch.zeros(1, 3, 12, 12), images)


# curves


def write_metrics(path, rows, end="\n"):
    path.write_text("\n".join(json.dumps(row) for row in rows) + end)
    return path


def run_of(n):
    for i in range(n):
        row = {"step": 10 * (i + 1), "loss": math.exp(-i / 20), "weight": 0.5, "images_per_second": 100.0, "seconds": i}
        yield {**row, "memory_gb": 1.0, **({"late": math.sin(i)} if i > n // 2 else {})}


@pytest.mark.curves
@pytest.mark.parametrize("n", [1, 2, 200])
def test_curves_are_a_picture(tmp_path, n):
    curves(write_metrics(tmp_path / "metrics.jsonl", run_of(n)), tmp_path / "plots" / "curves.png", "a $run_1$")
    with Image.open(tmp_path / "plots" / "curves.png") as picture:
        assert picture.format == "PNG" and picture.mode == "RGB" and picture.width > 400
        assert len(set(picture.convert("L").resize((200, 100)).tobytes())) > 3
    assert [path.name for path in (tmp_path / "plots").iterdir()] == ["curves.png"]


@pytest.mark.curves
def test_curves_with_gaps_and_infinities(tmp_path):
    rows = list(run_of(60))
    rows[3]["loss"], rows[4]["loss"], rows[5]["note"], rows[6]["weight"] = math.nan, -math.inf, "text", None
    curves(write_metrics(tmp_path / "m.jsonl", rows), tmp_path / "c.png")
    assert (tmp_path / "c.png").stat().st_size > 1000


def test_a_resumed_run_replaces_its_rows_and_half_a_line_waits(tmp_path):
    rows = [{"step": 10, "loss": 3.0}, {"step": 20, "loss": 9.0}, {"step": 20, "loss": 2.0, "note": "resumed"}]
    path = write_metrics(tmp_path / "m.jsonl", rows, end='\n{"step": 30, "lo')
    assert read_metrics(path) == [{"step": 10, "loss": 3.0}, {"step": 20, "loss": 2.0}]


def test_smoothing_keeps_a_line_and_does_not_lag():
    line = np.linspace(3, 5, 200)
    assert np.allclose(smooth(line)[15:-15], line[15:-15])
    step = (np.arange(200) >= 100).astype(float)
    assert np.interp(0.5, smooth(step), np.arange(200)) == pytest.approx(99.5, abs=0.1)
    rough = np.random.default_rng(0).normal(size=400)
    assert smooth(rough).std() < rough.std() / 3
    rough[7] = np.nan
    assert np.isnan(smooth(rough)).sum() == 1


@pytest.mark.parametrize("text, complaint", [
    ("", "no finite metric"), ('{"step": 1, "seconds": 2.0}\n', "no finite metric"),
    ('{"step": 1, "loss": NaN}\n', "no finite metric"), ('{"loss": 1}\n', 'line 1 of .*want an object with a "step"'),
    ('{"step": 1}\n{"step": \n', "line 2 of"), ("[1]\n", "line 1 of"), ('{"step": "x"}\n', "line 1 of"),
])
def test_other_files_are_refused(tmp_path, text, complaint):
    (tmp_path / "m.jsonl").write_text(text)
    with pytest.raises(ValueError, match=f"metrics_jsonl: .*{complaint}"):
        curves(tmp_path / "m.jsonl", tmp_path / "c.png")
    with pytest.raises(ValueError, match="metrics_jsonl: cannot read .*nowhere"):
        curves(tmp_path / "nowhere", tmp_path / "c.png")
    assert not (tmp_path / "c.png").exists()
