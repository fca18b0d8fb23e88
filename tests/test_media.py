"""Media: files of sound and film in and out, folders of them, what a preview shows; bytes of JPEG files."""

import io

import numpy as np
import pytest
import soundfile
import torch
from media import PITCHES, RATE, film, films, note, sounds
from PIL import Image

from bitmosaic.codes import Codes, lengths
from bitmosaic.images import ImagesGone, fashion_sample
from bitmosaic.media import PICTURES, Clips, Waves
from bitmosaic.media.base import UnreadableSignal
from bitmosaic.media.folder import SignalFolder, SignalFolderSpec
from bitmosaic.spec import Spec
from bitmosaic.tokenizers.jpeg_bytes import END, JPEGBytesSpec, first_fault

WAVES = Waves(RATE)

# ---- sound


def test_a_sound_is_what_was_written(tmp_path):
    wave = note(200.0)[None]
    WAVES.write(wave, tmp_path / "a.wav", Software="bitmosaic 1", Class="high  pitch\n")
    assert WAVES.notes(tmp_path / "a.wav") == {"Software": "bitmosaic 1", "Class": "high  pitch\n"}
    read = WAVES.fitted(tmp_path / "a.wav", (512,), 1)
    assert read.dtype == torch.int16 and torch.equal(read, WAVES.integers(wave))
    assert (WAVES.floats(read) - wave).abs().max() < 1 / 32000
    assert torch.equal(WAVES.integers(WAVES.floats(read)), read)


@pytest.mark.parametrize("ending", [".wav", ".flac", ".ogg", ".aiff"])
def test_formats_of_sound(tmp_path, ending):
    WAVES.write(note(200.0, 2048)[None], tmp_path / f"a{ending}")
    (read,) = WAVES.parts(tmp_path / f"a{ending}", (2048,), 1)
    assert (WAVES.floats(read) - note(200.0, 2048)).abs().mean() < 0.02  # Ogg is lossy


def test_another_rate_is_resampled_and_channels_are_mixed(tmp_path):
    fast = note(100.0, 2048, rate=4 * RATE)  # the same note at four times the rate
    soundfile.write(tmp_path / "a.wav", torch.stack([fast, torch.zeros(2048)], 1).numpy(), 4 * RATE)
    read = WAVES.floats(WAVES.fitted(tmp_path / "a.wav", (512,), 1))
    t = torch.arange(512) / RATE
    wanted = 0.4 * torch.sin(2 * torch.pi * 100.0 * t) * (-2 * t * RATE / 512).exp()
    assert (read[0] - wanted)[20:-20].abs().max() < 0.02
    both = WAVES.fitted(tmp_path / "a.wav", (512,), 2)
    assert both.shape == (2, 512) and both[0].abs().max() > 1000 > both[1].abs().max()


def test_a_long_sound_is_cut_and_the_rest_filled_or_left(tmp_path):
    soundfile.write(tmp_path / "a.wav", note(100.0, 1000).numpy(), RATE)
    assert [part.shape for part in WAVES.parts(tmp_path / "a.wav", (300,), 1)] == [(1, 300)] * 3, "100 left over are less than half"
    parts = WAVES.parts(tmp_path / "a.wav", (400,), 1)
    assert len(parts) == 3 and not parts[2][0, 200:].any()
    (short,) = WAVES.parts(tmp_path / "a.wav", (5000,), 1)
    assert not short[0, 1000:].any() and short[0, :1000].any()


def test_sound_that_does_not_fit_is_refused_or_cropped(tmp_path):
    with pytest.raises(ValueError, match="signal: got 512 samples at 2,000 Hz; this pipeline works on 500. fit 'crop'"):
        WAVES.fitted(note(100.0), (500,), 1)
    assert torch.equal(WAVES.fitted(note(100.0), (500,), 1, "crop")[0], WAVES.integers(note(100.0))[6:506])
    assert WAVES.fitted(note(100.0), (600,), 1, "crop")[0, :44].eq(0).all()
    with pytest.raises(ValueError, match="give .time,. or .channels, time."):
        WAVES.fitted(torch.zeros(1, 2, 3), (3,), 1)
    (tmp_path / "a.wav").write_bytes(b"no sound")
    with pytest.raises(UnreadableSignal, match="signal: cannot read .*a.wav: "):
        WAVES.fitted(tmp_path / "a.wav", (500,), 1)
    with pytest.raises(UnreadableSignal, match="there is no such file"):
        WAVES.fitted(tmp_path / "b.wav", (500,), 1)
    with pytest.raises(ValueError, match="end it in .wav"):
        WAVES.write(note(100.0)[None], tmp_path / "a.xyz")


