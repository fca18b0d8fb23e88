"""The figures of an evaluation as a table of text."""

from __future__ import annotations

from typing import Any


def text(figures: dict[str, Any]) -> str:
    """The table that `bitmosaic evaluate` prints."""
    lines = [f"{'':44}{'value':>12}{'floor':>12}"]
    for group in ("samples", "reconstruction"):
        for name, value in figures.get(group, {}).items():
            if isinstance(value, dict) and "value" in value:
                lines.append(f"{title(name):44}" + "".join(f"{number:12.4f}" for number in value.values()))
    kept = figures.get("reconstruction")
    if kept is None:
        return "\n".join(lines)
    if (distance := kept.get("perceptual_distance")) is not None:
        lines.append(f"{'perceptual distance':44}{distance:12.4f}")
    rows = {"PSNR, dB": "psnr", "SSIM": "ssim", f"MS-SSIM, {kept['ms_ssim_scales']} scales": "ms_ssim", "bits an image": "bits_per_image"}
    lines += [f"{name:44}{kept[key]:12.4f}" for name, key in rows.items()]
    if "entropy_coded" in kept:
        place = kept["use"]["place"]
        lines.append(f"{'bits an image after entropy coding':44}{kept['entropy_coded']['bits_per_image']:12.4f}")
        of = f" of {place['values']:,}" if place["values"] else ""
        lines.append(f"{'values of a place that are used':44}{place['used']:12,}{of}, in {place['places']:,} places")
        lines.append(f"{'perplexity of the values of a place':44}{place['perplexity']:12.4f}")
    if kept["bits"]:
        lines.append(f"{'dead bits':44}{len(kept['bits']['dead']):12} of {len(kept['bits']['mean'])}")
    return "\n".join(lines)


def title(name: str) -> str:
    """A figure's name for people."""
    shown = {"fid": "FID", "kid": "KID", "sfid": "sFID", "rfid": "rFID", "frechet": "Frechet", "inception": "Inception"}
    return " ".join(shown.get(word, word) for word in name.split("_"))
