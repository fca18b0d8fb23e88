"""Reference tensors: those that every clone holds in tests/data, and those of a folder beside the project, if there is one."""

import json
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
PLACES = (HERE / "data", HERE.parents[1] / "shared" / "reference")


def reference(name: str) -> Path:
    """The folder of one system's reference tensors; skips the test where there is none."""
    for place in PLACES:
        if (place / name).is_dir():
            return place / name
    pytest.skip(f"no reference tensors of {name} in {' or '.join(map(str, PLACES))}")


def sizes(name: str, part: str) -> dict:
    """The sizes that belong to a reference checkpoint."""
    return json.loads((reference(name) / f"{part}_args.json").read_text())