def test_headers_that_would_take_memory_are_refused(tmp_path):
    """A damaged length is not believed, nor a rate at which a short sound would last for hours."""
    WAVES.write(note(100.0)[None], tmp_path / "a.wav")
    data = bytearray((tmp_path / "a.wav").read_bytes())
    for rate, told in ((0x7FFFFFFF, "its sampling rate is 2,147,483,647 Hz"), (1, "")):
        data[24:28] = rate.to_bytes(4, "little")
        (tmp_path / "b.wav").write_bytes(data)
        if told:
            with pytest.raises(UnreadableSignal, match=told):
                WAVES.parts(tmp_path / "b.wav", (512,), 1)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("bitmosaic.media.waves.MOST", 10**6)
        with pytest.raises(UnreadableSignal, match="more than 1,000,000 samples at 2,000 Hz"):
            WAVES.parts(tmp_path / "b.wav", (512,), 1)
        soundfile.write(tmp_path / "c.flac", np.zeros(1_500_000, np.float32), RATE)
        with pytest.raises(UnreadableSignal, match="it has more than 1,000,000 samples"):
            WAVES.parts(tmp_path / "c.flac", (512,), 1)


def test_a_spectrogram_shows_the_pitch():
    shown = WAVES.preview(torch.stack([note(pitch, 2048)[None] for pitch in (250.0, 750.0)]))
    assert shown.shape[:3] == (2, 1, 64) and 0 <= shown.min() and shown.max() == pytest.approx(1)
    rows = shown[:, 0].mean(-1).argmax(-1)  # from above: 1,000 Hz to 0
    assert rows.tolist() == pytest.approx([48, 16], abs=2)


def test_what_is_told_of_a_sound_is_cut_where_a_file_keeps_no_more(tmp_path):
    about = {"Software": "bitmosaic 1", "Prompt": "é" * 100_000}
    WAVES.write(note(200.0)[None], tmp_path / "a.wav", **about)
    assert WAVES.notes(tmp_path / "a.wav") == WAVES.kept(about) == {"Software": "bitmosaic 1", "Prompt": "é" * 200}
    whole = {"Settings": "s" * 1500, "Class": "drum"}
    WAVES.write(note(200.0)[None], tmp_path / "a.wav", **whole)
    assert WAVES.notes(tmp_path / "a.wav") == WAVES.kept(whole) == whole


# ---- clips


def test_a_clip_is_what_was_written(tmp_path):
    clip = torch.from_numpy(film(1))[None].float() / 255
    Clips().write(clip, tmp_path / "a.gif", Software="bitmosaic 1")
    assert Clips().notes(tmp_path / "a.gif") == {"Software": "bitmosaic 1"}
    assert torch.equal(Clips().fitted(tmp_path / "a.gif", (4, 8, 8), 1), (clip * 255).to(torch.uint8))
    frames = [Image.fromarray(frame) for frame in film(1)]
    assert Clips().several([frames, frames]) and not Clips().several(frames)
    assert torch.equal(Clips().fitted(frames, (4, 8, 8), 1), (clip * 255).to(torch.uint8))
    assert Clips().preview(clip[None]).shape == (1, 1, 8, 32)
    assert [picture.size for picture in Clips().to_output(clip[None])[0]] == [(8, 8)] * 4
    assert Clips().to_output(clip[None], "np").shape == (1, 4, 8, 8, 1)


def test_a_long_film_is_cut_and_a_short_one_holds_its_last_frame(tmp_path):
    films(tmp_path / "a", 1, frames=5)
    whole = torch.from_numpy(film(0, 5))[None]
    assert torch.equal(torch.stack(Clips().parts(tmp_path / "a" / "0.gif", (2, 8, 8), 1)), torch.stack([whole[:, :2], whole[:, 2:4]]))
    (long,) = Clips().parts(tmp_path / "a" / "0.gif", (7, 8, 8), 1)
    assert torch.equal(long[:, 4:], whole[:, 4:].expand(-1, 3, -1, -1))
    with pytest.raises(ValueError, match="0.gif has 5 frames; this pipeline works on 4. fit 'crop' takes the middle"):
        Clips().fitted(tmp_path / "a" / "0.gif", (4, 8, 8), 1)
    assert torch.equal(Clips().fitted(tmp_path / "a" / "0.gif", (3, 8, 8), 1, "crop"), whole[:, 1:4])


