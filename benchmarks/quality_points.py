"""What the map of speed and quality measures: the published law, sweeps of its settings, and every other way of sampling."""

from dataclasses import dataclass, replace

from bitmosaic.samplers import PRESETS, EntropyOrderedSpec, MarginalsFirstSpec, SamplerSpec

LAW = "published law"
SAMPLES, MORE = 2000, 5000  # of every point; of each of three seeds of the law and of what is chosen


@dataclass(frozen=True)
class Point:
    """One way of sampling."""

    name: str
    sampler: SamplerSpec
    family: str = "published law"
    seeds: int = 1  # runs with seeds of their own
    samples: int = SAMPLES  # of each run


def points(rounds: int, evaluations: int) -> list[Point]:
    """All of them, the most important first; `rounds` and `evaluations` are the published law's n and S."""
    law = EntropyOrderedSpec(steps=rounds, evaluations=evaluations, guidance_scale=1.5, temperature=0.17)
    base = {name: getattr(law, name) for name in ("steps", "evaluations", "guidance_scale", "temperature")}
    short = MarginalsFirstSpec(**{**base, "evaluations": 10}, shortlist=2.0)
    stronger = replace(law, guidance_scale=2.5)
    found = [Point(LAW, law, LAW, 3, MORE), Point(f"{LAW}, guidance 2.5", stronger, LAW, 3, MORE)]

    def add(family: str, sampler: SamplerSpec, **changes) -> None:
        if any(p.sampler == replace(sampler, **changes) for p in found):
            return
        told = [_WORDS.get(value) or f"{_LETTERS[key]} {value:g}" for key, value in changes.items()]
        found.append(Point(", ".join([family, *told]), replace(sampler, **changes), family))

    for s in (5, 10, 50):
        add(LAW, law, evaluations=s)
    for n in (5, 7, 14, 20):
        add(LAW, law, steps=n)
    for n in (5, 7):
        add(LAW, law, steps=n, evaluations=10)
    for temperature in (0.02, 0.3):
        add(LAW, law, temperature=temperature, evaluations=10)
    add("marginals first (A1)", replace(short, shortlist=1.0), evaluations=10)
    for s in (5, 10):
        add("shortlist (A1b)", short, shortlist=2.0, evaluations=s)
    add("shortlist (A1b)", short, shortlist=3.0, evaluations=10)
    add("shortlist (A1b)", short, shortlist=2.0, steps=7, evaluations=10)
    found.append(Point("for looks: r 2, n 20, S 50, guidance 2.25, temperature 0.02", PRESETS["looks"], "shortlist (A1b)"))
    add("rising guidance (A6)", replace(law, guidance_schedule="power-cosine", guidance_scale=2.5), evaluations=10)
    add("late guidance (A6)", law, unguided=0.25, evaluations=10)
    add(LAW, law, steps=20, evaluations=100)  # what the published program asks of its larger images
    return found


_LETTERS = {
    "steps": "n", "evaluations": "S", "shortlist": "r", "temperature": "temperature", "unguided": "unguided share",
}  # fmt: skip
_WORDS = {"posterior": "exact jumps", "transitions": "transitions"}
