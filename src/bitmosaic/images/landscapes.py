"""Landscapes: crops of 149 public-domain photographs of 720 x 360, in ten kinds, from the game Endless Sky (Debian's endless-sky-data).

The package has 273; those that its copyright file gives to the public domain are taken, without rooms, rockets and planets, and their kinds
are by eye, since a file's name often says less. Photographs are split, never their crops.
"""

import functools
import hashlib
import os
from importlib import resources
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .base import ArrayImages, ImageSet
from .fashion import DATA_VARIABLE
from .read import Size, as_size

LANDSCAPES_FOLDER = Path("/usr/share/games/endless-sky/images/land")  # where Debian's endless-sky-data puts them
LANDSCAPE_KINDS = {  # kind -> names of photographs
    "canyon": "badlands3 badlands4 badlands6 badlands7 badlands8 canyon0 canyon1 canyon2 canyon5 canyon8 canyon9 desert4 lava3 valley1",
    "city": "city0 city1 city2 city3 city4 city5 city6 city7 city8 city9 city10 city11 city12",
    "desert": "badlands0 badlands1 badlands2 badlands5 canyon01 canyon02 canyon03 canyon04 canyon05 desert0 desert1 desert2 desert7 "
              "dune1 dune2 dune3 dune4 dune5 hills0 hills1 lava0",
    "field": "desert5 dune0 fields0 fields1 fields3 fields4 fields5 fields7 fields8 fields9 fog2 valley2 valley3 valley5 water1",
    "forest": "fog1 fog4 forest0 forest1 forest2 forest3 forest4 forest5 valley8",
    "lake": "fog6 mountain1 sea0 sea9 sky4 water0 water2 water3 water4 water5 water6 water7 water8 water9",
    "mountain": "canyon3 canyon4 canyon6 canyon7 fog0 fog5 fog7 mountain0 mountain2 mountain4 mountain5 mountain6 mountain9 sea6 sky6 sky8 "
                "valley0 valley9 lava2 valley4 valley6",
    "sea": "beach0 beach1 beach2 beach3 beach4 beach5 beach6 fog3 sea1 sea2 sea3 sea4 sea5 sea7 sea8",
    "sky": "desert6 fields2 fields6 hills3 sky0 sky1 sky2 sky3 sky5 sky7 sky9 valley7",
    "snow": "hills2 mountain3 mountain7 mountain8 snow0 snow1 snow2 snow3 snow4 snow5 snow6 snow7 snow8 snow9 snow10",
}  # fmt: skip
CROPS, TEST_CROPS = 128, 12  # of each photograph, for training; of each test photograph, in the package
CACHE = 2**30  # bytes of crops that stay in memory, so that later epochs are fast
SMALLEST, STRETCH = 0.65, 0.1  # the least side of a crop over a photograph's height; how far its width over its height is from 1 at most


