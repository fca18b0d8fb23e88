"""Copies among the images of an index: recompressed, brighter, darker, shifted, cropped; none of those that are not."""

import json
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image
from test_search import CODES, FEATURES, built, photos, some_bits, some_floats

from bitmosaic.cli import main
from bitmosaic.images import fashion_sample
from bitmosaic.search import Pair, duplicates, groups, within
from bitmosaic.search.compare import coarse, differences, small, spectra, views
from bitmosaic.search.same import chains, copies, unique

__all__ = ["photos"]


def jpeg(picture, quality):
    held = BytesIO()
    Image.fromarray(picture).save(held, "JPEG", quality=quality)
    return np.asarray(Image.open(held))


def shifted(picture, down, right):
    return np.roll(np.pad(picture, 2), (down, right), (0, 1))[2:-2, 2:-2]


def cropped(picture, box):
    return np.asarray(Image.fromarray(picture).crop(box).resize(picture.shape[::-1], Image.BICUBIC))


KINDS = {
    "JPEG 60": lambda x: jpeg(x, 60), "JPEG 90": lambda x: jpeg(x, 90), "brighter": lambda x: np.clip(1.3 * x, 0, 255).astype(np.uint8),
    "darker": lambda x: (0.7 * x).astype(np.uint8), "right": lambda x: shifted(x, 0, 1), "up": lambda x: shifted(x, -1, 0),
    "down and left": lambda x: shifted(x, 1, -1), "cropped": lambda x: cropped(x, (2, 2, 26, 26)),
    "cropped at a side": lambda x: cropped(x, (0, 2, 26, 28)), "JPEG of a crop": lambda x: jpeg(cropped(x, (1, 1, 27, 27)), 75),
}  # fmt: skip


def planted(count, each, seed=0):
    """Test images, uint8 (n, 1, 28, 28), with copies of some at the end, and the pairs {(original, copy): kind}."""
    rng, pixels = np.random.default_rng(seed), fashion_sample().pixels.numpy()[:, 0]
    some = pixels[rng.choice(len(pixels), count, replace=False)]
    sources, rows, truth = rng.permutation(count)[: each * len(KINDS)], [*some], {}
    for i, kind in zip(sources.tolist(), list(KINDS) * each, strict=True):
        truth[i, len(rows)] = kind
        rows.append(KINDS[kind](some[i]))
    return torch.from_numpy(np.stack(rows))[:, None], truth


def test_planted_copies_are_found_and_no_others():
    found = right = wanted = 0
    for seed in range(2):
        pictures, truth = planted(250, 3, seed)
        pairs, difference, limit = copies(pictures)
        found, right, wanted = found + len(pairs), right + sum(pair in truth for pair in map(tuple, pairs.tolist())), wanted + len(truth)
        assert (difference <= limit).all() and (pairs[:, 0] < pairs[:, 1]).all()
    assert right / wanted > 0.97 and right / found > 0.95


def test_copies_of_one_picture_are_all_paired():
    pictures, _ = planted(150, 0)
    of = pictures[7, 0].numpy()
    pictures = torch.cat([pictures, torch.from_numpy(np.stack([make(of) for make in KINDS.values()]))[:, None]])
    pairs = {tuple(pair) for pair in copies(pictures)[0].tolist()}
    assert {(7, 150 + i) for i in range(len(KINDS))} <= pairs
    among = [(150 + i, 150 + j) for i in range(len(KINDS)) for j in range(i + 1, len(KINDS))]
    assert sum(pair in pairs for pair in among) / len(among) > 0.8