def test_a_film_of_too_many_pixels_is_refused(tmp_path, monkeypatch):
    films(tmp_path / "a", 1, frames=5)
    monkeypatch.setattr("bitmosaic.media.clips.MOST", 300)
    with pytest.raises(UnreadableSignal, match="its frames have more than 300 pixels in all"):
        Clips().parts(tmp_path / "a" / "0.gif", (2, 8, 8), 1)


def test_a_clip_that_stands_still_keeps_its_frames(tmp_path):
    """Pillow writes equal frames once, with their time."""
    for rate in (7, 10, 24, 30, 100):
        for steps in ([0, 0, 0, 0], [0, 1, 1, 1], [1, 1, 0, 0], [0, 1, 1, 0]):
            clip = torch.tensor(steps).float()[None, :, None, None].expand(1, 4, 8, 8)
            Clips(rate).write(clip, tmp_path / "a.gif", Software="bitmosaic 1")
            assert torch.equal(Clips(rate).fitted(tmp_path / "a.gif", (4, 8, 8), 1), Clips().integers(clip)), (rate, steps)
            assert Clips(rate).notes(tmp_path / "a.gif") == {"Software": "bitmosaic 1"}


@pytest.mark.parametrize("value", [[], None, 3, torch.zeros(8), torch.zeros(4, 8, 8), torch.zeros(1, 0, 8, 8)])
def test_values_that_are_no_clip(value):
    for fit in ("exact", "crop"):
        with pytest.raises(ValueError, match="^signal: got "):
            Clips().fitted(value, (4, 8, 8), 1, fit)


@pytest.mark.parametrize("value", [[], None, torch.zeros(0), torch.zeros(0, 8), np.array(["a"]), np.array([None])])
def test_values_that_are_no_sound(value):
    for fit in ("exact", "crop"):
        with pytest.raises(ValueError, match="^signal"):
            WAVES.fitted(value, (8,), 1, fit)


def test_arrays_of_any_memory_are_taken():
    wave = note(100.0).numpy()
    for same in (wave[::-1][::-1], np.frombuffer(wave.tobytes(), np.float32), wave.tolist()):
        assert torch.equal(WAVES.fitted(same, (512,), 1), WAVES.fitted(note(100.0), (512,), 1))


# ---- folders


def test_a_folder_of_sounds_has_classes_and_names_what_cannot_be_read(tmp_path):
    sounds(tmp_path / "s", each=2, samples=1024)
    (tmp_path / "s" / "low" / "bad.wav").write_bytes(b"RIFF")
    (tmp_path / "s" / "low" / "notes.txt").write_text("no sound")
    found = SignalFolderSpec(str(tmp_path / "s"), WAVES, (512,), 1).build()
    assert len(found) == 8 and found.class_names == ("high", "low") and found.labels.tolist() == [0] * 4 + [1] * 4
    assert [path for path in found.unreadable if path.endswith("bad.wav")] and "txt files" in " ".join(found.told())
    pixels, readable = found.read(torch.arange(8))
    assert pixels.dtype == torch.int16 and pixels.shape == (8, 1, 512) and readable.all()
    assert found.summary() == "8 sounds of 0.256 s at 2,000 Hz in 5 files, 2 classes"
    kept = SignalFolder(tmp_path / "s", WAVES, (512,), 1, cache_bytes=0)
    assert torch.equal(kept.read(torch.arange(8))[0], pixels) and kept.fingerprint() == found.fingerprint()
    assert kept.fingerprint() != SignalFolder(tmp_path / "s", WAVES, (256,), 1).fingerprint()
    (tmp_path / "s" / "high" / "0.wav").unlink()
    with pytest.raises(ImagesGone):
        kept.check_there()
    with pytest.raises(ImagesGone):
        kept.image(0)


