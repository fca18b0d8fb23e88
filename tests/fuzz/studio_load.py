"""A hundred clients ask one studio for ten minutes: what fails, how long they wait, and how much slower than the bare pipeline that is.

    python tests/fuzz/studio_load.py                        # the shipped model, 100 clients, 600 s of load
    python tests/fuzz/studio_load.py --mixed                # all the jobs, streams that are cut off, clients that go away
    python tests/fuzz/studio_load.py --seconds 20 --rounds 1

Every client asks /v1/generate for one image of a random class and seed, and when it has come, for the next; told 429, it waits as long as
Retry-After says. The bare pipeline draws 64 images at a time in a process of its own, before, between and after the rounds of load, while
the studio is idle, once as it is in any Python program and once with `bitmosaic.memory.keep`, as commands have it. Images per second of a
round count from its first request to its last answer, so that both have full and partial batches; all are medians of rounds. CPU: processor
seconds of the studio's process and of the clients' for one image, which other programs on the machine change less. Memory is what the
studio's process holds, every half second. After it, a sample of the images is drawn again by a bare pipeline and compared bit for bit.

Prints a table, writes docs/studio.json (this part of it).
"""

import argparse
import io
import json
import random
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from studio_jobs import mixed
from studio_started import Server, asked, thinned

from bitmosaic import Pipeline
from bitmosaic.folders import read_json, write_json
from bitmosaic.memory import keep

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = 64  # images of each round that are compared
BATCH = 64


class Tally:
    """What all clients saw."""

    def __init__(self):
        self.lock = threading.Lock()
        self.statuses: Counter[str] = Counter()
        self.seconds: list[float] = []  # of answers with status 200
        self.kept: list[tuple[str, int, bytes]] = []  # class, seed, PNG
        self.images = self.seen = 0
        self.jobs: Counter[str] = Counter()

    def add(self, status: str, seconds: float = 0.0, images: int = 0, job: str = "generate") -> None:
        """One request; status: of HTTP, or what happened instead."""
        with self.lock:
            self.statuses[status] += 1
            self.jobs[job] += 1
            if status == "200":
                self.seconds.append(seconds)
                self.images += images

    def keep(self, rng: random.Random, *what: Any) -> None:
        """One of all images with equal chances (reservoir sampling)."""
        with self.lock:
            self.seen += 1
            at = len(self.kept) if len(self.kept) < SAMPLE else rng.randrange(self.seen)
            self.kept[at : at + 1] = [what] if at < SAMPLE else []


def plain(server: Server, tally: Tally, classes: list[str], rng: random.Random, end: float) -> None:
    """One client: an image, and the next."""
    connection = server.connect()
    while time.monotonic() < end:
        name, seed = rng.choice(classes), rng.randrange(2**32)
        start = time.monotonic()
        try:
            body = {"class": name, "seed": seed}
            status, headers, data = asked(connection, "POST", "/v1/generate", body, {"Accept": "image/png"})
        except Exception as error:  # whatever it is, it's counted
            tally.add(type(error).__name__)
            connection.close()
            time.sleep(0.1)
            continue
        tally.add(str(status), time.monotonic() - start, 1)
        if status == 200:
            tally.keep(rng, name, seed, data)
        elif status == 429:
            time.sleep(min(float(headers["Retry-After"]), max(0.0, end - time.monotonic())))
    connection.close()


