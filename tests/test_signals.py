"""Sound, clips and bytes of JPEG files through tokenizer, prior and pipeline, trained here by the ordinary recipes and commands."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from media import PITCHES, RATE, film, films, note, sounds

from bitmosaic import systems
from bitmosaic.cli import main
from bitmosaic.images import fashion_sample, save, to_pil
from bitmosaic.losses.spectral import spectral
from bitmosaic.media import Waves
from bitmosaic.pipelines import Pipeline
from bitmosaic.tokenizers import VQVAESpec
from bitmosaic.train.plan import costs
from bitmosaic.train.train import train


def small(run, tokenizer_steps, prior_steps):
    """A recipe's run with networks that a test can train."""
    fields = {"prior_training": {"steps": prior_steps, "batch_size": 16, "learning_rate": 4e-3, "warmup_steps": 5}}
    changes = {"prior": replaced(run.prior, depth=1 if run.prior.depth == 6 else 3, heads=2, width=32)}
    if hasattr(run.prior, "inner"):
        changes["prior"] = replaced(changes["prior"], inner=64)
    if hasattr(run, "tokenizer_training"):
        fields["tokenizer_training"] = {"steps": tokenizer_steps, "batch_size": 8, "learning_rate": 4e-3, "warmup_steps": 5}
        changes["tokenizer"] = replaced(run.tokenizer, width=16, residual_blocks=1, quantizer=replaced(run.tokenizer.quantizer, width=8))
    for name, new in fields.items():
        changes[name] = replaced(getattr(run, name), precision="float32", ema_decay=0.9, pictures_every=10**6, **new)
    return run.changed(**changes)


def replaced(spec, **fields):
    import dataclasses

    return dataclasses.replace(spec, **fields)


def psnr(given, made):
    return -10 * np.log10(np.square(given - made).mean())


@pytest.fixture(scope="module")
def heard(tmp_path_factory):
    """A pipeline of sounds of two pitches."""
    root = tmp_path_factory.mktemp("sound")
    data = sounds(root / "data", each=8)
    run = systems.recipes()["sound"](str(data), seconds=512 / RATE, rate=RATE, factor=8, codewords=64)
    train(small(run, 120, 100), root / "run", lambda line: None)
    return root


def test_sound_is_learned_and_given_back(heard):
    pipe = Pipeline.from_pretrained(heard / "run" / "pipeline")
    assert pipe.grid == (64,) and pipe.size == (512,) and pipe.medium == Waves(RATE) and pipe.class_names == ("high", "low")
    given = torch.stack([note(pitch)[None] for pitch in PITCHES.values()])
    made = pipe.decode(pipe.encode(list(given)))
    assert made.shape == (2, 1, 512) and made.dtype == np.float32
    assert psnr(given.numpy(), made) > psnr(given.numpy(), 0 * made) + 3, "3 dB better than silence"
    report = json.loads((heard / "run" / "tokenizer" / "report.json").read_text())
    assert report["ssim"] is None and report["psnr"] > 0 and report["codebook"]["used"] > 4


def test_sound_is_drawn_by_class_and_prompted_by_its_beginning(heard):
    pipe = Pipeline.from_pretrained(heard / "run" / "pipeline")
    drawn = pipe(["low", "high"] * 4, seeds=range(8), temperature=0.5)
    power = np.abs(np.fft.rfft(drawn[:, 0, :200]))  # of bands 10 Hz wide
    assert (power[::2].argmax(1) * 10 == PITCHES["low"]).mean() > 0.5 and (power[1::2].argmax(1) * 10 == PITCHES["high"]).mean() > 0.5
    assert np.abs(pipe("high", seeds=5, temperature=0.5)[0] - drawn[5]).max() < 1e-4
    codes = pipe.encode(note(PITCHES["low"])[None])
    known = torch.zeros(1, 64, dtype=torch.bool)
    known[:, :32] = True
    *_, step = pipe.complete(codes, known, "low")
    assert torch.equal(step.codes.digits[:, :32], codes.digits[:, :32])
    data = pipe.compress([note(PITCHES["low"])[None]])
    assert np.array_equal(pipe.decompress(data)[0], pipe.decode(codes)[0])


