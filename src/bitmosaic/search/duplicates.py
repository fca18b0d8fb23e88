"""Near duplicates among the images of an index: pairs with their distances, and groups around one image each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from bitmosaic.search.index import Hit, Index
from bitmosaic.search.same import FLOOR, copies, unique
from bitmosaic.search.vector_store import CHUNK

NEIGHBOURS = 20  # of an image whose picture cannot be read
USUAL = slice(11, 18)  # ranks of neighbours whose median distance is the usual one around an image
CLOSER = 0.4  # distance of copies over the usual one around both: bits that differ, or length of the difference of features
FEW = 10  # identical pictures that are all paired
MOST = 0.1  # and at most this share of the bits, or this length
MANY = 200  # copies of an image that are looked for by distance alone, at most


@dataclass(frozen=True)
class Pair:
    """Two images that are copies. distance: of their vectors, as of a `Hit`. difference: of their pictures after alignment, 0 to 2, and
    limit: up to which they are copies; None where these were not compared.
    """

    ids: tuple[int, int]
    names: tuple[str, str]
    distance: float
    difference: float | None = None
    limit: float | None = None


def duplicates(
    found: Index, ids: np.ndarray, pictures: Tensor, on_pairs: Callable[[int, int], object] = lambda done, of: None
) -> list[Pair]:
    """Pairs of images that are copies. Of more than FEW identical images, only the first FEW are paired with all others.

    ids (n,), pictures (n, C, h, w) uint8, as `compare.small` makes them: of the images whose pictures can be read. Others are judged by
    their vectors, relative to the usual distance to neighbours. on_pairs: called with the number of pairs compared, and their total.
    """
    same = identical([picture.tobytes() for picture in pictures.numpy()])
    kept = [numbers[0] for numbers in same]
    near, difference, limit = copies(pictures[kept], on_pairs)
    told = [((i, j), 0.0, 0.0) for numbers in same for at, i in enumerate(numbers[:FEW]) for j in numbers[at + 1 :]]
    for (a, b), *rest in zip(near.tolist(), difference.tolist(), limit.tolist(), strict=True):
        told += [((i, j), *rest) for i in same[a][:FEW] for j in same[b][:FEW]]
    pairs = ids[np.array([pair for pair, _, _ in told], np.int64).reshape(-1, 2)]
    differences, limits = [apart for _, apart, _ in told], [most for _, _, most in told]
    others = np.array(sorted(set(found.present().values()) - set(ids.tolist())), np.int64)
    blind = _by_vectors(found, others)
    return _told(found, np.concatenate([np.sort(pairs, axis=1), blind]), differences + [None] * len(blind), limits + [None] * len(blind))


def within(found: Index, distance: float) -> list[Pair]:
    """Pairs of images whose vectors are at most `distance` apart; of each image at most MANY."""
    pairs = [np.empty((0, 2), np.int64)]
    for ids, vectors in _alive(found):
        asked, rows = 10, np.arange(len(ids))
        while len(rows):
            hits = found.search(vectors[rows], min(asked, MANY) + 1)
            pairs += [_pairs(ids[row], [hit for hit in near if hit.distance <= distance]) for row, near in zip(rows, hits, strict=True)]
            full = [len(near) > asked and near[-1].distance <= distance for near in hits]
            rows, asked = rows[full] if asked < MANY else rows[:0], 4 * asked
    found_pairs = unique(np.concatenate(pairs))
    return _told(found, found_pairs, [None] * len(found_pairs), [None] * len(found_pairs))


def groups(pairs: Sequence[Pair]) -> list[list[Hit]]:
    """Groups of images, each around its first image, which has a pair with every other one in the group; the closest groups first.

    Each image is in at most one group; distances are those to the first.
    """
    near: dict[int, dict[int, Hit]] = {}
    names: dict[int, str] = {}
    for pair in pairs:
        names |= zip(pair.ids, pair.names, strict=True)
        for one, other in (pair.ids, pair.ids[::-1]):
            near.setdefault(one, {})[other] = Hit(other, names[other], pair.distance)
    found, taken = [], set()
    for i in sorted(near, key=lambda i: (-len(near[i]), i)):
        around = [hit for j, hit in sorted(near[i].items()) if j not in taken]
        if i not in taken and around:
            taken |= {i, *(hit.id for hit in around)}
            found.append([Hit(i, names[i], 0.0), *sorted(around, key=lambda hit: hit.distance)])
    return sorted(found, key=lambda group: group[1].distance)


def identical(contents: Sequence[bytes]) -> list[list[int]]:
    """Numbers by content, in the order in which contents come first."""
    held: dict[bytes, list[int]] = {}
    for i, content in enumerate(contents):
        held.setdefault(content, []).append(i)
    return list(held.values())


def _by_vectors(found: Index, ids: np.ndarray) -> np.ndarray:
    """Pairs of which one at least is among `ids`, much closer than what is usual around both."""
    if not len(ids):
        return np.empty((0, 2), np.int64)
    near = {int(i): [hit for hit in hits if hit.id != i] for i, hits in _neighbours(found, ids)}
    others = {hit.id for hits in near.values() for hit in hits[:NEIGHBOURS]} - near.keys()
    near |= {int(i): [hit for hit in hits if hit.id != i] for i, hits in _neighbours(found, np.array(sorted(others), np.int64))}
    level = {i: float(np.median(_lengths(found, hits[USUAL] or hits[-1:]))) for i, hits in near.items() if hits}
    floor = float(np.quantile(list(level.values()), FLOOR)) if level else 0.0
    level = {i: max(floor, usual) for i, usual in level.items()}
    pairs, most = [np.empty((0, 2), np.int64)], MOST * (8 * found.vectors(ids[:1]).shape[1] if found.spec.binary else 1)
    for i in ids.tolist():
        lengths = _lengths(found, near[i])
        limits = np.minimum(CLOSER * np.sqrt([level[i] * level[hit.id] for hit in near[i]]), most)
        close = [hit for hit, length, limit in zip(near[i], lengths, limits, strict=True) if length <= limit]
        pairs.append(_pairs(i, close))
    return unique(np.concatenate(pairs))


def _neighbours(found: Index, ids: np.ndarray) -> Iterable[tuple[int, list[Hit]]]:
    for start in range(0, len(ids), CHUNK):
        part = ids[start : start + CHUNK]
        yield from zip(part.tolist(), found.search(found.vectors(part), NEIGHBOURS + 1), strict=True)


def _lengths(found: Index, hits: Sequence[Hit]) -> np.ndarray:
    distances = np.array([hit.distance for hit in hits])
    return distances if found.spec.binary else np.sqrt(np.maximum(distances, 0))


def _alive(found: Index) -> Iterable[tuple[np.ndarray, np.ndarray]]:
    """Ids and vectors of the images that can be found, a chunk at a time."""
    ids = np.array(sorted(found.present().values()), np.int64)
    for number in np.unique(ids // CHUNK):
        part = ids[ids // CHUNK == number]
        yield part, found.vectors(part)


def _pairs(i: int, hits: Sequence[Hit]) -> np.ndarray:
    return np.array([(i, hit.id) for hit in hits], np.int64).reshape(-1, 2)


def _told(found: Index, pairs: np.ndarray, differences: Sequence[float | None], limits: Sequence[float | None]) -> list[Pair]:
    """Pairs with their names and the distances of their vectors, the closest first."""
    if not len(pairs):
        return []
    names, ids = found.names(), np.unique(pairs)
    vectors = found.vectors(ids)
    a, b = (vectors[np.searchsorted(ids, pairs[:, side])] for side in (0, 1))
    apart = np.unpackbits(a ^ b, axis=1).sum(1) if found.spec.binary else ((a - b) ** 2).sum(1)
    made = [
        Pair((i, j), (names[i], names[j]), float(d), difference, limit)
        for (i, j), d, difference, limit in zip(pairs.tolist(), apart, differences, limits, strict=True)
    ]
    return sorted(made, key=lambda pair: (pair.difference is None, pair.difference or 0.0, pair.distance))
