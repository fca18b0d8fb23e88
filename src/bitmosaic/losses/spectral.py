"""The multi-resolution spectral loss of sound (Jukebox, Dhariwal et al., arXiv 2005.00341, section 3; Yamamoto et al., 1910.11480).

We differ in the mean absolute difference of magnitudes, linear and logarithmic, and in leaving out windows longer than the wave.
"""

from __future__ import annotations

import torch
from torch import Tensor

WINDOWS = (2048, 1024, 512, 256, 128)  # samples; those longer than a wave are left out
QUIET = 1e-3  # added before the logarithm: smaller magnitudes count as silence


def spectral(waves: Tensor, reconstructed: Tensor) -> Tensor:
    """Mean over windows of the difference of short-time spectra, a scalar; waves and reconstructed (b, c, t)."""
    a, b = waves.float().flatten(0, 1), reconstructed.float().flatten(0, 1)
    windows = [window for window in WINDOWS if window <= a.shape[-1]] or [a.shape[-1]]
    total = a.new_zeros(())
    for window in windows:
        u, v = magnitudes(a, window), magnitudes(b, window)
        total = total + (u - v).abs().mean() + ((u + QUIET).log() - (v + QUIET).log()).abs().mean()
    return total / len(windows)


def magnitudes(waves: Tensor, window: int) -> Tensor:
    """|STFT| of waves (b, t), (b, window / 2 + 1, frames), with a Hann window and a hop of window / 4, divided by the window's sum."""
    shape = torch.hann_window(window).to(waves)
    spectrum = torch.stft(waves, window, max(1, window // 4), window=shape, center=False, return_complex=True)
    power = spectrum.real.square() + spectrum.imag.square()
    return (power + 1e-12).sqrt() / shape.sum().clamp(min=1)
