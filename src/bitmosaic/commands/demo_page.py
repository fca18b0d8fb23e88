"""The page of `bitmosaic demo`: one HTML file with its pictures inside, for narrow and wide windows, light and dark."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from PIL import Image

from bitmosaic.pages import Markup, data_url, filled, png_url
from bitmosaic.pages import part as page_part

FILM = 6  # stills of the reveal
part = partial(page_part, "demo")


@dataclass(frozen=True)
class Pictures:
    """The pictures of the page."""

    drawn: list[Image.Image]  # class by class
    codes: CodesPictures | None = None  # of a pipeline that has codes


@dataclass(frozen=True)
class CodesPictures:
    """The pictures of a pipeline that has codes."""

    given: list[Image.Image]  # real images
    made: list[Image.Image]  # their reconstructions
    frames: list[Image.Image]  # of the reveal, the first before its first step
    reveal: bytes  # the animation, a GIF


def page(facts: dict[str, Any], pictures: Pictures) -> Markup:
    """The HTML text; `facts` are plain values, those of demo.json."""
    return filled(
        "demo",
        name=facts["pipeline"],
        about=about(facts),
        cards=cards(facts, len(pictures.drawn)),
        class_text=class_text(facts),
        classes=class_rows(facts, pictures.drawn),
        classes_command=facts["commands"]["classes"],
        codes=codes(facts, pictures.codes) if pictures.codes else None,
        timings=timings(facts["seconds"], pictures),
        settings=cells((), settings(facts).items()),
        machine=cells((), facts["machine"].items()),
        files=part("files-with-codes" if pictures.codes else "files-without-codes"),
    )


def about(facts: dict[str, Any]) -> Markup:
    """A sentence on the pipeline and its codes."""
    if "grid" not in facts:
        height, width = facts["image_size"]
        return part("without-codes", name=facts["pipeline"], width=width, height=height)
    (rows, columns), bits = facts["grid"], facts["bits"]
    return part("with-codes", name=facts["pipeline"], rows=rows, columns=columns, bits=bits, size=f"{rows * columns * bits:,}")


def codes(facts: dict[str, Any], pictures: CodesPictures) -> Markup:
    """The sections on reconstruction and reveal."""
    places, name = facts["grid"][0] * facts["grid"][1], facts["revealed"]
    return part(
        "codes",
        bits=f"{places * facts['bits']:,}",
        pair_text=pair_text(facts),
        pairs=pair_figures(facts["psnr"], pictures),
        reconstructions_command=facts["commands"]["reconstructions"],
        revealed=name,
        seed=facts["seed"],
        reveal_text=reveal_text(facts, places),
        reveal=part("reveal", name=name, still=png_url(pictures.frames[-1]), moving=data_url(pictures.reveal, "image/gif")),
        film=film(pictures.frames, [0, *facts["known"]], places),
        reveal_command=facts["commands"]["reveal"],
    )


def reveal_text(facts: dict[str, Any], places: int) -> str:
    """How a reveal proceeds, by the family of the prior."""
    rounds, first = len(facts["known"]), facts["known"][0]
    if facts["family"] == "denoising":
        masks = f"{first} of {places} places hold a code after the first, and any" if first < places else "any place"
        return f"At first there is noise. In each of {rounds} steps the prior predicts the codes: {masks} may change until the last."
    one_by_one = "The prior draws one place after another, row by row, each given all before it."
    at_once = (
        f"In each of {rounds} rounds the prior predicts every hidden place from the known ones, and keeps those draws of which it is most "
        f"certain: {first} of {places} in the first round, more in the later ones."
    )
    return (
        f"At first nothing is known. {one_by_one if facts['family'] == 'causal' else at_once} Grey places are still hidden. Their "
        "neighbours change a little as they become known, since the decoder sees all places at once."
    )


def cards(facts: dict[str, Any], drawn: int) -> list[Markup]:
    """A few numbers to begin with."""
    seconds, parameters = facts["seconds"]["drawing the classes"], facts["parameters"]
    found = [(f"{seconds / drawn:.2f} s", f"an image drawn; {drawn} images took {seconds:.1f} s")]
    if "grid" in facts:
        size, kept = facts["bits"] * facts["grid"][0] * facts["grid"][1], facts["reconstruction"]
        raw = 8 * facts["channels"] * facts["image_size"][0] * facts["image_size"][1]
        found.insert(0, (f"{size:,} bits", f"an image; its pixels take {raw / size:.1f} times as many"))
        found.append((f"{kept['psnr']:.1f} dB", f"PSNR of {kept['count']} real images, SSIM {kept['ssim']:.2f}"))
    each = ", ".join(f"{short(number)} in the {part}" for part, number in reversed(parameters.items()))
    found.append((short(sum(parameters.values())), f"parameters: {each}"))
    return [part("card", number=number, text=text) for number, text in found]


def short(number: int) -> str:
    """Thousands or millions."""
    return f"{number / 1e6:.1f} M" if number >= 1e5 else f"{number / 1e3:.1f} k"


def class_text(facts: dict[str, Any]) -> str:
    """What rows and columns mean."""
    shown, all_of_them, seed = len(facts["classes"]), facts["of_classes"], facts["seed"]
    if not all_of_them:
        return f"This pipeline has no classes. A column is a seed, from {seed} on."
    first = f"The first {shown} of {all_of_them:,} classes. " if all_of_them > shown else ""
    rest = "An image depends on these two and the settings alone."
    return f"{first}A row is a class, a column a seed, from {seed} on. {rest}"


def class_rows(facts: dict[str, Any], drawn: Sequence[Image.Image]) -> list[Markup]:
    """A row of images for each class."""
    count, found = facts["count"], []
    for i, name in enumerate(facts["classes"]):
        images = drawn[i * count : (i + 1) * count]
        tiles = [picture(image, f"{name}, seed {facts['seed'] + j}") for j, image in enumerate(images)]
        found.append(part("class", name=name, columns=min(count, 8), pictures=tiles))
    return found


def pair_text(facts: dict[str, Any]) -> str:
    """Which images these are."""
    of = "of the landscapes" if facts["channels"] == 3 else "of Fashion-MNIST"
    shipped = f"Bundled test images {of}, on which no recipe trains."
    named = f"From {', '.join(facts['images'][:3])}."
    return f"{named if facts['images'] else shipped} Each is shown above its reconstruction."


def pair_figures(psnr: Sequence[float], pictures: CodesPictures) -> list[Markup]:
    """Each real image above its reconstruction, with its PSNR."""
    found = []
    for i, (given, made, value) in enumerate(zip(pictures.given, pictures.made, psnr, strict=True), 1):
        both = {"given": picture(given, f"real image {i}"), "made": picture(made, f"reconstruction {i}")}
        found.append(part("pair", **both, psnr=f"{value:.1f}"))
    return found


def film(frames: Sequence[Image.Image], known: Sequence[int], places: int) -> list[Markup]:
    """Some frames beside each other; frame 0 is before the first step."""
    last = len(frames) - 1
    steps = sorted({round(last * j / (FILM - 1)) for j in range(FILM)})
    return [part("still", picture=picture(frames[i], f"after step {i}"), step=i, known=known[i], places=places) for i in steps]


def settings(facts: dict[str, Any]) -> dict[str, Any]:
    """The sampler's fields, in words."""
    found = {name.replace("_", " "): value for name, value in facts["settings"].items()}
    found["type"] = found["type"].removesuffix("Spec")
    return {**found, "first seed": facts["seed"], "precision": facts["precision"]}


def timings(seconds: dict[str, float], pictures: Pictures) -> Markup:
    """Seconds of each part, and for one image."""
    images = {"drawing the classes": len(pictures.drawn)}
    if pictures.codes:
        images |= {"reconstructing real images": len(pictures.codes.given), "revealing one image": 1}
    rows = []
    for part, time in seconds.items():
        each = f"{time / images[part]:.3f} s" if part in images else ""
        rows.append((part, images.get(part, ""), f"{time:.2f} s", each))
    return cells(("", "images", "time", "each"), rows)


def cells(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> Markup:
    """A table; the first cell of a row names it."""
    top = part("head", cells=[part("head-cell", cell=text) for text in head]) if head else None
    found = [part("row", first=first, cells=[part("cell", cell=str(value)) for value in rest]) for first, *rest in rows]
    return part("table", head=top, rows=found)


def picture(image: Image.Image, text: str) -> Markup:
    """An image with its pixels in the page."""
    return part("picture", source=png_url(image), text=text)
