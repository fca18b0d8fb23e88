"""Settings of samplers that users set, each described once for specs, the command line, the studio's requests and its page.

A sampler has those that are fields of its Spec; a field with one of these names has the range given here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

from bitmosaic.spec import Spec


@dataclass(frozen=True)
class Setting:
    """A number that users set."""

    label: str
    text: str  # what it does
    slider: tuple[float, float, float]  # on a page: least, most and step
    whole: bool = False  # whether it is a whole number
    least: float = -math.inf
    most: float = math.inf
    above: bool = False  # whether it must be more than `least`

    def check(self, name: str, value: float) -> None:
        """ValueError that names the setting, where the value does not fit."""
        if not (math.isfinite(value) and self.least <= value <= self.most) or (self.above and value == self.least):
            raise ValueError(f"{name}: got {value}; want a {'whole' if self.whole else 'finite'} number {self.range()}")

    def range(self) -> str:
        """The range in words."""
        least = f"more than {self.least:g}" if self.above else f"at least {self.least:g}"
        ends = [least] * (self.least > -math.inf) + [f"at most {self.most:g}"] * (self.most < math.inf)
        return f"of {', '.join(ends)}"


SETTINGS = {
    "guidance_scale": Setting(
        "Guidance", "how strictly an image keeps to its class: 1 samples the model itself, more keeps to the class more and varies less, "
        "0 ignores it", (0, 6, 0.05), least=-1e6, most=1e6,
    ),
    "steps": Setting(
        "Steps", "rounds in which places are revealed, or noise becomes codes; more is slower and mostly better", (1, 64, 1), True, 1
    ),
    "evaluations": Setting("Evaluations", "of the head for a place, in each round; more is slower and mostly better", (1, 256, 1), True, 1),
    "temperature": Setting(
        "Temperature", "randomness in the order of places or in what is drawn; more is more varied", (0, 5, 0.01), least=0
    ),
    "shortlist": Setting("Shortlist", "places for which the chain runs, for each that is revealed; more is slower", (1, 50, 0.5), least=1),
    "truncation": Setting(
        "Truncation", "of a generator's noise: 1 draws as in training, less is likelier and less varied", (0, 1, 0.01), least=0, most=1
    ),
    "top_k": Setting("Top k", "only so many of the likeliest codewords of a place; 0 is all", (0, 1000, 1), True, 0),
    "top_p": Setting(
        "Top p", "only the likeliest codewords that have more than this probability together; 1 is all", (0.01, 1, 0.01), least=0, most=1,
        above=True,
    ),
}  # fmt: skip


def settings_of(spec: Spec | type[Spec]) -> list[str]:
    """Names of the settings that a spec has, in the order of the table."""
    own = {field.name for field in fields(spec)}
    return [name for name in SETTINGS if name in own]


def check_settings(spec: Spec) -> None:
    """ValueError for a setting of a spec out of its range."""
    for name in settings_of(spec):
        SETTINGS[name].check(name, getattr(spec, name))


def described() -> dict[str, dict[str, Any]]:
    """The table as plain values, for pages."""
    return {
        name: {"label": one.label, "text": one.text, "whole": one.whole, "slider": list(one.slider)} for name, one in SETTINGS.items()
    }
