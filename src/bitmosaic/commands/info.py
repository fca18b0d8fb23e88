"""`bitmosaic info`: describes a pipeline, or the progress of a training run."""

from __future__ import annotations

import math
from json import dumps
from pathlib import Path
from typing import Any

from bitmosaic.commands.arguments import Flag, PipelineName
from bitmosaic.commands.pipelines import DEFAULT, find, fingerprint
from bitmosaic.names import plain
from bitmosaic.nets.parameters import parameters_of
from bitmosaic.pipelines import Pipeline, TwoStagePipeline
from bitmosaic.spec import Spec
from bitmosaic.train.overview import about_run


def info(pipeline: PipelineName = DEFAULT, *, json: Flag = False) -> dict:
    """Describes a pipeline (sizes, parameters, bits of an image, classes, sampler) or a training run (stages, metrics).

    Args:
        pipeline: name of a shipped pipeline (see 'bitmosaic list'), or folder of a pipeline or of a training run.
        json: print it as JSON.

    Returns:
        The description, as printed with --json.
    """
    folder = Path(pipeline).expanduser()
    running = (folder / "run.json").is_file()
    found = about_run(folder) if running else about_pipeline(pipeline)
    print(dumps(found, indent=1) if json else run_text(found) if running else pipeline_text(found))
    return found


def about_pipeline(name: str) -> dict[str, Any]:
    """Facts of a pipeline; loads all its weights."""
    folder = find(name)
    pipe = Pipeline.from_pretrained(folder)
    files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
    codes = isinstance(pipe, TwoStagePipeline)
    return {
        "pipeline": str(name),
        "folder": str(folder),
        "kind": type(pipe).__name__,
        "medium": pipe.medium.to_json(), "image_size": [*pipe.size], "signal": pipe.medium.about(pipe.size),
        "channels": pipe.channels,
        **(about_codes(pipe) if codes else {}),
        "parameters": {part: parameters_of(network) for part, network in pipe.parts.items()} | (of_head(pipe) if codes else {}),
        **{part: network.spec.to_json() for part, network in pipe.parts.items()},
        "sampler": pipe.settings().to_json(),
        "condition": pipe.reader.kind, "classes": [*pipe.class_names],
        **({"fingerprint": fingerprint(name)} if codes else {}),
        "files": {file.relative_to(folder).as_posix(): file.stat().st_size for file in files},
    }


def about_codes(pipe: TwoStagePipeline) -> dict[str, Any]:
    """Sizes of an image's code: places, bits, and how many times smaller than 8-bit pixels."""
    bits = sum((r - 1).bit_length() for r in pipe.radix)
    size = math.prod(pipe.grid) * bits
    raw = 8 * pipe.medium.stored.itemsize * pipe.channels * math.prod(pipe.size)
    return {"grid": [*pipe.grid], "bits_per_place": bits, "bits_per_image": size, "times_smaller_than_pixels": round(raw / size, 2)}


def of_head(pipe: TwoStagePipeline) -> dict[str, int]:
    """Parameters of the prior's head, where it has one of its own."""
    return {"of_which_head": parameters_of(pipe.prior.head)} if hasattr(pipe.prior, "head") else {}


def pipeline_text(found: dict[str, Any]) -> str:
    """A small table."""
    parameters, sampler, names = found["parameters"], found["sampler"], found["classes"]
    shown = ", ".join(names[:20]) + (f", and {len(names) - 20} more" if len(names) > 20 else "")
    head = f", {parameters['of_which_head']:,} in the head" if "of_which_head" in parameters else ""
    parts = [part for part in parameters if part != "of_which_head"]
    settings = ", ".join(f"{name} {value}" for name, value in sampler.items() if name != "type")
    return table([
        ("pipeline", f"{found['pipeline']} ({found['folder']})"),
        signals_row(found),
        *(codes_rows(found) if "grid" in found else []),
        *((part, f"{word(found[part])}, {parameters[part]:,} parameters{head if part == 'prior' else ''}") for part in parts),
        ("sampler", f"{word(sampler)}{': ' if settings else ''}{settings}"),
        ("classes", f"{len(names)}: {shown}" if names else "none; it takes text" if found["condition"] == "text" else "none"),
        *([("fingerprint", f"{found['fingerprint'][:16]} of the tokenizer")] if "fingerprint" in found else []),
        ("files", f"{sum(found['files'].values()) / 1e6:.1f} MB in {len(found['files'])} files"),
    ])  # fmt: skip


def signals_row(found: dict[str, Any]) -> tuple[str, str]:
    """The row on the signals that a pipeline draws."""
    if found["medium"]["type"] == "Pictures":
        height, width = found["image_size"]
        return "images", f"{height} x {width} pixels, {'grey' if found['channels'] == 1 else 'colour'}"
    return Spec.table[found["medium"]["type"]].plural, f"{found['signal']}, {found['channels']} channel{'s'[: found['channels'] > 1]}"


def codes_rows(found: dict[str, Any]) -> list[tuple[str, str]]:
    """The rows on codes."""
    size = found["bits_per_image"]
    smaller = f"{found['times_smaller_than_pixels']:g} times smaller than its pixels"
    return [
        ("codes", f"{' x '.join(map(str, found['grid']))} places of {found['bits_per_place']} bits"),
        ("", f"{size:,} bits or {-(-size // 8):,} bytes an image, {smaller}"),
    ]


def word(spec: dict[str, Any]) -> str:
    """The name of what a spec describes."""
    return spec["type"].removesuffix("Spec")


def minutes_left(at: dict[str, Any]) -> str:
    """The remaining time of a running stage, to append to a text; empty where it is not known."""
    left = at["seconds_left"]
    return "" if left is None else f", about {left / 60:.0f} min left"


def run_text(found: dict[str, Any]) -> str:
    """A small table."""
    lines = [("run", f"{found['run']} ({found['folder']})")]
    for name, at in found["stages"].items():
        if "step" not in at:
            text = "done" if at["done"] else "not yet"
        elif not at["step"]:
            text = "done" if at["done"] else "not yet"
        else:
            share = (
                "done"
                if at["done"]
                else f"{100 * at['step'] / at['steps']:.0f} %{minutes_left(at)}"
            )
            metrics = ", ".join(f"{k} {v:.4g}" for k, v in at["last"].items() if k not in ("step", "seconds"))
            text = f"step {at['step']:,} of {at['steps']:,} ({share}): {metrics}"
        lines.append((name, text))
    if found["reconstruction"]:
        report = found["reconstruction"]
        ssim = "" if report["ssim"] is None else f", SSIM {report['ssim']:.4f}"  # sound has none
        lines.append(("tokenizer", f"PSNR {report['psnr']:.2f} dB{ssim} on {report['count']:,} images"))
    lines.append(("pipeline", found["pipeline"] or "not yet; the same train command goes on where it was"))
    lines += [("chosen" if i == 0 else "", reason) for i, reason in enumerate(found["reasons"])]
    return table(lines)


def table(rows: list[tuple[str, str]]) -> str:
    """A text table of two columns."""
    width = max(len(name) for name, _ in rows) + 2
    return "\n".join(plain(f"{name:<{width}}{text}") for name, text in rows)