def test_commands_take_sound(heard, capsys, monkeypatch):
    monkeypatch.chdir(heard)
    assert main(["sample", "run", "--count", "2", "--out", "drawn"]) == 0
    assert {path.name for path in (heard / "drawn").iterdir()} == {f"{c}-00{i}.wav" for c in PITCHES for i in (0, 1)} | {"sheet.png"}
    first = (heard / "drawn" / "low-000.wav").read_bytes()
    assert main(["sample", "run", "--count", "2", "--out", "drawn"]) == 0 and "4 of them were there" in capsys.readouterr().out
    assert main(["encode", "data/low", "--pipeline", "run", "--out", "c.safetensors"]) == 0
    assert main(["decode", "c.safetensors", "--pipeline", "run", "--out", "back"]) == 0
    assert len(list((heard / "back").glob("*.wav"))) == 8
    assert main(["reconstruct", "data/low", "--pipeline", "run", "--out", "again"]) == 0 and "SSIM" not in capsys.readouterr().out
    assert main(["compress", "data/low", "--pipeline", "run", "--out", "small"]) == 0 and "bits a sample" in capsys.readouterr().out
    assert main(["decompress", "small", "--pipeline", "run", "--out", "large"]) == 0
    assert (heard / "large" / "0.wav").read_bytes()[-1024:] == (heard / "back" / "0.wav").read_bytes()[-1024:]
    assert main(["info", "run/pipeline"]) == 0 and "0.256 s at 2,000 Hz" in capsys.readouterr().out
    assert main(["info", "run"]) == 0 and "dB on 16 images" in capsys.readouterr().out
    assert (heard / "drawn" / "low-000.wav").read_bytes() == first


def test_a_run_of_sound_is_described_where_no_recipe_is_asked(heard):
    """Its run.json names a folder of sounds, which every process knows."""
    program = f"from bitmosaic.cli import main; raise SystemExit(main(['info', {str(heard / 'run')!r}]))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0 and "16 images" in done.stdout, done.stderr


@pytest.mark.parametrize("name", ["sound", "clips"])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_steps_on_signals_are_planned_in_bf16(tmp_path, name, device):
    data = sounds(tmp_path / "d", 1) if name == "sound" else films(tmp_path / "d", 1) or tmp_path / "d"
    sizes = {"seconds": 512 / RATE, "rate": RATE} if name == "sound" else {"frames": 4, "size": 8}
    run = systems.recipes()[name](str(data), codewords=64, **sizes)
    run = run.changed(tokenizer_training=replaced(run.tokenizer_training, precision="bf16"))
    assert all(cost.memory(1, False, False) > 0 and cost.flop() > 0 for cost in costs(run, device))


@pytest.mark.parametrize("command", [
    "inpaint data/low/0.wav --box 0 0 1 1 --pipeline run", "outpaint data/low/0.wav --padding 1 --pipeline run", "evaluate run",
    "index data an-index --pipeline run", "probe run --data data", "bits data/low/0.wav --pipeline run", "studio run", "reveal run",
    "tokenize data codes --pipeline run", "edit data/low/0.wav --box 0 0 1 1 --class low --pipeline run",
    "enrich data/low/0.wav --class low --pipeline run", "interpolate run --classes low high", "demo --pipeline run",
])  # fmt: skip
def test_commands_for_pictures_refuse_sound_in_a_line(heard, command, capsys, monkeypatch):
    monkeypatch.chdir(heard)
    assert main(command.split()) == 2
    told = capsys.readouterr().err.strip()
    why = ("for pictures", "tokenize reads pictures", "not a picture", "holds no images")
    assert "\n" not in told and any(reason in told for reason in why), told


