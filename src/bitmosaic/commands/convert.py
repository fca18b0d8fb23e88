"""`bitmosaic convert`: the authors' checkpoints as a pipeline folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro

from bitmosaic.codes import described
from bitmosaic.convert import convert as convert_files
from bitmosaic.convert import convert_part
from bitmosaic.folders import read_json
from bitmosaic.names import plain
from bitmosaic.priors import MaskedPriorSpec
from bitmosaic.priors.base import PriorSpec
from bitmosaic.spec import Spec

TYPES = {"kept": None, "float32": torch.float32, "float16": torch.float16, "bf16": torch.bfloat16}
Published = Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: as published)")]
OfFile = Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: as the file says, or 256)")]
Target = Annotated[
    Literal["flips", "x_0"] | None, tyro.conf.arg(metavar="{flips,x_0}", help_behavior_hint="(default: as the file says, or flips)")
]
Scheme = Annotated[
    Literal["nearest", "cosine", "ibq"] | None, tyro.conf.arg(metavar="{nearest,cosine,ibq}", help_behavior_hint="(default: as published)")
]
PublishedFloat = Annotated[float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint="(default: as published)")]


def convert(
    tokenizer: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="TOKENIZER")],
    prior: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="PRIOR", help_behavior_hint="")] = None, *,
    out: Path = Path("pipeline"), heads: Published = None, target: Target = None, timesteps: OfFile = None,
    grid: Annotated[tuple[int, int] | None, tyro.conf.arg(metavar="ROWS COLUMNS", help_behavior_hint="(default: as published)")] = None,
    quantizer: Scheme = None, steps: Published = None, evaluations: Published = None, guidance_scale: PublishedFloat = None,
    temperature: PublishedFloat = None,
    class_names: Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="")] = None,
    dtype: Literal["kept", "float32", "float16", "bf16"] = "kept",
) -> Path:  # fmt: skip
    """Converts two published checkpoints, of a tokenizer and a prior, to a pipeline's folder: BiGR's (.th, .pt), or a VQGAN in the layout
    of taming-transformers, LlamaGen, Open-MAGVIT2, SimVQ or IBQ with LlamaGen's class-conditional prior or TiTok's MaskGIT, or FQGAN's
    tokenizer with its prior FAR.

    All sizes are read off the tensors. Files are memory-mapped and nothing in them is executed; for missing, unexpected or damaged
    tensors the error has their names. The sampler's settings become the pipeline's defaults; those not given are the published ones.

    A single file of either kind becomes the folder of that part: 'bitmosaic convert bigr_L_d24.pt --out prior'. Prior.from_pretrained
    in Python reads it, and it can be given in place of the file later: 'bitmosaic convert bae_d24.th prior --out L'.

    Args:
        tokenizer: the published tokenizer, such as bae_d24.th, or the folder converted from it; or a single file of either kind.
        prior: the published prior, such as bigr_L_d24.pt, or the folder converted from it.
        out: folder to write; an older pipeline there is replaced, any other folder is not.
        heads: of attention, which tensors do not show; published: of a prior width / 64, of the adapters of FQGAN's tokenizer alone 8.
        target: what the prior's head predicts; published: flips. An error where the file itself names another.
        timesteps: T of the head's diffusion, for a file without a noise schedule.
        grid: places of a prior over indices, which tensors do not show; published: 16 16 for LlamaGen, one row for TiTok's MaskGIT.
        quantizer: which codeword of a codebook a vector has, the nearest, that of the largest cosine, or of the largest product (IBQ);
            published: nearest in taming's layout, cosine in LlamaGen's, ibq where a file of taming's layout has averaged weights.
        steps: rounds of the sampler.
        evaluations: of the head in each round.
        guidance_scale: of classifier-free guidance; 1: none.
        temperature: of the Gumbel noise on the order in which places are revealed.
        class_names: text file with the name of a class on each line, or a JSON list; none: classes are numbers.
        dtype: of the weights on disk; kept: bit for bit as in the checkpoint. Loading converts them to float32.

    Returns:
        The folder.
    """
    given = {"steps": steps, "evaluations": evaluations, "guidance_scale": guidance_scale, "temperature": temperature}
    given = {name: value for name, value in given.items() if value is not None}
    if prior is None:
        if given or class_names:
            named = [*given, *["class_names"] * (class_names is not None)]
            raise ValueError(f"{', '.join(named)}: a single part has no sampler and no class names; give these with both parts")
        out = convert_part(
            tokenizer, out, heads=heads, target=target, timesteps=timesteps, grid=grid, quantizer=quantizer, dtype=TYPES[dtype]
        )
        spec = Spec.from_json(read_json(out / "config.json"))
        if isinstance(spec, PriorSpec):
            print(plain(f"prior:    {about(spec)}: {out}"), plain(f"join it:  bitmosaic convert TOKENIZER {out}"), sep="\n")
        else:
            print(plain(f"tokenizer: {described(spec.radix)}: {out}"), plain(f"join it:   bitmosaic convert {out} PRIOR"), sep="\n")
        return out
    names = read_names(class_names) if class_names else ()
    out = convert_files(
        tokenizer, prior, out, heads=heads, target=target, timesteps=timesteps, grid=grid, quantizer=quantizer, settings=given,
        class_names=names, dtype=TYPES[dtype],
    )  # fmt: skip
    spec = Spec.from_json(read_json(out / "prior" / "config.json"))
    print(f"prior:    {about(spec)}", plain(f"pipeline: {out}"), plain(f"sample:   bitmosaic sample {out}"), sep="\n")
    return out


def about(spec: Spec) -> str:
    """A prior's sizes in words, those read off its file and those taken as published."""
    blocks = f"{spec.depth} blocks of {spec.width}, {spec.heads} heads"
    if not isinstance(spec, MaskedPriorSpec):
        return f"{blocks}, {spec.grid[0]} x {spec.grid[1]} places, {described(spec.radix)}"
    blocks += f", {'adaLN' if spec.modulated else 'no adaLN'}"
    return f"{blocks}, {spec.bits} bits a place; head towards {spec.head.target}, T = {spec.head.steps}"


def read_names(path: Path) -> list[str]:
    """Names of classes from a text file with one a line, or a JSON list of strings. ValueError for other content."""
    path = Path(path).expanduser()
    if path.suffix == ".json":
        names = read_json(path)
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError(f"class_names: {path} is not a JSON list of strings; give one, or a text file with a name on each line")
        return names
    if path.exists() and not path.is_file():  # reading a pipe might wait for ever
        raise ValueError(f"class_names: {path} is no plain file; give one with a name on each line")
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise ValueError(f"class_names: {path} is not UTF-8 text ({error}); give a file with a name on each line") from error
