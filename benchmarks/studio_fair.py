"""How long one image takes beside page streams: alone, and beside some streams that draw all the time, with the entropy that pages ask for.

    python benchmarks/studio_fair.py [--streams 3] [--images 4] [--repeats 5] [--seconds 120]
"""

import argparse
import json
import statistics
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "fuzz"))  # where load tests of the studio lie
from studio_started import Server, asked  # noqa: E402

MORE = {"steps": 20, "evaluations": 20}  # of the one image: other settings than the streams', so that it's drawn by itself


def image(server: Server, settings: dict, seed: int) -> float:
    """Seconds of one image."""
    start = time.monotonic()
    status, data = server.ask("POST", "/v1/generate", {"class": "bag", "seed": seed, "settings": settings})
    assert status == 200, data
    return time.monotonic() - start


def streams(server: Server, kinds: list[dict], done: threading.Event, times: list[float]) -> list[threading.Thread]:
    """Streams as the page has them, each drawn again when it is over."""

    def run(body: dict) -> None:
        connection = server.connect()
        while not done.is_set():
            start = time.monotonic()
            status, _, data = asked(connection, "POST", "/v1/generate", body, {"Accept": "text/event-stream"})
            assert status == 200 and b"event: result" in data, data[-300:]
            times.append(time.monotonic() - start)
        connection.close()

    threads = [threading.Thread(target=run, args=(body,)) for body in kinds]
    for thread in threads:
        thread.start()
    return threads


def measure(server: Server, kinds: list[dict], settings: dict, repeats: int, end: float) -> dict[str, float]:
    """Median seconds of an image, and of a stream beside it."""
    done, times, found = threading.Event(), [], []
    threads = streams(server, kinds, done, times)
    try:
        time.sleep(1.0 if kinds else 0.0)
        while len(found) < repeats and time.monotonic() < end:
            found.append(image(server, settings, len(found)))
    finally:
        done.set()
        for thread in threads:
            thread.join()
    return {"image": statistics.median(found), "most": max(found), "stream": statistics.median(times) if times else 0.0}


def main() -> int:
    """Prints a line of each case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=3)
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=120, help="of each case at most")
    given = parser.parse_args()
    with Server() as server:
        for name, settings in (("the streams' settings", {}), ("other settings", MORE)):
            image(server, settings, 0)
            for entropy in (None, False, True):
                bodies = [{"class": i, "count": given.images, "seed": i, "entropy": entropy, "settings": {}} for i in range(given.streams)]
                found = measure(server, bodies if entropy is not None else [], settings, given.repeats, time.monotonic() + given.seconds)
                case = "alone" if entropy is None else f"{given.streams} streams of {given.images}, {'with' if entropy else 'no'} entropy"
                print(json.dumps({"image of": name, "beside": case, **{k: round(v, 2) for k, v in found.items()}}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
