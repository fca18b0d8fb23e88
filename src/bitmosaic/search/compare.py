"""The difference of two pictures after alignment: shift, scale or crop, and brightness (Lucas and Kanade, 1981, by Gauss-Newton steps).

All of it works on small pictures, so it costs the same for a thumbnail and for a photograph.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

LEAST, SIDE = 8, 32  # pixels of a small picture along a side
ZOOMS = (1.08, 1.17, 1.27)  # by how much a crop was enlarged; what lies between is found from the next of these
SHIFTS = 2  # small pixels that alignment begins from, to each side
FREQUENCIES = 8  # of the spectrum, in each direction
STEPS = 4  # of alignment
SPREAD = 0.05, 0.05, 0.01, 0.01, 1e-4, 1e-4  # regularisation of scales, shifts, gain and offset, for pictures that do not determine them
FLAT = 1e-5  # variance below which a picture counts as flat
PAIRS = 1000  # aligned at once


def small(pixels: Tensor) -> Tensor:
    """uint8 (n, C, H, W) as uint8 (n, C, h, w) with sides from LEAST to SIDE."""
    height, width = (max(LEAST, min(SIDE, side)) for side in pixels.shape[-2:])
    if (height, width) == tuple(pixels.shape[-2:]):
        return pixels
    return F.interpolate(pixels.float(), (height, width), mode="area").round().to(torch.uint8)


def spectra(pictures: Tensor, zoom: float = 1.0) -> np.ndarray:
    """Magnitudes of low frequencies, float32 (n, D) of unit length, which shifts and brightness hardly change.

    pictures: uint8 (n, C, h, w). zoom: the middle is enlarged by so much first.
    """
    grey = _grey(pictures)
    if zoom != 1:
        grey = _warped(grey, torch.tensor([1 / zoom, 1 / zoom, 0, 0]).expand(len(grey), 4))[0]
    fade = [torch.hann_window(side, periodic=False).sqrt() for side in grey.shape[-2:]]  # borders are none of the picture's edges
    found = torch.fft.rfft2((grey - grey.mean((1, 2), keepdim=True)) * fade[0][:, None] * fade[1]).abs()
    low = torch.cat([found[:, :FREQUENCIES, :FREQUENCIES], found[:, 1 - FREQUENCIES :, :FREQUENCIES]], 1).flatten(1)
    return (low / low.sum(1, keepdim=True).clamp_min(1e-9)).sqrt().numpy()


def views(pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Every picture as it looks shifted and cropped in ways that alignment begins from: float (n, ways, D), and the ways (ways, 4)."""
    grey, ways = _grey(pictures), _ways(*pictures.shape[-2:])
    return torch.stack([_coarse(grey, way) for way in ways], 1), ways


def coarse(pictures: Tensor) -> Tensor:
    """What `views` are compared with: float (n, D) of unit length, without brightness and contrast."""
    return _coarse(_grey(pictures), torch.tensor([1.0, 1, 0, 0]))


def differences(
    pictures: Tensor, views_of: np.ndarray, on: np.ndarray, ways: Tensor, on_pairs: Callable[[int, int], object] = lambda done, of: None
) -> np.ndarray:
    """How much pictures differ after alignment, float (pairs,): 0 the same, about 1 unrelated.

    It is the geometric mean of 1 - correlation of the pictures and of 1 - correlation of their fine detail, where they overlap.
    pictures: uint8 (n, C, h, w). views_of, on: (pairs,) numbers of those that are warped, and of those that they are laid on.
    ways: (pairs, 4) where alignment begins. on_pairs: called with the number of pairs done, and their total.
    """
    found = [np.empty(0, np.float32)]
    for start in range(0, len(on), PAIRS):
        part = slice(start, start + PAIRS)
        below, above = pictures[on[part]], pictures[views_of[part]]
        way = _aligned(_grey(above), _grey(below), ways[part])
        found.append(_differ(below.float() / 255, above.float() / 255, way).numpy())
        on_pairs(min(start + PAIRS, len(on)), len(on))
    return np.concatenate(found)


def _differ(below: Tensor, above: Tensor, way: Tensor) -> Tensor:
    count, channels = below.shape[:2]
    way, a, b = way.repeat_interleave(channels, 0), below.flatten(0, 1), above.flatten(0, 1)
    soft_a, soft_b = _blurred(a, 0.5), _blurred(b, 0.5)
    (warped, inside), (fine, _) = _warped(soft_b, way), _warped(soft_b - _blurred(b, 1.5), way)
    whole, flat = _unlike(soft_a, warped, inside, count)
    detail, smooth = _unlike(soft_a - _blurred(a, 1.5), fine, inside, count)
    detail = torch.where(smooth == 2, whole, torch.where(smooth == 1, 1.0, detail))
    return torch.where(flat > 0, 1.0, (whole * detail).sqrt())  # of flat pictures only identical ones are copies