def test_folders_that_hold_nothing(tmp_path):
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(ValueError, match=r"path: .* holds none of these files \(1 .txt files?\); put in files such as .wav, .flac"):
        SignalFolder(tmp_path, WAVES, (512,), 1)
    (tmp_path / "a.wav").write_bytes(b"")
    with pytest.raises(ValueError, match="has no file that can be read among 1, the first is .*a.wav"):
        SignalFolder(tmp_path, WAVES, (512,), 1)


def test_media_describe_themselves():
    for medium in (PICTURES, Waves(44_100), Clips(25)):
        assert Spec.from_json(medium.to_json()) == medium
        with pytest.raises(ValueError, match="output_type: got 'gif'; want "):
            medium.check_output("gif")
        with pytest.raises(ValueError, match="size: got "):
            medium.check_size((1,) * 4)
        with pytest.raises(ValueError, match="NaN"):
            medium.integers(torch.tensor([float("nan")]))
    with pytest.raises(ValueError, match="rate: got 0"):
        Waves(0)
    assert set(PITCHES) == {"low", "high"}


# ---- bytes of JPEG files


@pytest.mark.parametrize("channels, quality, restart", [(1, 25, 1), (1, 90, 0), (3, 50, 2)])
def test_jpeg_bytes_give_back_what_jpeg_does(channels, quality, restart):
    images = torch.stack([fashion_sample().image(i) for i in range(8)]).expand(-1, channels, -1, -1).float() / 255
    tokenizer = JPEGBytesSpec((28, 28), channels, 1500, quality, restart).build()
    codes = tokenizer.encode(images).check()
    made, counts = tokenizer.decode(codes), lengths(codes, END)
    assert codes.grid == (1500,) and all((row[count:] == END).all() for row, count in zip(codes.digits[..., 0], counts, strict=True))
    for image, back, count in zip(images, made, counts, strict=True):
        data = io.BytesIO()
        pixels = (image * 255).byte().movedim(0, -1).numpy()
        picture = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
        sampling = "4:2:0" if channels == 3 else -1
        picture.save(data, "JPEG", quality=quality, subsampling=sampling, restart_marker_blocks=restart)
        assert count == len(data.getvalue()) - len(tokenizer.header) - 2
        wanted = torch.from_numpy(np.array(Image.open(data))).view(28, 28, channels).movedim(-1, 0)
        assert torch.equal((back * 255).round().byte(), wanted)


def test_a_wrong_byte_spoils_its_block_alone():
    """Blocks are 8 x 8 pixels, and each begins anew behind a restart marker."""
    tokenizer = JPEGBytesSpec((32, 32), 1, 600, 75).build()
    picture = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0)) * 0.2 + 0.4
    codes = tokenizer.encode(picture)
    digits = codes.digits.clone()
    at = next(i for i in range(100, 500) if all(digits[0, i + j, 0] not in (0, 255) for j in (-1, 0, 1)))
    digits[0, at, 0] = digits[0, at, 0] % 254 + 1
    blocks = (tokenizer.decode(Codes(digits, codes.radix)) - tokenizer.decode(codes)).abs()[0, 0].unfold(0, 8, 8).unfold(1, 8, 8)
    assert int((blocks.amax((-1, -2)) > 0).sum()) == 1


def test_pictures_of_too_many_bytes_have_no_end_and_keep_what_fits():
    tokenizer = JPEGBytesSpec((28, 28), 1, 60).build()
    codes = tokenizer.encode(torch.stack([fashion_sample().image(i) for i in range(4)]).float() / 255)
    assert lengths(codes, END) == [60] * 4 and tokenizer.decode(codes).isfinite().all()
    assert (tokenizer.decode(Codes(torch.full((2, 60, 1), END), codes.radix)) == 0.5).all(), "a picture of no byte is grey"
    assert first_fault(b"\x12\xff\x00\xff\xd3\x01") == 6 and first_fault(b"\x12\xff\xc0\x00") == 1 and first_fault(b"\x12\xff") == 1


@pytest.mark.parametrize(
    "wrong", [{"quality": 0}, {"quality": 96}, {"channels": 2}, {"restart": -1}, {"length": 0}, {"image_size": (0, 4)}]
)  # fmt: skip
def test_jpeg_settings_that_mean_nothing(wrong):
    with pytest.raises(ValueError):
        JPEGBytesSpec(**wrong)
