"""`bitmosaic decode`: packed codes back to images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated

import numpy as np
import tyro
from safetensors import SafetensorError, safe_open
from tqdm import tqdm

from bitmosaic.codes import Codes
from bitmosaic.commands.encode import BATCH, FORMAT
from bitmosaic.commands.files import SOFTWARE, written_into
from bitmosaic.commands.pipelines import DEFAULT, fingerprint, load
from bitmosaic.folders import parse_json
from bitmosaic.names import plain
from bitmosaic.pipelines import TwoStagePipeline


def decode(
    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")], *, pipeline: str = DEFAULT,
    out: Path = Path("decoded"), device: str = "cpu",
) -> list[Path]:  # fmt: skip
    """Decodes a file of 'bitmosaic encode' to images, as PNG files under their original names; sounds to WAV files, clips to GIF files.

    Args:
        file: a file that 'bitmosaic encode' wrote.
        pipeline: the one that encoded them; codes of another tokenizer are an error.
        out: folder to write into; pictures of the same name that bitmosaic wrote are replaced.
        device: where to compute, such as cpu or cuda.

    Returns:
        The files written.
    """
    packed = read_codes(file)
    pipe = load(pipeline, device, TwoStagePipeline)
    if packed.tokenizer != fingerprint(pipeline):
        raise ValueError(
            f"{file} holds codes of another tokenizer ({packed.tokenizer[:12]}) than that of pipeline {pipeline} "
            f"({fingerprint(pipeline)[:12]}); give --pipeline the one that encoded them, then called {packed.pipeline}"
        )
    names = [f"{name}{pipe.medium.ending}" for name in packed.names]
    with written_into(out, names) as folder:
        for start in tqdm(range(0, len(names), BATCH), desc="decoding", disable=None, dynamic_ncols=True, leave=False):
            for name, image in zip(
                names[start : start + BATCH], pipe.decode(packed.codes(start, start + BATCH), "pt"), strict=True
            ):
                pipe.medium.write(image, folder / name, Software=SOFTWARE, Source=f"codes in {Path(file).name}")
    print(plain(f"{len(names)} {pipe.medium.plural}: {out}"))
    return [Path(out) / name for name in names]


@dataclass(frozen=True)
class PackedCodes:
    """The contents of a file of codes."""

    packed: np.ndarray  # (images, bytes) uint8
    grid: tuple[int, ...]
    radix: tuple[int, ...]
    names: tuple[str, ...]  # of the images, without endings
    tokenizer: str  # fingerprint of the tokenizer
    pipeline: str  # name or folder of the pipeline that encoded them

    def codes(self, start: int, stop: int) -> Codes:
        """The codes of the images from `start` to `stop`. ValueError where the bytes do not fit the grid and radix."""
        return Codes.unpack(self.packed[start:stop], self.grid, self.radix).check()


def read_codes(path: Path) -> PackedCodes:
    """The codes in a file. ValueError where it is not a file of 'bitmosaic encode', with the reason."""
    if not path.is_file():
        raise ValueError(f"file: there is no file {path}; give one that 'bitmosaic encode' wrote")
    try:
        with safe_open(path, "np") as file:
            about = file.metadata() or {}
            packed = file.get_tensor("codes") if about.get("format") == FORMAT else None
        if packed is None:
            raise ValueError(f"its format is {about.get('format')!r}, not {FORMAT!r}")
        grid, radix, names = (tuple(parse_json(about[key])) for key in ("grid", "radix", "names"))
        found = PackedCodes(packed, grid, radix, names, about["tokenizer"], about["pipeline"])
        _check(found)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"file: {path} is no file of codes ({error}); give one that 'bitmosaic encode' wrote"
        ) from error
    return found


def _check(found: PackedCodes) -> None:
    """ValueError where shapes and names do not fit, or where a name would lead out of the output folder."""
    if (
        not all(isinstance(n, int) and 0 < n < 2**16 for n in found.grid + found.radix)
        or not found.grid
        or not found.radix
    ):
        raise ValueError(f"grid {found.grid} and radix {found.radix} are not whole numbers")
    if found.packed.ndim != 2 or not 0 < len(found.packed) == len(found.names) == len(set(found.names)):
        raise ValueError(f"{len(found.names)} names for codes of shape {found.packed.shape}")
    for name in found.names:
        parts = PurePosixPath(name).parts
        if not parts or ".." in parts or PurePosixPath(name).is_absolute() or "\0" in name or "\\" in name:
            raise ValueError(f"{name!r} cannot be the name of a picture")
    found.codes(0, 1)