def _unlike(a: Tensor, b: Tensor, inside: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """1 - correlation of (count x channels, h, w) where they overlap, each channel about its own mean; and how many of the two are flat."""
    inside = inside.float()
    a, b = ((x - ((x * inside).sum((1, 2)) / inside.sum((1, 2)).clamp_min(1))[:, None, None]) * inside for x in (a, b))
    a, b = a.reshape(count, -1), b.reshape(count, -1)
    power = (a * a).mean(1), (b * b).mean(1)
    alike = (a * b).mean(1) / (power[0] * power[1]).sqrt().clamp_min(1e-12)
    return (1 - alike).clamp(0, 2), (power[0] < FLAT).int() + (power[1] < FLAT).int()


def _aligned(above: Tensor, below: Tensor, way: Tensor) -> Tensor:
    """Ways (n, 4) that lay grey (n, h, w) `above` on `below`, by Gauss-Newton steps on scales, shifts, gain and offset."""
    a, b = _blurred(below, 0.7), _blurred(above, 0.7)
    n, h, w = a.shape
    y, x = _places(h, w)
    held, rest = torch.diag(torch.tensor(SPREAD)), torch.tensor([0, 0, 0, 0, SPREAD[4], 0])
    for _ in range(STEPS):
        warped, inside = _warped(b, way)
        dy, dx = torch.gradient(warped, dim=(1, 2))
        dx, dy = dx * (w - 1) / 2 / way[:, 0, None, None], dy * (h - 1) / 2 / way[:, 1, None, None]
        slopes = torch.stack([dx * x, dy * y, dx, dy, warped, torch.ones_like(warped)], -1) * inside[..., None]
        slopes, wanted = slopes.reshape(n, -1, 6), (a * inside).reshape(n, -1, 1)
        step = torch.linalg.solve(slopes.mT @ slopes + held, (slopes.mT @ wanted)[..., 0] + rest)
        way = way + (step[:, :4] / step[:, 4:5].clamp(0.3, 3)).clamp(-0.05, 0.05)
        way = torch.cat([way[:, :2].clamp(0.65, 1.25), way[:, 2:].clamp(-0.35, 0.35)], 1)
    return way


def _ways(height: int, width: int) -> Tensor:
    """Where alignment begins: x' = scale x + shift, with x and y from -1 to 1; as scale x, scale y, shift x, shift y."""
    steps = range(-SHIFTS, SHIFTS + 1)
    found = [(1, 1, dx * 2 / (width - 1), dy * 2 / (height - 1)) for dy in steps for dx in steps]
    for zoom in ZOOMS:  # the crop in the middle, at each side and in each corner
        found += [(1 / zoom, 1 / zoom, i * (1 - 1 / zoom), j * (1 - 1 / zoom)) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    return torch.tensor(found)


def _warped(x: Tensor, way: Tensor) -> tuple[Tensor, Tensor]:
    """Grey (n, h, w) seen along ways (n, 4), and where that lies inside."""
    v, u = _places(*x.shape[1:])
    u, v = u * way[:, 0, None, None] + way[:, 2, None, None], v * way[:, 1, None, None] + way[:, 3, None, None]
    seen = F.grid_sample(x[:, None], torch.stack([u, v], -1), mode="bicubic", padding_mode="border", align_corners=True)[:, 0]
    return seen, (u.abs() < 1.001) & (v.abs() < 1.001)


def _places(height: int, width: int) -> tuple[Tensor, Tensor]:
    return torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")


def _blurred(x: Tensor, sigma: float) -> Tensor:
    """Of (n, h, w); borders go on as they are."""
    return _blur(x.shape[1], sigma) @ x @ _blur(x.shape[2], sigma).T


def _blur(side: int, sigma: float) -> Tensor:
    """(side, side): a Gaussian blur along one side, as a matrix; what would come from beyond a border comes from the border."""
    reach = max(1, round(3 * sigma))
    kernel = torch.exp(-(torch.arange(-reach, reach + 1.0) ** 2) / (2 * sigma**2))
    from_ = (torch.arange(side)[:, None] + torch.arange(-reach, reach + 1)).clamp(0, side - 1)
    return torch.zeros(side, side).scatter_add_(1, from_, (kernel / kernel.sum()).expand(side, -1))


def _coarse(grey: Tensor, way: Tensor) -> Tensor:
    """Seen along one way, at half the resolution, about its mean and of unit length: (n, D)."""
    rows, columns = (_halved(side, *way[axis::2].tolist()) @ _blur(side, 1.0) for side, axis in zip(grey.shape[1:], (1, 0), strict=True))
    found = (rows @ grey @ columns.T).flatten(1)
    found = found - found.mean(1, keepdim=True)
    return found / found.norm(dim=1, keepdim=True).clamp_min(1e-6)


def _halved(side: int, scale: float, shift: float) -> Tensor:
    """(side / 2, side): samples one side at x' = scale x + shift, with x from -1 to 1, linearly, and takes the mean of every two."""
    at = ((torch.linspace(-1, 1, side) * scale + shift + 1) * (side - 1) / 2).clamp(0, side - 1)
    low = at.floor().long().clamp(max=side - 2)
    samples = torch.zeros(side, side).scatter_(1, torch.stack([low, low + 1], 1), torch.stack([low + 1 - at, at - low], 1))
    return samples[: side // 2 * 2].unflatten(0, (-1, 2)).mean(1)


def _grey(pictures: Tensor) -> Tensor:
    return pictures.float().mean(1) / 255
