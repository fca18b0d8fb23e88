"""Checksums beside files, by which a run resumes only from what it wrote, to the byte."""

from __future__ import annotations

import json
from pathlib import Path

from bitmosaic.disk import checksum, writing
from bitmosaic.folders import read_json

CHECKSUMS = "checksums.json"


def checksums(folder: Path) -> dict[str, str]:
    """Of each file, by name."""
    return {path.name: checksum(path) for path in sorted(folder.iterdir()) if path.name != CHECKSUMS}


def seal(folder: Path) -> None:
    """Writes `folder`/checksums.json."""
    with writing(folder / CHECKSUMS):
        (folder / CHECKSUMS).write_text(json.dumps(checksums(folder), indent=1))


def damage(folder: Path, links: bool = False) -> str:
    """What is wrong with the files of a folder, by their checksums; empty where nothing is. What else lies there is never read.

    links: a link to a file is one too.
    """
    try:
        wanted = read_json(folder / CHECKSUMS)
    except ValueError as error:
        return f"{CHECKSUMS}: {' '.join(str(error).split())}"
    if not isinstance(wanted, dict) or not wanted or not all(Path(name).name == name for name in wanted):
        return f"{CHECKSUMS} holds no names"
    odd = [name for name in wanted if ((folder / name).is_symlink() and not links) or _is_odd(folder / name)]
    missing = [name for name in wanted if not (folder / name).exists()]
    changed = [name for name in wanted if name not in (*odd, *missing) and checksum(folder / name) != wanted[name]]
    parts = {"no file": odd, "missing": missing, "changed": changed}
    return ", ".join(f"{' and '.join(sorted(names))} {word}" for word, names in parts.items() if names)


def _is_odd(path: Path) -> bool:
    return path.exists() and not path.is_file()


def check(folder: Path, again: str) -> None:
    """ValueError that names the files of a folder that are not as they were sealed. again: how to have them anew.

    A folder without checksums was made before there were any, and is taken as it is.
    """
    if (folder / CHECKSUMS).exists() and (fault := damage(folder, links=True)):
        raise ValueError(f"{folder}: {fault}, by its {CHECKSUMS}; put back what was there, or {again}")
