"""Samplers, which draw codes from a prior; importing the package registers their specs."""

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

# The default of Pipeline(...); saved pipelines have their own settings. Of all settings measured in docs/quality_speed.md it is the fastest
# whose images are as near to real ones as with the published settings. The first quarter of the rounds has no guidance.
DEFAULT = EntropyOrderedSpec(steps=10, evaluations=10, guidance_scale=1.5, temperature=0.17, unguided=0.25)

PRESETS: dict[str, SamplerSpec] = {  # complete settings, by names that users type like those of SAMPLERS
    "fast": DEFAULT,
    "looks": MarginalsFirstSpec(steps=20, evaluations=50, guidance_scale=2.25, temperature=0.02, shortlist=2.0),  # surer, plainer; by eye
}

PRESET_WORDS = {"fast": "few steps and evaluations", "looks": "surer, plainer"}


def described_samplers() -> list[dict[str, Any]]:
    """Presets and samplers as plain values, for pages: the priors that each samples from, and which of `SETTINGS` it has."""
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
