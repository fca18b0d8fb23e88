"""Stereo sound through every command that takes sound, a VQ-VAE of pictures from training to evaluation, sound in 8-bit weights."""

import json

import numpy as np
import pytest
import soundfile
import torch
from media import RATE, note, sounds
from PIL import Image
from test_signals import replaced, small

from bitmosaic import Pipeline, systems
from bitmosaic.cli import main
from bitmosaic.images import fashion_sample, save, to_pil
from bitmosaic.media import PICTURES, Waves
from bitmosaic.nets.feature_net import ConvClassifierSpec, save_feature_net
from bitmosaic.nets.int8 import Int8Linear
from bitmosaic.quantizers.simvq import SimVQSpec
from bitmosaic.tokenizers import VQVAESpec
from bitmosaic.train.train import train

SAMPLES = 256


@pytest.fixture(scope="module")
def stereo(tmp_path_factory):
    """A run on stereo sounds, left of a class's pitch and right of another, and the folder of its data."""
    root = tmp_path_factory.mktemp("stereo")
    for path in sounds(root / "data", each=4, samples=SAMPLES).rglob("*.wav"):
        left, _ = soundfile.read(path, dtype="float32")
        soundfile.write(path, np.stack([left, note(800.0, SAMPLES).numpy() / 2], 1), RATE)
    run = systems.recipes()["sound"](str(root / "data"), seconds=SAMPLES / RATE, rate=RATE, channels=2, factor=8, codewords=32)
    train(small(run, 100, 20), root / "run", lambda line: None)
    return root


def test_stereo_is_kept_through_every_command_that_takes_sound(stereo, monkeypatch):
    monkeypatch.chdir(stereo)
    assert main(["sample", "run", "--classes", "low", "--count", "2", "--out", "drawn"]) == 0
    assert main(["reconstruct", "data", "--pipeline", "run", "--out", "again"]) == 0
    assert main(["encode", "data/low", "--pipeline", "run", "--out", "c.safetensors"]) == 0
    assert main(["decode", "c.safetensors", "--pipeline", "run", "--out", "back"]) == 0
    for coder in ("uniform", "static", "prior"):
        assert main(["compress", "data/low", "--pipeline", "run", "--out", coder, "--coder", coder, "--packets", "2"]) == 0
        assert main(["decompress", coder, "--pipeline", "run", "--out", f"from-{coder}"]) == 0
    whole = (stereo / "static" / "0.wav.bmc").read_bytes()
    (stereo / "static" / "0.wav.bmc").write_bytes(whole[:-1])
    assert main(["decompress", "static/0.wav.bmc", "--restore", "--pipeline", "run", "--out", "restored"]) == 0
    assert main(["info", "run"]) == main(["info", "run/pipeline"]) == main(["report", "run", "--out", "page"]) == 0
    assert main(["sample", "run", "--classes", "low", "high", "--count", "1", "--precision", "int8", "--out", "int8"]) == 0
    folders = ["drawn", "back", "restored", "int8", *(f"from-{coder}" for coder in ("uniform", "static", "prior"))]
    for path in [path for name in folders for path in (stereo / name).rglob("*.wav")]:
        samples, rate = soundfile.read(path, always_2d=True)
        assert samples.shape == (SAMPLES, 2) and rate == RATE, path
    back = {name: soundfile.read(stereo / name / "0.wav")[0] for name in folders if name not in ("drawn", "restored", "int8")}
    assert all(np.array_equal(one, back["back"]) for one in back.values())


def test_the_channels_of_a_sound_are_told_apart(stereo):
    pipe = Pipeline.from_pretrained(stereo / "run" / "pipeline")
    given = torch.stack([note(110.0, SAMPLES), note(800.0, SAMPLES) / 2])
    made = torch.from_numpy(pipe.decode(pipe.encode(given))[0])
    error = (made - given).square().sum(1)
    assert made.shape == (2, SAMPLES) and (error < (made.flip(0) - given).square().sum(1)).all(), "nearer to its own than to the other's"
    with pytest.raises(ValueError, match=r"signal: got shape \(3, 4, 5\)"):
        pipe.encode([torch.zeros(3, 4, 5)])


