"""Settings of a drawing: a frozen description with some fields changed, or another sampler's."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from bitmosaic.samplers import PRESETS, SAMPLERS, SamplerSpec
from bitmosaic.spec import Spec


def changed(spec: Spec, changes: dict[str, Any]) -> Spec:
    """`spec` with the fields changed that are not None; `num_inference_steps` is diffusers' word for steps.

    ValueError names a field that it does not have, and values that do not fit.
    """
    given = {"steps" if name == "num_inference_steps" else name: value for name, value in changes.items() if value is not None}
    known = {f.name for f in fields(spec)}
    unknown = sorted(given.keys() - known)
    if unknown:
        raise ValueError(f"{type(spec).__name__} has no setting {', '.join(unknown)}; it has {', '.join(sorted(known)) or 'none'}")
    return Spec.from_json({**spec.to_json(), **given}, "settings")  # types and choices are checked there


def sampler_of(name: str | SamplerSpec | None, own: SamplerSpec) -> SamplerSpec:
    """A sampler by its spec, by its name, which then keeps the values of the fields of `own` that both have, or a preset; None: `own`."""
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