def test_few_pictures_and_odd_ones():
    of = fashion_sample().pixels[:2]
    assert len(copies(of[:1])[0]) == 0 and len(copies(of)[0]) == 0
    near = torch.cat([of, torch.from_numpy(jpeg(of[0, 0].numpy(), 60).copy())[None, None]])
    assert copies(near)[0].tolist() == [[0, 2]]
    flat = torch.stack([torch.full((1, 28, 28), value, dtype=torch.uint8) for value in (0, 40, 255)])
    assert len(copies(torch.cat([of, flat]))[0]) == 0  # pictures that show nothing are no copies of one another
    colours = torch.randint(0, 256, (6, 3, 40, 90), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert small(colours).shape == (6, 3, 32, 32) and small(of[:, :, :3, :5]).shape == (2, 1, 8, 8)
    colours[5] = colours[2]
    assert copies(small(colours))[0].tolist() == [[2, 5]]


def test_pieces_of_a_comparison():
    pictures, _ = planted(20, 0)
    base, (seen, ways) = coarse(pictures), views(pictures)
    middle = [i for i, way in enumerate(ways.tolist()) if way == [1, 1, 0, 0]]
    assert torch.allclose(seen[:, middle[0]], base, atol=1e-5) and torch.allclose(seen.norm(dim=-1), torch.ones(seen.shape[:2]), atol=1e-4)
    assert np.allclose(np.linalg.norm(spectra(pictures), axis=1), 1, atol=1e-5)
    everyone, same = np.arange(20), torch.tensor([[1.0, 1, 0, 0]]).expand(20, 4)
    assert differences(pictures, everyone, everyone, same).max() < 1e-3
    assert differences(pictures, everyone, np.roll(everyone, 1), same).min() > 0.02
    assert sorted(map(sorted, chains(np.array([[1, 2], [2, 5], [7, 8]])))) == [[1, 2, 5], [7, 8]]
    assert unique(np.array([[3, 1], [1, 3], [2, 2], [-1, 4]])).tolist() == [[1, 3]]


@pytest.mark.parametrize("spec", [CODES, FEATURES])
def test_by_distance_alone(tmp_path, spec):
    x = some_bits(200) if spec.binary else some_floats(200)
    x[10], x[20], x[150] = x[5], x[5], x[151]
    if spec.binary:
        x[20, 0] ^= 1
    found = built(tmp_path / "i", "flat", x, spec, chunk=90)
    pairs = within(found, 2 if spec.binary else 0.01)
    assert sorted(sorted(int(name.split()[1]) for name in pair.names) for pair in pairs) == [[5, 10], [5, 20], [10, 20], [150, 151]]
    assert all(pair.difference is None for pair in pairs) and [pair.distance for pair in pairs][:2] == pytest.approx([0, 0], abs=1e-5)
    assert [len(group) for group in groups(pairs)] in ([2, 3], [3, 2])
    found.remove(["image 151"])
    assert len(within(found, 2 if spec.binary else 0.01)) == 3


def test_many_of_the_same(tmp_path):
    x = np.repeat(some_bits(1), 60, axis=0)
    found = built(tmp_path / "i", "flat", np.concatenate([x, some_bits(60, seed=1)]))
    assert len(within(found, 0)) == 60 * 59 // 2 and [len(group) for group in groups(within(found, 0))] == [60]


def test_groups_are_not_chained_through():
    def pair(a, b, distance=1.0):
        return Pair((a, b), (str(a), str(b)), distance)

    found = groups([pair(1, 2), pair(2, 3), pair(3, 4, 0.5), pair(7, 8, 0.1)])  # a chain of four, and a pair
    assert [[hit.id for hit in group] for group in found] == [[7, 8], [2, 1, 3]]  # 4 is near 3 alone, whose group is around 2
    assert [hit.distance for hit in found[1]] == [0, 1, 1]


def test_pictures_that_cannot_be_read_are_judged_by_vectors(tmp_path):
    x = some_bits(300, 64)
    x[50], x[200] = x[40], x[199]
    x[200, :4] ^= 255
    found = built(tmp_path / "i", "flat", x)
    pairs = duplicates(found, np.empty(0, np.int64), torch.empty(0, 1, 28, 28, dtype=torch.uint8))
    assert [(pair.ids, pair.distance, pair.difference) for pair in pairs] == [((40, 50), 0, None), ((199, 200), 32, None)]


@pytest.mark.parametrize("by", ["codes", "features"])
def test_the_command(tmp_path, capsys, by):
    pictures, truth = planted(120, 1)
    (tmp_path / "p").mkdir()
    for i, picture in enumerate(pictures):
        Image.fromarray(picture[0].numpy()).save(tmp_path / "p" / f"{i}.png")
    (tmp_path / "p" / "7-again.png").write_bytes((tmp_path / "p" / "7.png").read_bytes())
    out = tmp_path / "index"
    assert main(["index", str(tmp_path / "p"), str(out), "--by", by]) == 0
    assert main(["duplicates", str(out), "--out", str(tmp_path / "d")]) == 0
    told, found = capsys.readouterr().out, json.loads((tmp_path / "d" / "duplicates.json").read_text())
    wanted = {frozenset((f"{a}.png", f"{b}.png")) for a, b in truth} | {frozenset(("7.png", "7-again.png"))}
    wanted |= {frozenset(("7-again.png", f"{b}.png")) for a, b in truth if a == 7}
    pairs = {frozenset(pair["images"]): pair for pair in found["pairs"]}
    assert len(pairs.keys() & wanted) >= len(wanted) - 1 and len(pairs.keys() - wanted) <= 1
    assert all(pair["distance"] >= 0 and 0 <= pair["difference"] <= pair["limit"] for pair in pairs.values())
    assert pairs[frozenset(("7.png", "7-again.png"))]["distance"] == pairs[frozenset(("7.png", "7-again.png"))]["difference"] == 0
    assert max(len(group) for group in found["groups"]) <= 4 and found["compared"] == found["images"] == 131
    assert "of 131 images" in told and (tmp_path / "d" / "duplicates.png").exists()
    for i in range(131):  # most are gone: the vectors still find the very same
        if i < 125 and i != 7:
            (tmp_path / "p" / f"{i}.png").unlink(missing_ok=True)
    assert main(["duplicates", str(out), "--out", str(tmp_path / "d")]) == 0
    told, found = capsys.readouterr(), json.loads((tmp_path / "d" / "duplicates.json").read_text())
    assert "cannot be read" in told.err and found["compared"] < 10
    assert ["7.png", "7-again.png"] in [sorted(pair["images"], reverse=True) for pair in found["pairs"]]
    assert main(["duplicates", str(out), "--within", "-1"]) == 2 and "within: got -1" in capsys.readouterr().err