def test_clips_are_learned_given_back_and_drawn(tmp_path, capsys, monkeypatch):
    films(tmp_path / "data", 8)
    monkeypatch.chdir(tmp_path)
    run = systems.recipes()["clips"]("data", frames=4, size=8, channels=1, codewords=64)
    made = train(small(run, 200, 40), tmp_path / "run", lambda line: None)
    assert made.grid == (2, 2, 2) and made.size == (4, 8, 8)
    given = torch.stack([torch.from_numpy(film(i))[None].float() / 255 for i in range(6)])
    back = made.decode(made.encode(list(given)), "pt")
    assert psnr(given.numpy(), back.numpy()) > psnr(given.numpy(), given.mean(0, keepdim=True).numpy()) + 1
    assert [frame.size for frame in made(seeds=3)[0]] == [(8, 8)] * 4
    assert main(["sample", "run", "--count", "2", "--out", "drawn"]) == 0
    assert {path.name for path in (tmp_path / "drawn").iterdir()} >= {"sheet.png"} and len(list((tmp_path / "drawn").glob("*.gif"))) == 2
    assert main(["reconstruct", "data", "--pipeline", "run", "--out", "again"]) == 0 and "SSIM" in capsys.readouterr().out


def test_bytes_of_jpeg_files_are_learned_and_drawn_until_they_end(tmp_path, monkeypatch, capsys):
    sample = fashion_sample()
    for i in range(24):
        save(to_pil(sample.image(i)), tmp_path / "data" / f"{i}.png")
    monkeypatch.chdir(tmp_path)
    run = systems.recipes()["jpeg"]("data", size=32, channels=1, restart=0)
    assert run.tokenizer.length % 16 == 0 and run.prior.end == 256
    made = train(small(run, 0, 40), tmp_path / "run", lambda line: None)
    picture = sample.image(0)
    codes = made.encode(to_pil(picture), fit="crop")
    assert codes.grid == (run.tokenizer.length,) and made.image_size == (32, 32)
    drawn = made(seeds=range(3), temperature=0.5, output_type="pt")
    assert drawn.shape == (3, 1, 32, 32) and drawn.isfinite().all()
    data = made.compress(to_pil(picture), fit="crop")
    assert torch.equal(torch.from_numpy(np.array(made.decompress(data))), torch.from_numpy(np.array(made.decode(codes)[0])))
    assert main(["inpaint", "data/0.png", "--box", "0", "0", "8", "8", "--fit", "crop", "--pipeline", "run"]) == 2
    assert "its places are no squares of a picture" in capsys.readouterr().err


def test_a_tokenizer_that_learns_needs_its_stage(tmp_path):
    run = systems.recipes()["jpeg"]
    save(to_pil(fashion_sample().image(0)), tmp_path / "data" / "0.png")
    with pytest.raises(ValueError, match="a VQVAESpec has .* weights, which a TokenizerStage trains"):
        wrong = run(str(tmp_path / "data"), size=32, channels=1).stages[0]
        replaced(wrong, tokenizer=VQVAESpec()).check(None, type("Source", (), {"medium": Waves(), "size": (32,), "channels": 1}))


def test_the_spectral_loss_hears_pitch_and_not_phase():
    low, high = note(PITCHES["low"])[None, None], note(PITCHES["high"])[None, None]
    shifted = note(PITCHES["low"], phase=1.5)[None, None]
    assert spectral(low, low) == 0 and spectral(low, shifted) < 0.3 * spectral(low, high)
    made = low.clone().requires_grad_()
    spectral(high, made).backward()
    assert made.grad.isfinite().all() and made.grad.abs().max() > 0
    assert spectral(torch.zeros(1, 1, 40), torch.zeros(1, 1, 40)) == 0


@pytest.mark.parametrize("name, fields, told", [
    ("sound", {"seconds": 0.0}, "seconds: got 0"), ("sound", {"minutes": -1.0}, "minutes: got -1"), ("sound", {"rate": 0}, "rate: got 0"),
    ("clips", {"frames": 3}, "frames, size: got 3"), ("clips", {"size": 9}, "frames, size: got 8, 9"), ("jpeg", {"quality": 0}, "quality"),
])  # fmt: skip
def test_recipes_refuse_what_means_nothing(tmp_path, name, fields, told):
    sounds(tmp_path / "sounds", 1), films(tmp_path / "films", 1), save(to_pil(fashion_sample().image(0)), tmp_path / "pictures" / "0.png")
    data = {"sound": "sounds", "clips": "films", "jpeg": "pictures"}[name]
    with pytest.raises(ValueError, match=told):
        systems.recipes()[name](str(tmp_path / data), **fields)
