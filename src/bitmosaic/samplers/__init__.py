"""How a prior is asked; importing the room enters its specs in the table."""

from typing import Any

from bitmosaic.samplers.ancestral import Ancestral, AncestralSpec
from bitmosaic.samplers.base import Sampler, SamplerSpec, Step
from bitmosaic.samplers.entropy_ordered import EntropyOrdered, EntropyOrderedSpec
from bitmosaic.samplers.llamagen import LlamaGenSampler, LlamaGenSamplerSpec
from bitmosaic.samplers.marginals_first import MarginalsFirst, MarginalsFirstSpec
from bitmosaic.samplers.maskgit import MaskGITSampler, MaskGITSamplerSpec
from bitmosaic.samplers.raster import Raster, RasterSpec
from bitmosaic.samplers.settings import SETTINGS, Setting, settings_of

SAMPLERS: dict[str, type[SamplerSpec]] = {  # by the names that users type
    "entropy-ordered": EntropyOrderedSpec,
    "marginals-first": MarginalsFirstSpec,
    "raster": RasterSpec,
    "maskgit": MaskGITSamplerSpec,
    "llamagen": LlamaGenSamplerSpec,
    "ancestral": AncestralSpec,
}

# What a Pipeline does that is given no sampler; a saved one has its own (the shipped one other guidance and temperature). Of all ways
# measured in docs/quality_speed.md the fastest that is as near to real images as the published law. Guidance rests in the first quarter
# of the rounds.
DEFAULT = EntropyOrderedSpec(steps=10, evaluations=10, guidance_scale=1.5, temperature=0.17, unguided=0.25)

PRESETS: dict[str, SamplerSpec] = {  # whole settings, by names that users type beside those of SAMPLERS
    "fast": DEFAULT,
    "looks": MarginalsFirstSpec(steps=20, evaluations=50, guidance_scale=2.25, temperature=0.02, shortlist=2.0),  # surer, plainer; by eye
}

PRESET_WORDS = {"fast": "few steps and evaluations", "looks": "surer, plainer"}


def described_samplers() -> list[dict[str, Any]]:
    """Presets and samplers as plain values, for pages: which priors each asks, and which of `SETTINGS` it has."""
    found = []
    for name, spec in [*PRESETS.items(), *((name, kind()) for name, kind in SAMPLERS.items())]:
        built, preset = spec.build(), name in PRESETS
        found.append({
            "name": name, "words": PRESET_WORDS[name] if preset else built.words, "preset": preset, "type": type(spec).__name__,
            "families": list(built.families), "of_indices": built.of_indices, "settings": settings_of(spec),
        })  # fmt: skip
    return found


__all__ = [
    "DEFAULT",
    "PRESETS",
    "SAMPLERS",
    "SETTINGS",
    "Ancestral",
    "AncestralSpec",
    "EntropyOrdered",
    "EntropyOrderedSpec",
    "LlamaGenSampler",
    "LlamaGenSamplerSpec",
    "MarginalsFirst",
    "MarginalsFirstSpec",
    "MaskGITSampler",
    "MaskGITSamplerSpec",
    "Raster",
    "RasterSpec",
    "Sampler",
    "SamplerSpec",
    "Setting",
    "Step",
    "described_samplers",
    "settings_of",
]
