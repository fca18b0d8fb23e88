"""Sounds and films that tests make: notes of a few pitches, a square that moves."""

import math

import numpy as np
import soundfile
import torch
from PIL import Image

RATE = 2000
PITCHES = {"low": 110.0, "high": 440.0}


def note(pitch, samples=512, rate=RATE, phase=0.0):
    """A note that fades, (samples,) float32 in [-1, 1]."""
    t = torch.arange(samples) / rate
    return 0.8 * torch.sin(2 * math.pi * pitch * t + phase) * (-2 * t * rate / samples).exp()


def sounds(folder, each=6, samples=512):
    """WAV files of two classes, by pitch."""
    for name, pitch in PITCHES.items():
        (folder / name).mkdir(parents=True)
        for i in range(each):
            soundfile.write(folder / name / f"{i}.wav", note(pitch, samples, phase=float(i)).numpy(), RATE)
    return folder


def film(at, frames=4, side=8, step=1):
    """A white square of 3 x 3 pixels that moves to the right, (frames, side, side) uint8."""
    pixels = np.zeros((frames, side, side), np.uint8)
    for i in range(frames):
        left = (at + step * i) % (side - 2)
        pixels[i, at % (side - 2) : at % (side - 2) + 3, left : left + 3] = 255
    return pixels


def films(folder, count=6, frames=4, side=8):
    """GIF files."""
    folder.mkdir(parents=True)
    for i in range(count):
        pictures = [Image.fromarray(frame) for frame in film(i, frames, side)]
        pictures[0].save(folder / f"{i}.gif", save_all=True, append_images=pictures[1:], duration=100, loop=0)
    return folder
