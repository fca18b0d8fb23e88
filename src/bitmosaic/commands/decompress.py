"""`bitmosaic decompress`: files of 'bitmosaic compress' back to images."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import tyro
from tqdm import tqdm

from bitmosaic.codec import CodecError
from bitmosaic.commands.arguments import Flag
from bitmosaic.commands.compress import ENDING, Folder
from bitmosaic.commands.files import SOFTWARE, unlike, written_into
from bitmosaic.commands.pipelines import load
from bitmosaic.compression import AT_ONCE, decompress_codes, decompressed
from bitmosaic.images import save

Compressed = Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="FILE ...", help_behavior_hint="")]


def decompress(
    files: Compressed = (), *, restore: Flag = False, pipeline: str = "fashion", out: Folder = Path("decompressed"), seed: int = 0,
) -> list[Path]:  # fmt: skip
    """Turns files of 'bitmosaic compress' back into images, PNG files.

    Args:
        files: what 'bitmosaic compress' wrote, and folders of such files at any depth.
        restore: what is missing, where a file was cut short or has lost packets, is filled in by the model.
        pipeline: the one that compressed them; files of another tokenizer or prior are refused.
        out: folder to write into; pictures of the same name that bitmosaic wrote are replaced.
        seed: of what is filled in.

    Returns:
        The files written.
    """
    found = [pair for path in files for pair in _below(Path(path).expanduser())]
    if not found:
        raise ValueError("files: none are named; give files that 'bitmosaic compress' wrote, or folders of them")
    pipe = load(pipeline)
    names = [f"{name}.png" for name in unlike([str(name.with_suffix("")) for _, name in found])]
    restored = 0
    with written_into(out, names) as folder:
        for start in tqdm(range(0, len(found), AT_ONCE), "decompressing", disable=None, dynamic_ncols=True, leave=False):
            part = slice(start, start + AT_ONCE)
            codes, known = _read(pipe, [path for path, _ in found[part]], restore)
            restored += int((~known.flatten(1).all(1)).sum())
            images = decompressed(pipe, codes, known, seed)
            for name, image, there in zip(names[part], images, known, strict=True):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                save(image, folder / name, Software=SOFTWARE, Command="decompress", Known=f"{int(there.sum())} of {there.numel()} places")
    if restored:
        print(f"bitmosaic: {restored} of {len(found)} files are not whole; what they lack is made up", file=sys.stderr)
    print(f"{len(found)} images: {out}")
    return [Path(out) / name for name in names]


def _read(pipe, paths: list[Path], restore: bool) -> tuple:
    """Codes and known places of some files; CodecError names the first that is none."""
    data = [path.read_bytes() for path in paths]
    try:
        return decompress_codes(pipe, data, restore)
    except CodecError:
        for path, one in zip(paths, data, strict=True):  # which one is it?
            try:
                decompress_codes(pipe, [one], restore)
            except CodecError as error:
                raise CodecError(f"files: {path}: {error}") from error
        raise


def _below(path: Path) -> list[tuple[Path, Path]]:
    """Files, and their names inside what was named; ValueError where there is nothing of that name."""
    if path.is_dir():
        names = sorted(file.relative_to(path) for file in path.rglob(f"*{ENDING}"))
        if not names:
            raise ValueError(f"files: no {ENDING} files in {path}; give a folder that 'bitmosaic compress' wrote")
        return [(path / name, name) for name in names]
    if not path.is_file():
        raise ValueError(f"files: there is no {path}; give files that 'bitmosaic compress' wrote, or folders of them")
    return [(path, Path(path.name))]
