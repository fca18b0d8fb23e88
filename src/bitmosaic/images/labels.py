"""A file of labels: a line for each image, its name and its class, with a tab, a comma or blanks between them."""

import hashlib
import re
from pathlib import Path, PurePosixPath

MOST = 1_000_000  # classes that labels without names may have


class LabelFile:
    """Labels by the names of images: as they stand in the file, without their ending, or without their folders.

    Where every class is a whole number, these are the labels; else classes are numbered by name. bad: lines that say no name and class,
    or another class of a name that came before. ValueError where no line can be read.
    """

    def __init__(self, path: str | Path):
        path = Path(path).expanduser()
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ValueError(f"labels: cannot read {path} ({error.strerror}); give a file with a name and a class on each line") from error
        self.fingerprint, self.bad = hashlib.sha256(data).hexdigest(), 0
        found: dict[str, str] = {}
        for line in data.decode("utf-8", "surrogateescape").splitlines():
            parts = [part.strip() for part in re.split(r"\t|,|\s+", line.strip(), maxsplit=1)]
            if not line.strip() or line.startswith("#"):
                continue
            if len(parts) != 2 or not all(parts) or found.setdefault(parts[0], parts[1]) != parts[1]:
                self.bad += 1
        if not found:
            raise ValueError(f"labels: {path} has no line with a name and a class, such as 'photos/7.png cat'")
        self.class_names = class_names(set(found.values()))
        numbers = {name: i for i, name in enumerate(self.class_names)}
        self.labels = {name: numbers[_number(label)] for name, label in found.items()}

    def __len__(self) -> int:
        return len(self.labels)

    def find(self, name: str) -> int:
        """The label of an image, -1 where the file has none."""
        path = PurePosixPath(name)
        names = (name, str(path.with_suffix("")) if path.name else name, path.name, path.stem)
        return next((self.labels[one] for one in names if one in self.labels), -1)


def class_names(classes: set[str]) -> tuple[str, ...]:
    """Names of the classes, in the order of their numbers: themselves, sorted, or 0 to the highest where all are numbers."""
    if all(_is_number(name) for name in classes):
        return tuple(str(i) for i in range(1 + max(map(int, classes))))
    return tuple(sorted(classes))


def class_number(text: bytes, below: int) -> int:
    """The class in a `.cls` file, -1 where it is no whole number from 0 to `below`."""
    found = re.fullmatch(rb"\s*(\d{1,7})\s*", text)
    return int(found[1]) if found and int(found[1]) < below else -1


def _is_number(name: str) -> bool:
    return re.fullmatch(r"[0-9]{1,7}", name) is not None and int(name) < MOST


def _number(name: str) -> str:
    return str(int(name)) if _is_number(name) else name
