"""TensorBoard's event files of a stage: a copy of metrics.jsonl, written anew whenever a stage begins, so that no step occurs twice."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import Any

from bitmosaic.disk import writing


def check_tensorboard() -> None:
    """ValueError where tensorboard is not installed, which says how to install it."""
    try:
        import tensorboard  # noqa: F401
    except ImportError:
        raise ValueError("tensorboard: it is not installed; install it with: pip install 'bitmosaic[log]'") from None


class Board:
    """An event file in `folder`: `rows` of metrics.jsonl, then one for each `add`. Other event files there are removed.

    Written here, a record at a time: tensorboard's writer uses a thread whose errors cannot be caught.
    """

    def __init__(self, folder: Path, rows: Iterable[dict[str, Any]] = ()):
        check_tensorboard()
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog

        rows = list(rows)
        for old in folder.glob("events.out.tfevents.*"):
            old.unlink()
        now = time.time()
        self.began = now - (rows[-1].get("seconds", 0.0) if rows else 0.0)  # so that its relative time is time spent training
        self.path = folder / f"events.out.tfevents.{now:.0f}.{socket.gethostname()}.{os.getpid()}.0"
        folder.mkdir(parents=True, exist_ok=True)
        forget = SessionLog(status=SessionLog.START)  # a TensorBoard that is open drops the steps that it has read
        head = Event(wall_time=now, file_version="brain.Event:2"), Event(wall_time=self.began, session_log=forget)
        self._put(*head, *map(self._event, rows))

    def add(self, row: dict[str, Any]) -> None:
        """One row of metrics, on disk when this returns."""
        self._put(self._event(row))

    def _event(self, row: dict[str, Any]) -> Any:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=name, simple_value=value) for name, value in row.items() if name not in ("step", "seconds")]
        return Event(step=row["step"], wall_time=self.began + row.get("seconds", 0.0), summary=Summary(value=values))

    def _put(self, *events: Any) -> None:
        from tensorboard.summary.writer.record_writer import RecordWriter

        records = BytesIO()
        for event in events:
            RecordWriter(records).write(event.SerializeToString())
        with writing(self.path), self.path.open("ab") as file:
            file.write(records.getvalue())
