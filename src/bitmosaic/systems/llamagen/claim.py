"""The claim of LlamaGen (arXiv 2406.06525, section 3.2 and Figure 3): guidance lowers FID up to a scale, and raises it beyond.

We differ in data (Fashion-MNIST for ImageNet) and sizes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bitmosaic.priors.llamagen import LlamaGenSpec
from bitmosaic.samplers import LlamaGenSamplerSpec
from bitmosaic.systems.base import Claim, Results, Task, Verdict
from bitmosaic.systems.page import spread
from bitmosaic.systems.pictures import picture_of
from bitmosaic.systems.prior_trials import SETTING, SIZES, index_figures, index_floors, index_pipeline, of_ways, ways_table

SCALES = (1.0, 1.5, 2.0, 3.0, 5.0, 8.0)
WAYS = {f"guidance {s:g}": LlamaGenSamplerSpec(guidance_scale=s) for s in SCALES}
...