class Landscapes(ImageSet):
    """Crops of the photographs of one split, each a function of its number alone.

    folder: where the photographs lie, there or in its sub-folder landscapes. Without it they are looked for in the folder that the variable
    BITMOSAIC_DATA names, in the same two places, and then where Debian's package puts them. split: "train" or "test", which holds every
    eighth photograph of each kind. size: of a crop, a side or (height, width). crops: of each photograph; image i is of photograph
    i mod their number. A crop takes 65 to 100 % of a photograph's height, anywhere, and is scaled down.
    ValueError if the photographs are not found or are damaged.
    """

    channels = 3

    def __init__(self, folder: str | os.PathLike | None = None, split: str = "train", size: Size = 64, crops: int = CROPS):
        if split not in ("train", "test"):
            raise ValueError(f"split: got {split!r}; give 'train' or 'test'")
        if crops < 1:
            raise ValueError(f"crops: got {crops}; give a number of at least 1")
        self.size, self.split, self.crops, self.unreadable = as_size(size), split, crops, {}
        self.class_names = tuple(LANDSCAPE_KINDS)
        place, names = _found(folder), _names(split)
        self.files = [place / f"{name}.jpg" for _, name in names]
        self.labels = torch.tensor([kind for kind, _ in names]).repeat(crops)
        self._kept: dict[int, Tensor] = {}
        self._room = CACHE // (self.channels * self.size[0] * self.size[1])

    def __len__(self) -> int:
        return len(self.files) * self.crops

    def image(self, index: int) -> Tensor:
        if index not in self._kept:
            photograph = _photograph(self.files[index % len(self.files)])
            pixels = photograph.resize(self.size[::-1], Image.Resampling.BICUBIC, self.box(index, *photograph.size))
            crop = torch.from_numpy(np.array(pixels)).movedim(-1, 0)
            if len(self._kept) >= self._room:
                return crop
            self._kept[index] = crop
        return self._kept[index]

    def box(self, index: int, width: int, height: int) -> tuple[float, float, float, float]:
        """What crop `index` takes of a photograph of so many pixels: left, top, right, bottom."""
        digest = hashlib.sha256(f"landscapes {index}".encode()).digest()
        draws = np.frombuffer(digest, dtype=">u4")[:4] / 2**32  # uniform in [0, 1): side, stretch, left, top
        side = SMALLEST + (1 - SMALLEST) * draws[0]
        high = side * height
        wide = min(width, high * self.size[1] / self.size[0] * (1 + STRETCH * (2 * draws[1] - 1)))
        left, top = draws[2] * (width - wide), draws[3] * (height - high)
        return left, top, left + wide, top + high

    def fingerprint(self) -> str:
        digest = hashlib.sha256(repr((self.split, self.size, self.crops, [file.name for file in self.files], LANDSCAPE_KINDS)).encode())
        for file in self.files:
            digest.update(hashlib.sha256(file.read_bytes()).digest())
        return digest.hexdigest()


def landscapes_sample() -> ArrayImages:
    """252 crops of the test photographs, 64 x 64, with their kinds: `Landscapes(split="test", crops=12)`, which ships with the package."""
    pixels = _bundled()
    labels = torch.tensor([kind for kind, _ in _names("test")]).repeat(TEST_CROPS)
    return ArrayImages(pixels.clone(), labels, tuple(LANDSCAPE_KINDS))


@functools.cache
def _bundled() -> Tensor:
    """Unpacked once for each process: a sheet with a photograph a column and its crops below each other."""
    data = (resources.files("bitmosaic.images") / "landscapes_test" / "crops.webp").read_bytes()
    sheet = torch.from_numpy(np.array(Image.open(BytesIO(data))))
    return sheet.unflatten(0, (TEST_CROPS, -1)).unflatten(2, (len(_names("test")), -1)).permute(0, 2, 4, 1, 3).flatten(0, 1)


def _names(split: str) -> list[tuple[int, str]]:
    """Number of the kind and name of each photograph of a split."""
    named = [(kind, i, name) for kind, of in enumerate(LANDSCAPE_KINDS.values()) for i, name in enumerate(of.split())]
    return [(kind, name) for kind, i, name in named if (i % 8 == 3) == (split == "test")]


@functools.lru_cache(maxsize=256)
def _photograph(file: Path) -> Image.Image:
    try:
        return Image.open(file).convert("RGB")
    except OSError as error:
        raise ValueError(f"folder: cannot read {file} ({error}); install endless-sky-data again") from error


def _found(folder: str | os.PathLike | None) -> Path:
    """Where the photographs lie, or ValueError."""
    root = os.environ.get(DATA_VARIABLE) if folder is None else folder
    places = [] if not root else [Path(root).expanduser(), Path(root).expanduser() / "landscapes"]
    places += [LANDSCAPES_FOLDER] if folder is None else []
    wanted = [f"{name}.jpg" for of in LANDSCAPE_KINDS.values() for name in of.split()]
    for place in places:
        if (place / wanted[0]).is_file():
            if absent := [name for name in wanted if not (place / name).is_file()]:
                raise ValueError(f"folder: {place} lacks {len(absent)} of {len(wanted)} photographs, such as {absent[0]}")
            return place
    raise ValueError(
        f"folder: no landscapes in {', '.join(map(str, places))}; install them with 'apt-get install endless-sky-data', or put its "
        f"folder images/land somewhere and name it here or in ${DATA_VARIABLE}"
    )
