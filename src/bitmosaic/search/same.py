"""Copies among pictures: candidates by their spectra, compared after alignment, judged against the usual difference around them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from bitmosaic.search.compare import ZOOMS, coarse, differences, spectra, views
from bitmosaic.search.structures import library

NEIGHBOURS, ZOOMED = 20, 5  # candidates of each picture as it is, and of each enlarged middle
LISTED = 20_000  # pictures from which on candidates are looked for in lists
ALIGNED = 8  # of the candidates of each picture, those that are aligned: the likeliest at a first look
USUAL = (12, 14, 16, 18)  # and these by rank, which tell what is usual around it even where it has ten copies
CLOSER = 0.12  # a copy differs by so much of what is usual around both pictures
MOST = 0.04  # and by no more than this
FLOOR = 0.05  # share of pictures around which less is usual than is believed
SURELY = 0.02  # usual difference at least
CHAIN = 100  # pictures of a chain of copies of which every pair is compared
BLOCK = 250  # pictures whose views are held at once
ROWS = 2000  # pairs that are scored at once

Pairs = np.ndarray  # (p, 2) int64: numbers of pictures, the lower first


def copies(pictures: Tensor, on_pairs: Callable[[int, int], object] = lambda done, of: None) -> tuple[Pairs, np.ndarray, np.ndarray]:
    """Pairs of pictures that are copies, how much they differ, and up to which difference they would be.

    pictures: uint8 (n, C, h, w), as `compare.small` makes them. on_pairs: told how many pairs were aligned, and of how many.
    """
    if len(pictures) < 2:
        return np.empty((0, 2), np.int64), np.empty(0), np.empty(0)
    pairs = candidates(pictures)
    scores, above, ways = first_look(pictures, pairs)
    ranks = ranked(pairs, -scores)
    keep = ((ranks < ALIGNED) | np.isin(ranks, USUAL)).any(1)
    pairs, above, ways, ranks = pairs[keep], above[keep], ways[keep], ranks[keep]
    found = differences(pictures, above, pairs.sum(1) - above, ways, on_pairs)
    level = usual(pairs, found, ranks, len(pictures))
    near = found <= limits(pairs, level)
    more = unique(_within_chains(pairs[near]))
    more = more[~np.isin(_keys(more, len(pictures)), _keys(pairs, len(pictures)))]
    _, above, ways = first_look(pictures, more)
    found = np.concatenate([found[near], differences(pictures, above, more.sum(1) - above, ways)])
    pairs = np.concatenate([pairs[near], more])
    near = found <= limits(pairs, level)
    return pairs[near], found[near], limits(pairs, level)[near]


def limits(pairs: Pairs, level: np.ndarray) -> np.ndarray:
    """Up to which difference pairs are copies. level (n,): what is usual around each picture."""
    return np.minimum(CLOSER * np.sqrt(level[pairs[:, 0]] * level[pairs[:, 1]]), MOST)


def candidates(pictures: Tensor) -> Pairs:
    """Pairs of pictures that may be copies: those of the nearest spectra, of the whole and of enlarged middles."""
    faiss, base = library(), np.concatenate([spectra(part) for part in pictures.split(ROWS)])
    index = faiss.IndexFlatL2(base.shape[1])
    if len(base) > LISTED:
        lists = round(4 * len(base) ** 0.5)
        index = faiss.IndexIVFFlat(index, base.shape[1], lists)
        index.train(base[:: max(1, len(base) // (64 * lists))])
        index.nprobe = 16
    index.add(base)
    found = []
    for zoom, count in ((1.0, NEIGHBOURS), *((zoom, ZOOMED) for zoom in ZOOMS)):
        for start in range(0, len(base), ROWS):
            asked = base[start : start + ROWS] if zoom == 1 else spectra(pictures[start : start + ROWS], zoom)
            near = index.search(asked, min(count + 1, len(base)))[1]
            found.append(np.stack([np.repeat(np.arange(start, start + len(near)), near.shape[1]), near.reshape(-1)], 1))
    return unique(np.concatenate(found))


def unique(pairs: np.ndarray) -> Pairs:
    """Each pair once, without those of one number and those with a number below 0."""
    pairs = np.sort(np.asarray(pairs, np.int64).reshape(-1, 2), axis=1)
    return np.unique(pairs[(pairs[:, 0] != pairs[:, 1]) & (pairs[:, 0] >= 0)], axis=0)


def first_look(pictures: Tensor, pairs: Pairs) -> tuple[np.ndarray, np.ndarray, Tensor]:
    """How alike pairs are at best, coarsely, which of the two is then laid on the other, and the ways (p, 4) that it is warped."""
    base = torch.cat([coarse(part) for part in pictures.split(ROWS)])
    scores, which, ways = np.full((len(pairs), 2), -2, np.float32), np.zeros((len(pairs), 2), np.int64), torch.empty(1, 4)
    sides = [np.argsort(pairs[:, side], kind="stable") for side in (0, 1)]
    for first in range(0, len(pictures), BLOCK):
        seen, ways = views(pictures[first : first + BLOCK])
        for side, order in enumerate(sides):
            begin, end = np.searchsorted(pairs[order, side], (first, first + BLOCK))
            for start in range(begin, end, ROWS):
                rows = order[start : min(start + ROWS, end)]
                best = torch.einsum("pwd,pd->pw", seen[pairs[rows, side] - first], base[pairs[rows, 1 - side]]).max(1)
                scores[rows, side], which[rows, side] = best.values.numpy(), best.indices.numpy()
    side, rows = scores.argmax(1), np.arange(len(pairs))
    return scores[rows, side], pairs[rows, side], ways[which[rows, side]]


def ranked(pairs: Pairs, distances: np.ndarray) -> np.ndarray:
    """(p, 2): how many of each number's pairs are nearer."""
    numbers = pairs.T.reshape(-1)
    order = np.lexsort((np.tile(distances, 2), numbers))
    ranks = np.empty(len(order), np.int64)
    ranks[order] = np.arange(len(order)) - np.searchsorted(numbers[order], numbers[order])
    return ranks.reshape(2, -1).T


