"""The benchmarks run, at tiny sizes: what they measure is not looked at, but that they measure at all."""

import importlib.util
import json
import math
import sys
from pathlib import Path

import pytest
import torch

from bitmosaic.images import ArrayImages, fashion_sample

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


def test_gpu_on_a_cpu(benchmark, tmp_path, capsys):
    found = benchmark("gpu").main(["--device", "cpu", "--tiny", "--no-compile", "--out", str(tmp_path / "gpu.json")])
    assert json.loads((tmp_path / "gpu.json").read_text())["tiny"][0]["images_per_second"] > 0
    assert found["correctness"]["context, float32"] == 0 and found["correctness"]["marginals, bf16"] < 0.02
    assert len(found["tiny"]) == 4 and "training step of tiny" in capsys.readouterr().out


def test_gpu_without_one_says_so(benchmark, capsys):
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(SystemExit) as stop:
        benchmark("gpu").main([])
    assert stop.value.code == 2 and "no CUDA device is here" in capsys.readouterr().err


def test_the_map_draws_goes_on_and_marks_its_front(benchmark, tmp_path, monkeypatch, capsys):
    quality_speed = benchmark("quality_speed")
    sample = fashion_sample()
    small = ArrayImages(sample.pixels[:200], sample.labels[:200], sample.class_names)
    monkeypatch.setattr(quality_speed, "BATCH", 10)
    monkeypatch.setattr(quality_speed, "fashion_sample", lambda: small)
    monkeypatch.setattr(quality_speed, "fashion_mnist", lambda: small)
    few = [
        quality_speed.Point("published", quality_speed.EntropyOrderedSpec(2, 2, 1.5), seeds=2, samples=20),
        quality_speed.Point("shortlist", quality_speed.MarginalsFirstSpec(2, 1, 1.5), samples=20, family="shortlist"),
        quality_speed.Point("never drawn", quality_speed.MarginalsFirstSpec(3, 1, 1.5), samples=20, family="shortlist"),
    ]
    monkeypatch.setattr(quality_speed, "points", lambda rounds, evaluations: few)
    line = ["quality_speed.py", "--work", str(tmp_path / "work"), "--out", str(tmp_path), "--only", "published", "shortlist"]
    line += ["--rounds-of-timing", "1"]
    monkeypatch.setattr(sys, "argv", line)
    quality_speed.main()
    told = json.loads((tmp_path / "quality_speed.json").read_text())
    assert [p["name"] for p in told["points"]] == ["published", "shortlist"] and told["left_out"] == ["never drawn"]
    assert len(told["points"][0]["frechet_of_runs"]) == 2 and any(p["front"] for p in told["points"])
    assert (tmp_path / "quality_speed.png").stat().st_size > 10_000 and "(floor)" in (tmp_path / "quality_speed.md").read_text()
    drawn = {path: path.stat().st_mtime_ns for path in (tmp_path / "work").rglob("*.pt")}
    quality_speed.main()  # nothing is drawn again
    assert drawn == {path: path.stat().st_mtime_ns for path in (tmp_path / "work").rglob("*.pt")}
    again = json.loads((tmp_path / "quality_speed.json").read_text())
    assert [p["frechet"] for p in again["points"]] == [p["frechet"] for p in told["points"]]


def test_sampling_measures_every_row(benchmark, tmp_path, monkeypatch):
    from bitmosaic import Pipeline
    from bitmosaic.priors.conditions import ClassConditionSpec
    from bitmosaic.priors.heads import BernoulliDiffusionSpec
    from bitmosaic.priors.masked import MaskedPriorSpec
    from bitmosaic.tokenizers.binary_autoencoder import BinaryAutoencoderSpec

    sampling = benchmark("sampling")
    tokenizer = BinaryAutoencoderSpec((16, 16), 3, 8, 32, (1, 1, 1), 1, (), 32).build()
    prior = MaskedPriorSpec((4, 4), 8, 2, 2, 64, ClassConditionSpec(3), BernoulliDiffusionSpec(64, 2)).build()
    Pipeline(tokenizer, prior, sampling.EntropyOrderedSpec()).save_pretrained(tmp_path, torch.bfloat16)
    for name in sampling.rows("L"):
        row = sampling.one_row("L", name, tmp_path)
        assert math.isfinite(row["seconds"]) and 0 < row["gib"] < 64 and row["tflop_backbone"] > 0 and math.isfinite(row["tflop_head"])
    law = sampling.one_row("L", "same law, E1 to E8, float32", tmp_path)
    theirs = sampling.one_row("L", "published arithmetic, float32", tmp_path)
    assert 0.3 < law["tflop_head"] / theirs["tflop_head"] < 0.75  # hidden places only
    assert 0.5 < law["tflop_backbone"] / theirs["tflop_backbone"] <= 1  # and no round that reveals nothing
