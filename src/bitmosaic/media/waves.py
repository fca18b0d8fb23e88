"""Sound: waves (channels, time) in [-1, 1] at one sampling rate, read and written by libsndfile (WAV, FLAC, Ogg, MP3).

Other sampling rates are resampled by scipy's polyphase filter; channels are mixed to the number wanted, or one is repeated.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from bitmosaic.disk import write_whole
from bitmosaic.media.base import Medium, UnreadableSignal, comment_of, middle, notes_of

INSTALL = "sound needs libsndfile: pip install 'bitmosaic[sound]'"
BLOCK, MOST = 2**20, 2**30  # frames that are read at once, and samples of a file at most: three hours of stereo at 48 kHz
FASTEST = 768_000  # samples a second
LONGEST = 1900  # bytes of a comment that libsndfile reads back
HEIGHT, COLUMNS = 64, 256  # of a preview: frequencies, and time steps at most


@dataclass(frozen=True)
class Waves(Medium):
    """Sound, mono or stereo."""

    plural: ClassVar[str] = "sounds"
    value: ClassVar[str] = "sample"
    axes: ClassVar[tuple[str, ...]] = ("time",)
    endings: ClassVar[tuple[str, ...]] = (".wav", ".flac", ".ogg", ".oga", ".mp3", ".aif", ".aiff")
    ending: ClassVar[str] = ".wav"
    low: ClassVar[float] = -1.0
    stored: ClassVar[torch.dtype] = torch.int16

    rate: int = 8000  # samples a second

    def __post_init__(self):
        if not 1 <= self.rate <= FASTEST:
            raise ValueError(f"rate: got {self.rate}; want samples a second, from 1 to {FASTEST:,}")

    def parts(self, file: str | Path, size: tuple[int, ...], channels: int) -> list[Tensor]:
        """As `Medium.parts`: consecutive windows. A shorter last one is padded with silence, or left out where more than half would be."""
        whole = self._read(file, channels)
        windows = list(whole.split(size[0], 1))
        if len(windows) > 1 and 2 * windows[-1].shape[1] < size[0]:
            windows.pop()
        windows[-1] = torch.nn.functional.pad(windows[-1], (0, size[0] - windows[-1].shape[1]))
        return [window.contiguous() for window in windows]

    def fitted(self, value: Any, size: tuple[int, ...], channels: int, fit: str = "exact", background: str = "white") -> Tensor:
        if isinstance(value, str | os.PathLike):
            wave, name = self._read(value, channels), f"{value} has"
        else:
            try:
                wave, name = value if isinstance(value, Tensor) else torch.from_numpy(np.array(value)), "got"
            except TypeError as error:
                raise ValueError(f"signal: got {type(value).__name__}; give a file, or numbers (time,) or (channels, time)") from error
            wave = wave[None] if wave.ndim == 1 else wave
            if wave.ndim != 2 or not wave.numel():
                raise ValueError(f"signal: got shape {tuple(wave.shape)}; give (time,) or (channels, time)")
            wave = _mixed(self.integers(wave), channels)
        if fit == "exact" and wave.shape[1] != size[0]:
            what = f"signal: {name} {wave.shape[1]:,} samples at {self.rate:,} Hz; this pipeline works on {size[0]:,}"
            raise ValueError(f"{what}. fit 'crop' takes the middle, or fills with silence")
        return middle(wave, size).contiguous()

    def _read(self, file: str | os.PathLike, channels: int) -> Tensor:
        try:
            import soundfile
        except ImportError as error:
            raise ValueError(INSTALL) from error
        if not os.path.isfile(file):
            raise UnreadableSignal(str(file), "there is no such file", gone=True)
        try:
            with soundfile.SoundFile(os.fspath(file)) as opened:
                samples, rate = _samples(opened, str(file)), opened.samplerate
        except (soundfile.SoundFileError, RuntimeError, TypeError, OSError) as error:
            raise UnreadableSignal(str(file), " ".join(str(error).split())[:200]) from error
        if not len(samples) or not np.isfinite(samples).all():
            raise UnreadableSignal(str(file), "it holds no samples" if not len(samples) else "not all of its samples are finite")
        if rate > FASTEST:
            raise UnreadableSignal(str(file), f"its sampling rate is {rate:,} Hz; the highest is {FASTEST:,}")
        if samples.size * self.rate > MOST * rate:
            raise UnreadableSignal(str(file), f"it would have more than {MOST:,} samples at {self.rate:,} Hz")
        if rate != self.rate:
            from scipy.signal import resample_poly

            common = math.gcd(rate, self.rate)
            samples = resample_poly(samples, self.rate // common, rate // common, axis=0).astype(np.float32)
        return _mixed(self.integers(torch.from_numpy(samples.T.copy())), channels)

    def floats(self, stored: Tensor) -> Tensor:
        return stored.float() / 32768  # the scale of libsndfile

    def floats_to_stored(self, signals: Tensor) -> Tensor:
        return (signals * 32768).round().clamp(max=32767).to(torch.int16)

    def to_output(self, signals: Tensor, output_type: str | None = None) -> Any:
        """Waves (n, C, T) as "np" (n, C, T) float32, or "pt"."""
        self.check_output(output_type)
        return signals.cpu() if output_type == "pt" else signals.cpu().float().numpy()

    def write(self, signal: Tensor, path: Path, **about: Any) -> None:
        """As `Medium.write`, in the format of the ending, 16 bits a sample where it has them; notes go into the comment of a WAV file."""
        try:
            import soundfile
        except ImportError as error:
            raise ValueError(INSTALL) from error
        path, data = Path(path), BytesIO()
        ending = path.suffix.lower().removeprefix(".")
        form = {"oga": "OGG", "aif": "AIFF"}.get(ending, ending.upper())
        if form not in soundfile.available_formats():
            raise ValueError(f"path: got {str(path)!r}; end it in {', '.join(self.endings)}")
        with soundfile.SoundFile(data, "w", self.rate, len(signal), format=form) as file:
            if form == "WAV" and about:
                file.comment = comment_of(self.kept({name: str(value) for name, value in about.items()}))
            file.write(self.integers(signal.detach().cpu()).T.numpy())
        write_whole(path, data.getvalue())

    def kept(self, about: dict[str, str]) -> dict[str, str]:
        """As `Medium.kept`: all, or the first letters of each value, since libsndfile does not read longer comments back."""
        for letters in (None, 200, 40, 10):
            cut = {name: value[:letters] for name, value in about.items()}
            if len(comment_of(cut).encode()) <= LONGEST:
                return cut
        return {}

    def notes(self, path: Path) -> dict[str, str]:
        try:
            import soundfile
        except ImportError as error:
            raise ValueError(INSTALL) from error
        try:
            with soundfile.SoundFile(path) as file:
                return notes_of(file.comment)
        except soundfile.SoundFileError as error:
            raise ValueError(f"{path}: {error}") from error

    def preview(self, signals: Tensor) -> Tensor:
        """Spectrograms, (n, 1, 64, columns), low frequencies at the bottom, from 80 dB below the loudest (black) to the loudest (white)."""
        waves = signals.float().mean(1)
        hop = max(1, -(-waves.shape[1] // COLUMNS))
        window = max(2 * HEIGHT, 2 * hop)
        spectrum = torch.stft(
            torch.nn.functional.pad(waves, (window // 2, window // 2)), window, hop, window=torch.hann_window(window, device=waves.device),
            center=False, return_complex=True,
        )  # fmt: skip
        power = torch.nn.functional.adaptive_avg_pool2d(spectrum.abs().square()[:, None, 1:], (HEIGHT, spectrum.shape[-1]))
        loudest = power.amax((1, 2, 3), keepdim=True).clamp(min=1e-9)
        return (1 + 10 * torch.log10((power / loudest).clamp(min=1e-8)) / 80).flip(2)

    def about(self, size: tuple[int, ...]) -> str:
        return f"{size[0] / self.rate:.3g} s at {self.rate:,} Hz"


def _samples(opened: Any, name: str) -> np.ndarray:
    """All samples of an open file, (T, C) float32, read in blocks: the length in a damaged header may be of any size."""
    blocks, count = [], 0
    while len(block := opened.read(BLOCK, dtype="float32", always_2d=True)):
        blocks.append(block)
        count += block.size
        if count > MOST:
            raise UnreadableSignal(name, f"it has more than {MOST:,} samples")
    return np.concatenate(blocks) if blocks else np.zeros((0, 1), np.float32)


def _mixed(wave: Tensor, channels: int) -> Tensor:
    """(C, T) int16 -> (channels, T): channels are averaged, and the average repeated, unless there are as many."""
    if len(wave) == channels:
        return wave
    mono = wave.float().mean(0, keepdim=True).round().to(torch.int16)
    return mono.expand(channels, -1).contiguous()
