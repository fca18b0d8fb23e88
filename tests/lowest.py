"""The oldest versions that pyproject.toml admits, one a line, as pip takes them: what 'make lowest' installs together and runs."""

import tomllib
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"


def pins() -> list[str]:
    """Each dependency, those of extras too, at its lower bound."""
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    every = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    return [one.replace(">=", "==") for one in every if not one.startswith("bitmosaic")]


if __name__ == "__main__":
    print("\n".join(pins()))
