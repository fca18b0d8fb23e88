"""Progress of work: a bar where stderr is a terminal, elsewhere a line now and then, since a log file would keep every bar."""

from __future__ import annotations

import os
import sys
import time

from tqdm import tqdm

from bitmosaic.train.processes import is_first

EVERY = 30.0  # seconds between two lines


class ProgressBar:
    """A context; the first process shows it. done: of `total`, before it begins. quick: not worth a line where it ends at once."""

    def __init__(self, title: str, total: int, unit: str, done: int = 0, quick: bool = False):
        self.title, self.total, self.unit, self.done, self.text, self.quick = title, total, unit, done, "", quick
        speaks = is_first() and not os.environ.get("TQDM_DISABLE")  # which silences tqdm's own bars too
        self.bar = tqdm(
            total=total, initial=done, desc=title, unit=unit, dynamic_ncols=True, disable=None if speaks else True, delay=2.0 * quick,
            leave=not quick)  # fmt: skip
        self.lines, self.since, self.told = speaks and self.bar.disable, time.monotonic(), done

    def update(self, count: int = 1) -> None:
        """So many more are done."""
        self.done += count
        self.bar.update(count)
        if self.lines and time.monotonic() - self.since > EVERY:
            self._line()

    def say(self, text: str) -> None:
        """What stands beside the number from now on."""
        self.text = text
        self.bar.set_postfix_str(text)

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, kind: type | None, *_) -> None:
        self.bar.close()
        if self.lines and kind is None and self.done > self.told and not self.quick:
            self._line()

    def _line(self) -> None:
        self.since, self.told = time.monotonic(), self.done
        print(f"{self.title}: {self.unit} {self.done:,} of {self.total:,}{', ' * bool(self.text)}{self.text}", file=sys.stderr, flush=True)
