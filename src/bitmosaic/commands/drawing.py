"""Arguments shared by commands that draw: settings of the sampler, precision, classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, make_dataclass
from typing import Annotated, Any, Literal

import tyro

from bitmosaic.commands.arguments import OwnFloat, OwnNumber
from bitmosaic.pipelines import Condition, Pipeline
from bitmosaic.samplers import PRESETS, SAMPLERS, SETTINGS, settings_of

Class = Annotated[str, tyro.conf.arg(name="class", metavar="CLASS")]
OwnClass = Annotated[str, tyro.conf.arg(name="class", metavar="CLASS", help_behavior_hint="")]
Prompt = Annotated[str, tyro.conf.arg(metavar="TEXT", help_behavior_hint="")]
OWN = "(default: the pipeline's own)"
OwnSampler = Annotated[
    Literal[*SAMPLERS, *PRESETS] | None,
    tyro.conf.arg(metavar=f"{{{','.join([*SAMPLERS, *PRESETS])}}}", help_behavior_hint=OWN),
]
SAMPLER = (
    "entropy-ordered (the published one), marginals-first (only a shortlist of places runs the diffusion chain) or raster (one place "
    "after another, for autoregressive priors); or a preset: fast, 10 rounds of 10 evaluations with guidance 1.5 and temperature 0.17 "
    "(fashion's own are 1.75 and 0.25, else the same), or looks, chosen by eye: surer, plainer and slower. For pipelines whose "
    "codes are indices: maskgit, or llamagen where the prior is causal. For denoising priors: ancestral"
)


class SamplerSettings:
    """Settings of the sampler; the pipeline's own where left out."""

    def given(self) -> dict[str, Any]:
        """The settings that are given, as `Pipeline` takes them."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def help_of(name: str, text: str) -> str:
    """The text of a setting in --help, with the names of the samplers that have it where these are one or two."""
    having = [sampler for sampler, spec in SAMPLERS.items() if name in settings_of(spec)]
    whose = f"for {' and '.join(having)}, " if 0 < len(having) <= 2 else ""
    return f"{whose}{text}."


def _settings() -> type[SamplerSettings]:
    """A dataclass with a field for each setting, None where it is not given."""
    kinds: list[tuple[str, Any, Any]] = [(name, OwnNumber if one.whole else OwnFloat, None) for name, one in SETTINGS.items()]
    texts = {"sampler": SAMPLER + ".", **{name: help_of(name, one.text) for name, one in SETTINGS.items()}}
    told = "\n".join(f"    {name}: {text}" for name, text in texts.items())
    namespace = {"__doc__": f"{SamplerSettings.__doc__}\n\nArgs:\n{told}\n"}
    return make_dataclass("Settings", [("sampler", OwnSampler, None), *kinds], bases=(SamplerSettings,), namespace=namespace, frozen=True)


Settings = _settings()
OWN_SETTINGS = Settings()


def conditions(pipeline: Pipeline, classes: Sequence[str] = (), prompts: Sequence[str] = ()) -> list[tuple[str, Condition]]:
    """Labels and conditions of the given classes or prompts, or of all classes; without conditions there is one, labelled "image".

    ValueError for both at once, and for unknown classes.
    """
    if classes and prompts:
        raise ValueError(f"classes, prompt: got {' '.join(classes)} and {' '.join(prompts)}; give one of the two")
    if not classes and not prompts:
        return pipeline.reader.every()
    named = [condition(pipeline, text) for text in classes] + [condition(pipeline, text, "prompt") for text in prompts]
    return list({repr(pair): pair for pair in named}.values())


def named(class_: str, prompt: str) -> tuple[str, str]:
    """The argument that is given, "class" or "prompt", and its text. ValueError for both at once."""
    if prompt and class_ not in ("", "none"):
        raise ValueError(f"class, prompt: got {class_!r} and {prompt!r}; give one of the two")
    return ("prompt", prompt) if prompt else ("class", class_)


def condition(pipeline: Pipeline, text: str, argument: str = "classes") -> tuple[str, Condition]:
    """Label and condition of a class, "none" or a blend such as bag:0.5+sandal:0.5; of a text where `argument` is "prompt"."""
    return pipeline.reader.parse(text, argument)
