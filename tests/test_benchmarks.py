"""The benchmarks run, at tiny sizes: what they measure is not looked at, but that they measure at all."""

import importlib.util
import io
import json
import math
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from bitmosaic.images import ArrayImages, fashion_sample
from bitmosaic.samplers import EntropyOrderedSpec, MarginalsFirstSpec

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch):
    """A module of benchmarks/ by name."""
    if not BENCHMARKS.is_dir():
        pytest.skip("benchmarks/ is not here")
    monkeypatch.syspath_prepend(str(BENCHMARKS))

    def load(name):
        spec = importlib.util.spec_from_file_location(f"benchmark_{name}", BENCHMARKS / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        return module

    return load


def test_codes_in_shards(benchmark, tmp_path):
    words = ["--part", "read", "--grids", "3000", "--shard", "700", "--batches", "3", "--out", str(tmp_path / "data.json")]
    found = benchmark("codes").main(words)
    assert json.loads((tmp_path / "data.json").read_text())["read"]["warm"]["grids_per_second"] > 0
    assert found["read"]["grids"] == 3000 and found["read"]["warm"]["batches"] == 3


def test_gpu_on_a_cpu(benchmark, tmp_path, capsys):
    found = benchmark("gpu").main(["--device", "cpu", "--tiny", "--out", str(tmp_path / "gpu.json")])
    assert json.loads((tmp_path / "gpu.json").read_text())["sampling"][0]["images_per_second"] > 0
    assert found["correctness"]["context, float32"] == 0 and found["correctness"]["marginals, bf16"] < 0.02
    assert len(found["sampling"]) == 12 and "training step, batch 2, recompute" in capsys.readouterr().out
    theirs, ours = (next(row for row in found["sampling"] if name in row["sampling"]) for name in ("arithmetic", "law, S"))
    assert theirs["tflop_an_image"] > ours["tflop_an_image"]


def test_gpu_without_one_says_so(benchmark, capsys):
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(SystemExit) as stop:
        benchmark("gpu").main([])
    assert stop.value.code == 2 and "no CUDA device is here" in capsys.readouterr().err


@pytest.fixture
def small_map(benchmark, tmp_path, monkeypatch):
    """benchmarks/quality_speed.py with few points, samples and images; called with further arguments it returns what it wrote."""
    quality_speed = benchmark("quality_speed")
    sample = fashion_sample()
    small = ArrayImages(sample.pixels[:200], sample.labels[:200], sample.class_names)
    law, point = EntropyOrderedSpec(3, 4, 1.5), quality_speed.Point
    few = [
        point(quality_speed.LAW, law, seeds=3, samples=40),
        point("the same, sooner", replace(law, evaluations=1), samples=20),
        point("never drawn", MarginalsFirstSpec(3, 1, 1.5), "shortlist", samples=20),
    ]
    for name, value in {
        "BATCH": 10, "SAMPLES": 20, "MORE": 40, "fashion_sample": lambda: small, "fashion_mnist": lambda: small,
        "points": lambda rounds, evaluations: few,
    }.items():
        monkeypatch.setattr(quality_speed, name, value)

    def run(*arguments):
        line = ["quality_speed.py", "--work", str(tmp_path / "work"), "--out", str(tmp_path), "--workers", "1", "--rounds-of-timing", "1"]
        monkeypatch.setattr(sys, "argv", [*line, *arguments])
        quality_speed.main()
        return json.loads((tmp_path / "quality_speed.json").read_text())

    return quality_speed, run


@pytest.mark.slow
def test_the_map_draws_goes_on_and_chooses(small_map, tmp_path, monkeypatch):
    quality_speed, run = small_map
    monkeypatch.setattr(quality_speed, "good_enough", lambda mine, law: len(law) == 3)  # whatever the distance is
    monkeypatch.setattr(quality_speed, "time_points", lambda pipeline, chosen, rounds: {p.name: [p.sampler.evaluations] for p in chosen})
    told = run("--only", "sooner")
    assert [p["name"] for p in told["points"]] == [quality_speed.LAW, "the same, sooner", "the same, sooner, guidance 2.5"]
    assert told["chosen"] == "the same, sooner" and told["points"][1]["samples"] == [40, 40, 40] and not told["left_out"]
    assert any(p["front"] for p in told["points"]) and len(told["points"][0]["frechet_of_runs"]) == 3
    assert (tmp_path / "quality_speed.png").stat().st_size > 10_000
    page = (tmp_path / "quality_speed.md").read_text()
    assert "(floor)" in page and ("sooner** ← default" in page or "sooner ← default" in page)
    drawn = {path: path.stat().st_mtime_ns for path in (tmp_path / "work").rglob("*.pt")}
    again = run("--only", "sooner")
    assert drawn == {path: path.stat().st_mtime_ns for path in (tmp_path / "work").rglob("*.pt")}, "something was drawn again"
    assert [p["frechet"] for p in again["points"]] == [p["frechet"] for p in told["points"]]


def test_the_map_keeps_the_law_where_nothing_is_as_good(small_map, monkeypatch):
    quality_speed, run = small_map
    monkeypatch.setattr(quality_speed, "good_enough", lambda mine, law: False)
    monkeypatch.setattr(quality_speed, "time_points", lambda pipeline, chosen, rounds: {p.name: [p.sampler.evaluations] for p in chosen})
    assert run("--only", "sooner")["chosen"] == quality_speed.LAW


def test_the_map_says_what_time_did_not_allow(small_map):
    quality_speed, run = small_map
    with pytest.raises(SystemExit, match="more --minutes"):
        run("--minutes", "0")


def test_good_enough_is_three_percent_or_the_spread_of_seeds(benchmark):
    good_enough = benchmark("quality_speed").good_enough
    assert good_enough(1.03, [1.0, 1.0]) and not good_enough(1.04, [1.0, 1.0])
    assert good_enough(1.2, [0.8, 1.2]) and not good_enough(1.21, [0.8, 1.2])


def test_points_of_the_map_have_names_of_their_own(benchmark):
    of = benchmark("quality_points").points
    found = of(10, 25)
    assert len({p.name for p in of(10, 10)}) == len(of(10, 10)) < len(found)
    assert len({p.name for p in found}) == len({json.dumps(p.sampler.to_json()) for p in found}) == len(found)
    assert {type(p.sampler) for p in found} == {EntropyOrderedSpec, MarginalsFirstSpec}
    assert all(p.samples >= 2000 for p in found) and [p.seeds for p in found[:3]] == [3, 3, 1]


@pytest.mark.slow
def test_a_process_of_the_map_draws_what_it_is_told(benchmark, tmp_path):
    quality_speed = benchmark("quality_speed")
    job = quality_speed.Job(quality_speed.Point("quick", EntropyOrderedSpec(1, 1, 1.0)), 0, 0)
    options = SimpleNamespace(pipeline="fashion", precision="float32", workers=2)
    point = replace(job.point, samples=quality_speed.BATCH)
    quality_speed.draw_all([point], options, tmp_path, time.time() + 600)
    kept = torch.load(job.path(tmp_path))
    assert kept["features"].shape[0] == quality_speed.BATCH and kept["right"].dtype == torch.bool
    assert not quality_speed.jobs([point], tmp_path)


@pytest.fixture
def sampling(benchmark, tmp_path):
    """benchmarks/sampling.py, and a tiny pipeline in the test's folder."""
    from bitmosaic import Pipeline
    from bitmosaic.conditions import ClassConditionSpec
    from bitmosaic.priors.bernoulli_diffusion import BernoulliDiffusionSpec
    from bitmosaic.priors.masked import MaskedPriorSpec
    from bitmosaic.tokenizers.binary_autoencoder import BinaryAutoencoderSpec

    sampling = benchmark("sampling")
    tokenizer = BinaryAutoencoderSpec((16, 16), 3, 8, 32, (1, 1, 1), 1, (), 32).build()
    prior = MaskedPriorSpec((4, 4), 8, 2, 2, 64, ClassConditionSpec(3), BernoulliDiffusionSpec(64, 2)).build()
    Pipeline(tokenizer, prior, sampling.EntropyOrderedSpec()).save_pretrained(tmp_path, torch.bfloat16)
    return sampling


def test_sampling_measures_a_row(sampling, tmp_path):
    row = sampling.one_row("L", "same law, E1 to E8, float32", tmp_path)
    assert math.isfinite(row["seconds"]) and row["tflop_backbone"] > 0


@pytest.mark.slow
def test_sampling_measures_every_row(sampling, tmp_path):
    for name in sampling.rows("L"):
        row = sampling.one_row("L", name, tmp_path)
        assert math.isfinite(row["seconds"]) and 0 < row["gib"] < 64 and row["tflop_backbone"] > 0 and math.isfinite(row["tflop_head"])
    law = sampling.one_row("L", "same law, E1 to E8, float32", tmp_path)
    theirs = sampling.one_row("L", "published arithmetic, float32", tmp_path)
    assert 0.3 < law["tflop_head"] / theirs["tflop_head"] < 0.75  # hidden places only
    assert 0.5 < law["tflop_backbone"] / theirs["tflop_backbone"] <= 1  # and no round that reveals nothing


def test_headers_of_other_formats(benchmark):
    """What is counted as header is nearly the same for any two pictures of one setting, and the rest grows with the quality."""
    module = benchmark("codec_rate")
    pictures = [Image.fromarray(image[0].numpy()) for image in fashion_sample().pixels[:2]]
    for name, settings in module.formats().items():
        if name == "JPEG XL":
            continue
        rest = []
        for way in (settings[0], settings[-1]):
            files = []
            for picture in pictures:
                files.append(io.BytesIO())
                picture.save(files[-1], **way)
            headers = [module.header(way["format"], file.getvalue()) for file in files]
            assert abs(headers[0] - headers[1]) <= (0 if name == "WebP" else 24)
            rest.append(len(files[0].getvalue()) - headers[0])
        assert 0 < rest[0] < rest[1]


def test_bytes_for_a_quality(benchmark):
    """Between two settings by the logarithm of bytes, above the last that is worse; the smallest file where all are better."""
    points = [{"bytes": 100.0, "psnr": 20.0}, {"bytes": 400.0, "psnr": 30.0}, {"bytes": 800.0, "psnr": 31.0}]
    found = benchmark("codec_rate").bytes_for
    assert found(points, "psnr", 25.0) == pytest.approx(200) and found(points, "psnr", 19.0) == 100 and found(points, "psnr", 32.0) is None


@pytest.mark.slow
def test_editing(benchmark, tmp_path, monkeypatch):
    module = benchmark("editing")
    for name, few in (("MASKS", {"80 % at random": module.MASKS["80 % at random"]}), ("EDITS", module.EDITS[:1])):
        monkeypatch.setattr(module, name, few)
    monkeypatch.setattr(module.Bench, "some", lambda bench, name, count: list(bench.sample.pixels[:1]))
    found = module.main(["--part", "masks", "edits", "--each", "1", "--out", str(tmp_path / "editing.json")])
    ways = found["masks"]["found"]["80 % at random"]
    assert ways["steered"]["psnr"] > ways["hidden"]["psnr"] and len(found["edits"]["found"]) == 3
