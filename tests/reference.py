"""Where the reference tensors lie, if anywhere."""

import json
from pathlib import Path

import pytest

REFERENCE = Path(__file__).resolve().parents[1].parent / "shared" / "reference"


def reference(name: str) -> Path:
    """The folder of one system's reference tensors; skips the test where there is none."""
    if not (REFERENCE / name).is_dir():
        pytest.skip(f"no reference tensors at {REFERENCE / name}")
    return REFERENCE / name


def sizes(name: str, part: str) -> dict:
    """The sizes that belong to a reference checkpoint."""
    return json.loads((reference(name) / f"{part}_args.json").read_text())
