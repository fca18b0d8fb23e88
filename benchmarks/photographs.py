"""Crops of photographs, as folders to train on and to test on.

    apt-get install lomiri-wallpapers-16.04 mate-backgrounds        # 25 photographs of nature, things and places, in /usr/share/backgrounds
    python benchmarks/photographs.py photographs                    # photographs/train/NAME/*.png and photographs/test/*.png
    bitmosaic train folder --data photographs/train --minutes 15 --out runs/photographs
    bitmosaic evaluate runs/photographs/pipeline --against photographs/train --train-features --seed 1 \\
        --net photographs/features.safetensors
    python benchmarks/codec.py --part rate --name photographs --pipeline runs/photographs/pipeline --data photographs/test \\
        --net photographs/features.safetensors --images 150

Training crops are taken at random places, from a sixteenth to a third of a photograph's height; each photograph is a class. Test
crops are all of the two photographs that scikit-learn brings, side by side, as they are and at half their size: no photograph is in both.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 64
GRAPHICS = ("analogpattern", "umang")  # drawings among the photographs of the first package
BACKGROUNDS = Path("/usr/share/backgrounds")


def photographs(root: Path) -> list[Path]:
    """The photographs of both packages."""
    found = sorted(root.glob("*_by_*.jpg")) + sorted((root / "mate" / "nature").glob("*.jpg"))
    return [path for path in found if not path.name.startswith(GRAPHICS)]


def random_crops(path: Path, count: int, rng: np.random.Generator) -> list[Image.Image]:
    """Squares of random places and sizes, brought to SIDE pixels."""
    picture = Image.open(path)
    picture.draft("RGB", (1024, 1024))  # decoded at a half or a quarter where that is enough
    picture = picture.convert("RGB")
    crops = []
    for share in 2.0 ** rng.uniform(-4, -1.5, count):
        side = min(max(SIDE, round(share * picture.height)), *picture.size)
        left, top = (int(rng.integers(0, room - side + 1)) for room in picture.size)
        crops.append(picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS, (left, top, left + side, top + side)))
    return crops


def tiles(picture: Image.Image) -> list[Image.Image]:
    """All whole squares of SIDE pixels, side by side."""
    corners = [(x, y) for y in range(0, picture.height - SIDE + 1, SIDE) for x in range(0, picture.width - SIDE + 1, SIDE)]
    return [picture.crop((x, y, x + SIDE, y + SIDE)) for x, y in corners]


def main() -> None:
    """Reads the arguments, does what they say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--backgrounds", type=Path, default=BACKGROUNDS)
    parser.add_argument("--crops", type=int, default=240, help="of each photograph")
    given = parser.parse_args()
    from sklearn.datasets import load_sample_images  # pip install 'bitmosaic[eval]'

    found, rng = photographs(given.backgrounds), np.random.default_rng(0)
    if not found:
        parser.error(f"no photographs in {given.backgrounds}; apt-get install lomiri-wallpapers-16.04 mate-backgrounds")
    for path in found:
        folder = given.out / "train" / path.stem
        folder.mkdir(parents=True, exist_ok=True)
        for i, crop in enumerate(random_crops(path, given.crops, rng)):
            crop.save(folder / f"{i:03}.png")
    (given.out / "test").mkdir(parents=True, exist_ok=True)
    count = 0
    for pixels in load_sample_images().images:
        whole = Image.fromarray(pixels)
        for picture in (whole, whole.reduce(2)):
            for tile in tiles(picture):
                tile.save(given.out / "test" / f"{count:03}.png")
                count += 1
    print(f"{len(found)} photographs, {len(found) * given.crops} crops to train on, {count} to test on")


if __name__ == "__main__":
    main()
