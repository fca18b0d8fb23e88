"""Sampling settings: a description with some fields changed, or those of another sampler."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from bitmosaic.samplers import PRESETS, SAMPLERS, SamplerSpec
from bitmosaic.spec import Spec


def changed(spec: Spec, changes: dict[str, Any]) -> Spec:
    """`spec` with the fields changed that are not None; `num_inference_steps` is diffusers' name for steps.

    ValueError names a field that it does not have, or a value out of range.
    """
    given = {"steps" if name == "num_inference_steps" else name: value for name, value in changes.items() if value is not None}
    known = {f.name for f in fields(spec)}
    unknown = sorted(given.keys() - known)
    if unknown:
        raise ValueError(f"{type(spec).__name__} has no setting {', '.join(unknown)}; it has {', '.join(sorted(known)) or 'none'}")
    return Spec.from_json({**spec.to_json(), **given}, "settings")  # checks types and choices


def sampler_of(name: str | SamplerSpec | None, own: SamplerSpec) -> SamplerSpec:
    """A sampler's spec: as given; by name, keeping values of `own` in the fields that both have; or a preset by name. None: `own`."""
    if name is None:
        return own
    if isinstance(name, SamplerSpec):
        return name
    if name in PRESETS:
        return PRESETS[name]
    if name not in SAMPLERS:
        raise ValueError(f"sampler: no sampler {name!r}; there are {', '.join([*SAMPLERS, *PRESETS])}")
    both = {f.name for f in fields(SAMPLERS[name])} & {f.name for f in fields(own)}
    return SAMPLERS[name](**{field: getattr(own, field) for field in both})
