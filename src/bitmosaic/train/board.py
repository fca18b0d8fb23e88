"""TensorBoard's event files of a stage. They copy metrics.jsonl and are made anew whenever a stage begins, so no step comes twice."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def check_tensorboard() -> None:
    """ValueError where tensorboard is not installed, which says how to install it."""
    try:
        import tensorboard  # noqa: F401
    except ImportError:
        raise ValueError("tensorboard: it is not installed; install it with: pip install 'bitmosaic[log]'") from None


class Board:
    """Event files in `folder`: `rows` of metrics.jsonl, then one for each `add`. Other event files there are removed."""

    def __init__(self, folder: Path, rows: Iterable[dict[str, Any]] = ()):
        check_tensorboard()
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        rows = list(rows)
        for old in folder.glob("events.out.tfevents.*"):
            old.unlink()
        self.began = time.time() - (rows[-1].get("seconds", 0.0) if rows else 0.0)  # so that its relative time is time spent training
        self.writer = EventFileWriter(str(folder))
        forget = SessionLog(status=SessionLog.START)  # a TensorBoard that is open drops the steps that it has read
        self.writer.add_event(Event(wall_time=self.began, session_log=forget))
        for row in rows:
            self._put(row)
        self.writer.flush()

    def add(self, row: dict[str, Any]) -> None:
        """One row of metrics, on disk when this returns."""
        self._put(row)
        self.writer.flush()

    def close(self) -> None:
        """Ends the file."""
        self.writer.close()

    def _put(self, row: dict[str, Any]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=name, simple_value=value) for name, value in row.items() if name not in ("step", "seconds")]
        self.writer.add_event(Event(step=row["step"], wall_time=self.began + row.get("seconds", 0.0), summary=Summary(value=values)))