def loaded(server: Server, clients: int, seconds: float, seed: int, client: Any) -> tuple[Tally, dict[str, float]]:
    """A round of load, and what it came to."""
    tally, classes = Tally(), json.loads(server.ask("GET", "/v1/pipelines")[1])["pipelines"][0]["classes"]
    start, cpu, own = time.monotonic(), server.cpu(), time.process_time()
    names = [(server, tally, classes, random.Random(seed * 10_000 + i), start + seconds) for i in range(clients)]
    threads = [threading.Thread(target=client, args=given, daemon=True) for given in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.monotonic() - start
    each = max(1, tally.images)
    return tally, {
        "seconds": took, "images": tally.images, "images_per_second": tally.images / took,
        "cpu_seconds_an_image": (server.cpu() - cpu) / each, "clients_cpu_seconds_an_image": (time.process_time() - own) / each,
    }  # fmt: skip


def bare(pipeline: str, batches: int, *more: str) -> dict[str, float]:
    """Images per second of the pipeline in a process of its own, and processor seconds for one."""
    words = [sys.executable, __file__, "--pipeline", pipeline, "--bare", str(batches), *more]
    return json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def draw(pipeline: str, batches: int) -> dict[str, float]:
    """In that process: one batch to begin with, then those that are timed."""
    pipe, rng = Pipeline.from_pretrained(pipeline), random.Random(0)

    def once(count: int) -> None:
        classes, seeds = rng.choices(pipe.class_names, k=count), [rng.randrange(2**32) for _ in range(count)]
        pipe(classes, seeds, batch_size=BATCH)

    once(BATCH)
    start, cpu = time.monotonic(), time.process_time()
    for _ in range(batches):
        once(BATCH)
    took = time.monotonic() - start
    return {"images_per_second": batches * BATCH / took, "cpu_seconds_an_image": (time.process_time() - cpu) / batches / BATCH}


def compared(pipeline: str, kept: list[tuple[str, int, bytes]]) -> int:
    """How many of the images differ from those of a bare pipeline with the same classes and seeds in any pixel."""
    if not kept:
        return 0
    pipe = Pipeline.from_pretrained(pipeline)
    again = pipe([name for name, _, _ in kept], [seed for _, seed, _ in kept], output_type="np", batch_size=BATCH)
    return sum(
        not np.array_equal(np.atleast_3d(Image.open(io.BytesIO(data))), image) for (*_, data), image in zip(kept, again, strict=True)
    )


def memory(samples: list[tuple[float, int]]) -> dict[str, Any]:
    """Of (seconds, bytes): medians of the second and of the last tenth, and what there is between them; in MiB."""
    sizes = [size / 2**20 for _, size in samples if size]
    tenth = max(1, len(sizes) // 10)
    first, last = statistics.median(sizes[tenth : 2 * tenth] or sizes), statistics.median(sizes[-tenth:])
    return {"after_a_tenth_mib": first, "at_the_end_mib": last, "grown_mib": last - first, "most_mib": max(sizes), "mib": thinned(sizes)}


def batches_of(server: Server) -> dict[str, float]:
    """Batches and images that the studio has drawn, and the sizes of batches, as /metrics tells."""
    lines = [line.split() for line in server.ask("GET", "/metrics")[1].decode().splitlines() if line.startswith("bitmosaic_batch_images")]
    found = {name: float(value) for name, value in lines}
    sizes = {name.split('"')[1]: value for name, value in found.items() if "_bucket" in name}
    count = found["bitmosaic_batch_images_count"]
    return {"batches": count, "images": found["bitmosaic_batch_images_sum"], "at_most": sizes}


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """All rounds."""
    rounds, bares, kept, statuses, seconds, different, compare, before = [], [], [], Counter(), [], 0, 0, 0
    jobs: Counter[str] = Counter()
    with Server(*(["--queue", str(given.queue)] if given.queue else []), pipeline=given.pipeline) as server:
        for number in range(given.rounds):
            bares += [] if given.mixed else [bare(given.pipeline, given.batches)]
            kept += [] if given.mixed else [bare(given.pipeline, given.batches, "--keep")]
            client, before = mixed if given.mixed else plain, before if number else len(server.memory)
            tally, row = loaded(server, given.clients, given.seconds / given.rounds, given.seed + number, client)
            rounds.append(row)
            statuses, seconds, jobs = statuses + tally.statuses, seconds + tally.seconds, jobs + tally.jobs
            different, compare = different + compared(given.pipeline, tally.kept), compare + len(tally.kept)
            print(f"round {number + 1}: {row}, {dict(tally.statuses)}", file=sys.stderr)
        bares += [] if given.mixed else [bare(given.pipeline, given.batches)]
        time.sleep(2)
        health, drawn = json.loads(server.ask("GET", "/health")[1]), batches_of(server)
        held, mistakes = memory(server.memory[before:]), server.told().count("Traceback")
    seconds.sort()
    quantile = {f"p{q}": seconds[min(len(seconds) - 1, len(seconds) * q // 100)] for q in (50, 90, 99)} if seconds else {}
    found = {
        "clients": given.clients, "seconds": sum(row["seconds"] for row in rounds), "answers": dict(statuses), "jobs": dict(jobs),
        "latency_seconds": {**quantile, "max": seconds[-1] if seconds else None},
        "rounds": rounds, "batches": drawn, "memory": held, "images_compared": compare, "images_different": different,
        "still_waited_for": health["images_waited_for"], "tracebacks_in_the_log": mistakes,
    }  # fmt: skip
    if bares:
        ours, theirs = (statistics.median(row["images_per_second"] for row in rows) for rows in (rounds, bares))
        cpu, own = (statistics.median(row["cpu_seconds_an_image"] for row in rows) for rows in (rounds, bares))
        found |= {
            "bare": bares,
            "images_per_second": ours,
            "bare_images_per_second": theirs,
            "ratio": ours / theirs,
            "bare_that_keeps_memory": kept,
            "ratio_to_bare_that_keeps_memory": ours / statistics.median(row["images_per_second"] for row in kept),
            "cpu_ratio": own / cpu,
        }
    return found


def shown(found: dict[str, Any]) -> None:
    """The table."""
    rows = [(name, found[name]) for name in ("clients", "seconds", "answers", "jobs")]
    rows += [(f"latency {name}, s", value) for name, value in found["latency_seconds"].items()]
    speeds = ("images_per_second", "bare_images_per_second", "ratio", "ratio_to_bare_that_keeps_memory", "cpu_ratio")
    rows += [(name, found.get(name)) for name in speeds]
    rows += [(f"memory {name}", value) for name, value in found["memory"].items() if name != "mib"]
    rows += [("images a batch", found["batches"]["images"] / max(1, found["batches"]["batches"]))]
    rows += [(name, found[name]) for name in ("images_compared", "images_different", "still_waited_for", "tracebacks_in_the_log")]
    for name, value in rows:
        if value is not None:
            print(f"{name:<32} {value:.3f}" if isinstance(value, float) else f"{name:<32} {value}")


def main(arguments: list[str] | None = None) -> int:
    """Reads the arguments, does what they say; the exit status, 1 where something failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pipeline", default="fashion")
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=600, help="of load, in all rounds together")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=6, help="of 64 images that the bare pipeline draws each time")
    parser.add_argument("--queue", type=int, help="as for bitmosaic studio; a small one makes it answer 429")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--mixed", action="store_true")
    parser.add_argument("--bare", type=int, metavar="BATCHES", help=argparse.SUPPRESS)
    parser.add_argument("--keep", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "studio.json")
    given = parser.parse_args(arguments)
    if given.bare:
        if given.keep:
            keep()
        print(json.dumps(draw(given.pipeline, given.bare)))
        return 0
    found = measure(given)
    shown(found)
    whole = read_json(given.out) if given.out.exists() else {}
    write_json(given.out, {**whole, "mixed" if given.mixed else "load": found})
    allowed = {"200", "429"} | ({"gone", "cut", "408"} if given.mixed else set())  # long jobs of many may pass their deadline
    well = set(found["answers"]) <= allowed and not found["images_different"] and not found["still_waited_for"]
    return int(not well or found["tracebacks_in_the_log"] > 0)


if __name__ == "__main__":
    sys.exit(main())