def usual(pairs: Pairs, found: np.ndarray, ranks: np.ndarray, count: int) -> np.ndarray:
    """What is usual around each picture (count,): the median difference to those that are near, but not of the nearest."""
    numbers, twice = pairs.T.reshape(-1), np.tile(found, 2)
    far = ranks.T.reshape(-1) >= USUAL[0]
    order = np.lexsort((twice[far], numbers[far]))
    numbers, twice = numbers[far][order], twice[far][order]
    begin, end = (np.searchsorted(numbers, np.arange(count), side) for side in ("left", "right"))
    some, level = end > begin, np.full(count, np.nan)
    level[some] = twice[(begin + end)[some] // 2]
    if not some.any():  # too few pictures to tell
        return np.full(count, max(SURELY, float(np.median(found)) if len(found) else 0))
    level[~some] = np.median(level[some])
    return np.maximum(level, max(SURELY, float(np.quantile(level[some], FLOOR))))


def chains(pairs: Pairs) -> list[list[int]]:
    """Numbers that hang together, directly or not."""
    leader: dict[int, int] = {}

    def first(i: int) -> int:
        leader.setdefault(i, i)
        while leader[i] != i:
            leader[i] = leader[leader[i]]
            i = leader[i]
        return i

    for a, b in pairs.tolist():
        a, b = first(a), first(b)
        leader[max(a, b)] = min(a, b)
    found: dict[int, list[int]] = {}
    for i in sorted(leader):
        found.setdefault(first(i), []).append(i)
    return list(found.values())


def _within_chains(pairs: Pairs) -> np.ndarray:
    """All pairs of the images of each chain that is not too long."""
    found = [np.array(chain)[np.stack(np.triu_indices(len(chain), 1), 1)] for chain in chains(pairs) if 2 < len(chain) <= CHAIN]
    return np.concatenate(found) if found else np.empty((0, 2), np.int64)


def _keys(pairs: Pairs, count: int) -> np.ndarray:
    return pairs[:, 0] * count + pairs[:, 1]
