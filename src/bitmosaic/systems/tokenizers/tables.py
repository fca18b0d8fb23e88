"""Tables of the arena: a row for each scheme, with floors, and a sentence on the best of each table.

Every figure is the mean over the seeds, with half of their range; perturbed codes are an idea of Qiu et al. (arXiv 2509.12474).
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from bitmosaic.systems.base import Results
from bitmosaic.systems.page import table
from bitmosaic.systems.tokenizers.measures import NEAREST, SHARE
from bitmosaic.systems.tokenizers.sources import Source
from bitmosaic.systems.tokenizers.trial import EQUAL, trials

LEGEND = (
    "Mean over the seeds, ± half of their range. *used*: the share of the values of a place that occur in test images, and of each digit "
    "where a place has too many values to be seen. *perplexity*: how many values of a place, used equally often, would carry as much. "
    "*perceptual*: distance over the maps of the judging classifier. *Frechet*: of reconstructed test images from other test images, whose "
    f"own distance is the floor. *perturbed*: the same with {SHARE:.0%} of the places taken from another image. *static*, *prior*: bits an "
    "image after entropy coding with frequencies of other images' codes, and with the trained prior. *step*: CPU time of a training step "
    "over that of Bernoulli's at as many bits, measured in turn. *drawn*: Frechet distance of the prior's samples; the floor is that of as "
    f"many training images. *search*: the share of the {NEAREST} nearest test images, by the vectors that the decoder is given, of the "
    "same class; the last row has that of the pixels themselves."
)
COLUMNS = {
    "bits": ("bits", "{:,.0f}"), "used": ("used", "{:.1%}"), "perplexity": ("perplexity", "{:,.0f}"), "PSNR": ("psnr", "{:.2f}"),
    "SSIM": ("ssim", "{:.3f}"), "perceptual": ("perceptual", "{:.3g}"), "Frechet": ("frechet", "{:.3g}"),
    "perturbed": ("perturbed", "{:.3g}"), "static": ("static_bits", "{:,.0f}"), "prior": ("prior_bits", "{:,.0f}"),
    "step": ("step_time", "{:.2f}"), "drawn": ("drawn", "{:.3g}"), "search": ("search", "{:.1%}"),
}  # fmt: skip
FLOORS = {"frechet": "frechet_floor", "perturbed": "frechet_floor", "drawn": "drawn_floor", "search": "search_by_pixels"}


def titled(source: Source, bits: int) -> str:
    """The heading of a table."""
    return f"## {source.about}, {'equal bits' if bits == EQUAL else 'equal places, with as many bits as a scheme holds'}"


def of_table(results: Results, source: Source, bits: int) -> dict[str, Sequence[Mapping[str, Any]]]:
    """Results by scheme of one table, of those schemes that have some."""
    found = {one.scheme: results[one.name] for one in trials() if (one.source, one.bits) == (source, bits)}
    return {scheme: own for scheme, own in found.items() if own}


def markdown(own: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """A table with a row for each scheme, and the floors."""
    if not own:
        return "Not measured yet."
    rows = [[scheme, results[0]["place"], *(cell(results, *column) for column in COLUMNS.values())] for scheme, results in own.items()]
    every = [result for results in own.values() for result in results]
    floor = [cell(every, FLOORS[name], form) if name in FLOORS else "" for name, form in COLUMNS.values()]
    return table(["scheme", "a place", *COLUMNS], [*rows, ["floor", "", *floor]])


def cell(results: Sequence[Mapping[str, Any]], name: str, form: str) -> str:
    """A figure: its mean over the seeds, and half of the range of several."""
    values = [result[name] for result in results]
    mean, half = form.format(statistics.mean(values)), form.format((max(values) - min(values)) / 2)
    return f"{mean} ± {half}" if any(digit in half for digit in "123456789") else mean


def summary(own: Mapping[str, Sequence[Mapping[str, Any]]], source: Source, bits: int) -> str:
    """A sentence on the best of the schemes of one table, by the mean of the seeds."""

    def best(name: str, form: str, sign: int) -> str:
        mean = {scheme: statistics.mean(result[name] for result in results) for scheme, results in own.items()}
        scheme = max(mean, key=lambda one: sign * mean[one])
        return f"{scheme} ({form.format(mean[scheme])})"

    return (
        f"{source.about} at {bits} bits a place: highest PSNR {best('psnr', '{:.2f} dB', 1)}, lowest Frechet distance "
        f"{best('frechet', '{:.3g}', -1)}, perturbed {best('perturbed', '{:.3g}', -1)}, fewest bits by the prior "
        f"{best('prior_bits', '{:,.0f}', -1)}, best drawn {best('drawn', '{:.3g}', -1)}, best searched {best('search', '{:.1%}', 1)}."
    )
