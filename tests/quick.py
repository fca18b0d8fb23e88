"""The shipped pipeline with a prior a fiftieth as large: a real tokenizer and its classes, drawn from in a fraction of the time.

For tests of what is done with a pipeline, of which none asks how good its pictures are.
"""

import dataclasses

from parts import shaken

from bitmosaic import Pipeline
from bitmosaic.priors.bernoulli_diffusion import BernoulliDiffusionSpec


def quick_pipeline() -> Pipeline:
    """With frequencies and a scale of its own, as the shipped one has."""
    shipped = Pipeline.from_pretrained("fashion")
    head = BernoulliDiffusionSpec(width=16, depth=1, steps=16)
    spec = dataclasses.replace(shipped.prior.spec, depth=2, heads=2, width=32, head=head)
    prior, fitted = shaken(spec.build()), {"static": shipped.static, "logit_scale": shipped.logit_scale}
    return Pipeline(shipped.tokenizer, prior, shipped.sampler, shipped.class_names, **fitted)