def test_a_prior_of_sound_in_8_bits_draws(stereo):
    pipe = Pipeline.from_pretrained(stereo / "run" / "pipeline", dtype=torch.int8)
    wide = replaced(pipe.prior.spec, width=64, inner=64)
    assert not any(isinstance(module, Int8Linear) for module in pipe.prior.modules()), "narrow layers stay as they are"
    torch.manual_seed(0)
    floats = Pipeline(pipe.tokenizer, wide.build(), pipe.sampler, pipe.class_names)
    floats.save_pretrained(stereo / "wide")
    pipe = Pipeline.from_pretrained(stereo / "wide", dtype=torch.int8)
    assert any(isinstance(module, Int8Linear) for module in pipe.prior.modules())
    drawn = pipe(["low", "high"], seeds=[1, 2])
    assert drawn.shape == (2, 2, SAMPLES) and np.array_equal(pipe("high", seeds=2)[0], drawn[1])
    with pytest.raises(ValueError, match="for drawing only"):
        pipe.save_pretrained(stereo / "p")


def test_a_vq_vae_of_pictures_is_trained_drawn_compressed_and_measured(tmp_path, monkeypatch):
    sample = fashion_sample()
    for i in range(24):
        save(to_pil(sample.image(i)).resize((32, 32)), tmp_path / "data" / "ab"[i % 2] / f"{i}.png")
    monkeypatch.chdir(tmp_path)
    run = systems.recipes()["maskgit"]("data", 32, 1, codewords=16)
    tokenizer = VQVAESpec(PICTURES, (32, 32), 1, (4, 4), SimVQSpec(16, 8), 8, 1)
    run = run.changed(tokenizer=tokenizer, prior=replaced(run.prior, codewords=16, grid=(8, 8), depth=3, heads=2, width=16, inner=32))
    training = {"steps": 4, "batch_size": 4, "precision": "float32"}
    for name in ("tokenizer_training", "prior_training"):
        run = run.changed(**{name: replaced(getattr(run, name), **training)})
    made = train(run, tmp_path / "run", lambda line: None)
    assert made.grid == (8, 8) and made.image_size == (32, 32) and made.radix == (16,)
    assert main(["sample", "run", "--count", "1", "--out", "drawn"]) == 0 and (tmp_path / "drawn" / "a-000.png").exists()
    assert main(["compress", "data/a", "--pipeline", "run", "--out", "small"]) == 0
    assert main(["decompress", "small", "--pipeline", "run", "--out", "large"]) == 0
    wanted = made.decode(made.encode(to_pil(sample.image(0)).resize((32, 32))), "np")[0].squeeze()
    with Image.open(tmp_path / "large" / "0.png") as picture:
        assert np.array_equal(np.asarray(picture), wanted)
    assert main(["inpaint", "data/a/0.png", "--box", "0", "0", "16", "32", "--class", "a", "--pipeline", "run", "--count", "1"]) == 0
    torch.manual_seed(0)
    save_feature_net(ConvClassifierSpec(1, 2, (2, 2, 4)).build().eval(), tmp_path / "net.safetensors")
    assert main(["evaluate", "run", "--against", "data", "--net", "net.safetensors", "--count", "12", "--workers", "1"]) == 0
    found = json.loads((tmp_path / "evaluation" / "evaluation.json").read_text())
    assert found["reconstruction"] and found["samples"]["frechet_distance"]["value"] > 0


def test_waves_of_other_channels_are_mixed_or_doubled():
    mono, both = note(100.0)[None], torch.stack([note(100.0), -note(100.0)])
    assert torch.equal(Waves(RATE).fitted(mono, (512,), 2), Waves(RATE).fitted(mono, (512,), 1).expand(2, -1))
    assert not Waves(RATE).fitted(both, (512,), 1).any()
