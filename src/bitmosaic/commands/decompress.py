"""`bitmosaic decompress`: files of 'bitmosaic compress' back to images."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import torch
import tyro
from torch import Tensor
from tqdm import tqdm

from bitmosaic.codes import Codes, digit_dtype
from bitmosaic.commands.arguments import Flag
from bitmosaic.commands.compress import ENDING, Folder, names_below, some
from bitmosaic.commands.files import SOFTWARE, check_free, written_into
from bitmosaic.commands.pipelines import DEFAULT, load
from bitmosaic.names import plain
from bitmosaic.pipelines import TwoStagePipeline
from bitmosaic.pipelines.compression import AT_ONCE, decompressed, opened

Compressed = Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="FILE ...", help_behavior_hint="")]


def decompress(
    files: Compressed = (), *, restore: Flag = False, unconfirmed: Flag = False, pipeline: str = DEFAULT,
    out: Folder = Path("decompressed"), seed: int = 0,
) -> list[Path]:  # fmt: skip
    """Decompresses files of 'bitmosaic compress' to images as PNG files: x.png.bmc to x.png, x.jpg.bmc to x.jpg.png; sounds to WAV files,
    clips to GIF files.

    Files that cannot be read are named at the end, and the exit status is 2; the others are written nevertheless.

    Args:
        files: files that 'bitmosaic compress' wrote, and folders of them at any depth.
        restore: fill in with the model what is missing where a file is truncated or has damaged packets.
        unconfirmed: with --restore, accept also files of which no checksum confirms any part: the model draws the whole image.
        pipeline: the one that compressed them; files of another tokenizer or prior are errors.
        out: folder to write into; pictures of the same name that bitmosaic wrote are replaced.
        seed: of the places that are filled in.

    Returns:
        The files written.
    """
    if unconfirmed and not restore:
        raise ValueError("unconfirmed: given without --restore; give both, or neither")
    paths = list({os.path.abspath(file): file for path in files for file in _below(Path(path).expanduser())}.values())
    if not paths:
        raise ValueError("files: none are named; give files that 'bitmosaic compress' wrote, or folders of them")
    pipe, out = load(pipeline, kind=TwoStagePipeline), Path(out).expanduser()
    names = dict(zip(paths, signal_names(names_below(paths, files), pipe.medium.ending), strict=True))
    for name in names.values():
        check_free(out, Path(name))
    codes, known, bad, differ = _read(pipe, paths, restore, unconfirmed)
    good = [path for path in paths if path not in bad]
    if good:
        with written_into(out, [names[path] for path in good]) as folder:
            for start in tqdm(range(0, len(good), AT_ONCE), "decompressing", disable=None, dynamic_ncols=True, leave=False):
                part = slice(start, start + AT_ONCE)
                images = decompressed(pipe, codes[part], known[part], seed, "pt")
                for path, image, there in zip(good[part], images, known[part], strict=True):
                    told = {"Known": f"{int(there.sum())} of {there.numel()} places", "File": plain(path.name)}
                    pipe.medium.write(image, folder / names[path], Software=SOFTWARE, Command="decompress", **told)
        _tell_restored(good, known, differ)
        print(plain(f"{len(good)} {pipe.medium.plural}: {out}"))
    if bad:
        whole = f"; the other {len(good)} are written" if good else ""
        many = f"{len(bad)} of {len(paths)} files cannot be read: " if len(paths) > 1 else ""
        raise ValueError(f"files: {many}{some([f'{path}: {why}' for path, why in bad.items()])}{whole}")
    return [out / names[path] for path in good]


def _read(
    pipe: TwoStagePipeline, paths: Sequence[Path], restore: bool, unconfirmed: bool
) -> tuple[Codes, Tensor, dict[Path, str], set[Path]]:  # fmt: skip
    """Codes and known places of the readable files, in order; the reasons for the others; and the files for which this machine's
    probabilities differ from the encoder's.
    """
    bad: dict[Path, str] = {}
    digits, known, differ = [], [], set()
    for start in tqdm(range(0, len(paths), AT_ONCE), "reading", disable=None, dynamic_ncols=True, leave=False):
        data: dict[Path, bytes] = {}
        for path in paths[start : start + AT_ONCE]:
            try:
                if not path.is_file():
                    raise OSError("no plain file")  # reading a pipe would not end
                data[path] = path.read_bytes()
            except OSError as error:
                bad[path] = error.strerror or str(error)
        if data:
            found = opened(pipe, list(data.values()), restore, unconfirmed)
            bad |= {path: str(found.refused[i]) for i, path in enumerate(data) if i in found.refused}
            fine = [i for i in range(len(data)) if i not in found.refused]
            digits.append(found.codes.digits[fine]), known.append(found.known[fine])
            differ |= {path for i, path in enumerate(data) if i in found.differ}
    none = torch.zeros(0, *pipe.prior.grid, dtype=torch.bool)
    digits.append(none[..., None].expand(*none.shape, len(pipe.prior.radix)).to(digit_dtype(pipe.prior.radix)))
    return Codes(torch.cat(digits), pipe.prior.radix), torch.cat([*known, none]), bad, differ


def _tell_restored(paths: Sequence[Path], known: Tensor, differ: set[Path]) -> None:
    """Prints a line to stderr with the files of which not all places are known, if there are any."""
    counts, places = known.flatten(1).sum(1).tolist(), known[0].numel()
    other = "; this machine's probabilities are not the encoder's"
    hurt = [
        f"{path} ({count} of {places} places known{other if path in differ else ''})"
        for path, count in zip(paths, counts, strict=True) if count < places
    ]  # fmt: skip
    if hurt:
        what = f"the model made up what is not known of {len(hurt)} of {len(paths)} files: {some(hurt)}"
        print(plain(f"bitmosaic: {what}"), file=sys.stderr)


def signal_names(names: Sequence[str], ending: str) -> list[str]:
    """Names of output files with an ending such as .png: the original names or, where two would be equal, those of the compressed files."""
    short = [name.removesuffix(ENDING) for name in names]
    short = [name if name.endswith(ending) else f"{name}{ending}" for name in short]
    count = Counter(dict(zip(names, short, strict=True)).values())
    mixed = [own if count[own] == 1 else f"{name}{ending}" for name, own in zip(names, short, strict=True)]
    return mixed if len(set(mixed)) == len(set(names)) else [f"{name}{ending}" for name in names]


def _below(path: Path) -> list[Path]:
    """The file itself, or the compressed files below a folder. ValueError where there is none."""
    if path.is_dir():
        found = sorted(_walked(path))
        if not found:
            raise ValueError(plain(f"files: no {ENDING} files in {path}; give a folder that 'bitmosaic compress' wrote"))
        return found
    if not os.path.lexists(path):
        raise ValueError(plain(f"files: there is no {path}; give files that 'bitmosaic compress' wrote, or folders of them"))
    return [path]


def _walked(folder: Path) -> Iterator[Path]:
    """Compressed files at any depth, each once; symbolic links to folders are followed, hidden files and folders left out."""
    seen = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        here = os.path.realpath(place)
        folders[:] = [] if here in seen else sorted(name for name in folders if not name.startswith("."))
        if here not in seen:
            yield from (Path(place, name) for name in names if name.lower().endswith(ENDING) and not name.startswith("."))
        seen.add(here)
