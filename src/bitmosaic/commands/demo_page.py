"""The page of `bitmosaic demo`: one HTML file with its pictures inside, for narrow and wide windows, light and dark."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from io import BytesIO
from string import Template
from typing import Any

from PIL import Image

FILM = 6  # stills of the reveal


@dataclass(frozen=True)
class Pictures:
    """What the page shows."""

    drawn: list[Image.Image]  # class by class
    given: list[Image.Image]  # real images
    made: list[Image.Image]  # their reconstructions
    frames: list[Image.Image]  # of the reveal, the first before its first step
    reveal: bytes  # the animation, a GIF


def page(facts: dict[str, Any], pictures: Pictures) -> str:
    """The HTML text; `facts` are plain values, those of demo.json."""
    places = facts["grid"][0] * facts["grid"][1]
    again = {f"{name}_command": escape(text) for name, text in facts["commands"].items()}
    return PAGE.substitute(
        again,
        style=STYLE,
        name=escape(facts["pipeline"]),
        bits=f"{places * facts['bits']:,}",
        grid=f"{facts['grid'][0]} &times; {facts['grid'][1]} places of {facts['bits']} bits",
        cards=cards(facts, len(pictures.drawn)),
        class_text=class_text(facts),
        classes=class_rows(facts, pictures.drawn),
        pair_text=pair_text(facts),
        pairs=pair_figures(facts["psnr"], pictures),
        revealed=escape(facts["revealed"]),
        seed=facts["seed"],
        rounds=len(facts["known"]),
        first=facts["known"][0],
        places=places,
        reveal=animated(facts["revealed"], pictures),
        film=film(pictures.frames, [0, *facts["known"]], places),
        timings=timings(facts["seconds"], pictures),
        settings=cells((), settings(facts).items()),
        machine=cells((), facts["machine"].items()),
    )


def cards(facts: dict[str, Any], drawn: int) -> str:
    """Four numbers to begin with."""
    tokenizer, prior = facts["parameters"]["tokenizer"], facts["parameters"]["prior"]
    size = facts["bits"] * facts["grid"][0] * facts["grid"][1]
    raw = 8 * facts["channels"] * facts["image_size"][0] * facts["image_size"][1]
    seconds, kept = facts["seconds"]["drawing the classes"], facts["reconstruction"]
    found = [
        (f"{size:,} bits", f"an image; its pixels take {raw / size:.1f} times as many"),
        (f"{seconds / drawn:.2f} s", f"an image drawn; {drawn} images took {seconds:.1f} s"),
        (f"{kept['psnr']:.1f} dB", f"PSNR of {kept['count']} real images, SSIM {kept['ssim']:.2f}"),
        (short(tokenizer + prior), f"parameters: {short(prior)} in the prior, {short(tokenizer)} in the tokenizer"),
    ]
    return "\n".join(f'<div class="card"><b>{number}</b><span>{text}</span></div>' for number, text in found)


def short(number: int) -> str:
    """Thousands or millions."""
    return f"{number / 1e6:.1f} M" if number >= 1e5 else f"{number / 1e3:.1f} k"


def class_text(facts: dict[str, Any]) -> str:
    """What the rows and columns are."""
    shown, all_of_them, seed = len(facts["classes"]), facts["of_classes"], facts["seed"]
    if not all_of_them:
        return f"This pipeline has no classes. A column is a seed, from {seed} on."
    first = f"The first {shown} of {all_of_them:,} classes. " if all_of_them > shown else ""
    rest = "An image depends on these two and the settings alone."
    return f"{first}A row is a class, a column a seed, from {seed} on. {rest}"


def class_rows(facts: dict[str, Any], drawn: Sequence[Image.Image]) -> str:
    """A row of images for each class."""
    count, found = facts["count"], []
    for i, name in enumerate(facts["classes"]):
        images = drawn[i * count : (i + 1) * count]
        tiles = "".join(picture(image, f"{name}, seed {facts['seed'] + j}") for j, image in enumerate(images))
        tiles = f'<div class="tiles" style="--n:{min(count, 8)}">{tiles}</div>'
        found.append(f'<div class="row"><h3>{escape(name)}</h3>{tiles}</div>')
    return "\n".join(found)


def pair_text(facts: dict[str, Any]) -> str:
    """Which images these are."""
    shipped = "Test images of Fashion-MNIST, on which the recipe of that name does not train."
    named = escape(f"From {', '.join(facts['images'][:3])}.")
    return f"{named if facts['images'] else shipped} Each stands above what the decoder makes of its code."


def pair_figures(psnr: Sequence[float], pictures: Pictures) -> str:
    """Each real image above its reconstruction, with its PSNR."""
    found = []
    for i, (given, made, value) in enumerate(zip(pictures.given, pictures.made, psnr, strict=True), 1):
        both = picture(given, f"real image {i}") + picture(made, f"reconstruction {i}")
        found.append(f"<figure>{both}<figcaption>{value:.1f} dB</figcaption></figure>")
    return "\n".join(found)


def animated(name: str, pictures: Pictures) -> str:
    """The animation, or its last frame for those who want no motion."""
    moving = f"data:image/gif;base64,{base64.b64encode(pictures.reveal).decode()}"
    still = f'<source media="(prefers-reduced-motion: reduce)" srcset="{png(pictures.frames[-1])}">'
    return f'<picture>{still}<img src="{moving}" alt="{escape(name)}, revealed place by place"></picture>'


def film(frames: Sequence[Image.Image], known: Sequence[int], places: int) -> str:
    """Some frames beside each other; frame 0 is before the first step."""
    last = len(frames) - 1
    found = []
    for i in sorted({round(last * j / (FILM - 1)) for j in range(FILM)}):
        caption = f"<figcaption>step {i}<br>{known[i]} of {places}</figcaption>"
        found.append(f"<figure>{picture(frames[i], f'after step {i}')}{caption}</figure>")
    return "\n".join(found)


def settings(facts: dict[str, Any]) -> dict[str, Any]:
    """The sampler's fields, in words."""
    found = {name.replace("_", " "): value for name, value in facts["settings"].items()}
    found["type"] = found["type"].removesuffix("Spec")
    return {**found, "first seed": facts["seed"], "precision": facts["precision"]}


def timings(seconds: dict[str, float], pictures: Pictures) -> str:
    """Seconds of each part, and for one image."""
    images = {
        "drawing the classes": len(pictures.drawn),
        "reconstructing real images": len(pictures.given),
        "revealing one image": 1,
    }
    rows = []
    for part, time in seconds.items():
        each = f"{time / images[part]:.3f} s" if part in images else ""
        rows.append((part, images.get(part, ""), f"{time:.2f} s", each))
    return cells(("", "images", "time", "each"), rows)


def cells(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table; the first cell of a row names it."""
    top = "".join(f'<th scope="col">{escape(text)}</th>' for text in head)
    found = [f"<tr>{top}</tr>"] if head else []
    for first, *rest in rows:
        values = "".join(f"<td>{escape(str(value))}</td>" for value in rest)
        found.append(f'<tr><th scope="row">{escape(str(first))}</th>{values}</tr>')
    return f"<table>{''.join(found)}</table>"


def picture(image: Image.Image, text: str) -> str:
    """An image with its pixels in the page."""
    return f'<img src="{png(image)}" alt="{escape(text)}" title="{escape(text)}">'


def png(image: Image.Image) -> str:
    """An image as the text of a link."""
    data = BytesIO()
    image.save(data, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}"


STYLE = """
:root {
  color-scheme: light dark;
  --paper: #faf9f6; --card: #fff; --ink: #1d1c1a; --soft: #68645d; --line: #e4e0d8; --strong: #0b6b61;
}
@media (prefers-color-scheme: dark) {
  :root { --paper: #131416; --card: #1b1d20; --ink: #eae8e3; --soft: #a09c94; --line: #2d3034; --strong: #6fd6c6; }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
}
main { max-width: 1080px; margin: 0 auto; padding: 40px 24px 64px; }
header { display: flex; gap: 20px; align-items: center; }
header svg { flex: none; width: 56px; height: 56px; fill: var(--strong); }
h1 { margin: 0; font-size: 34px; line-height: 1.15; letter-spacing: -.02em; }
h2 { margin: 64px 0 4px; font-size: 23px; line-height: 1.25; letter-spacing: -.01em; }
h3 { margin: 0; font-size: 14px; font-weight: 500; color: var(--soft); }
p { margin: 0; max-width: 72ch; color: var(--soft); }
b { color: var(--ink); font-weight: 600; }
header p { font-size: 17px; overflow-wrap: anywhere; }
a { color: var(--strong); }
img { display: block; width: 100%; height: auto; image-rendering: pixelated; border-radius: 3px; }
.cards { display: grid; grid-template-columns: repeat(4, 1fr); gap: 12px; margin-top: 32px; }
.card { padding: 14px 16px; background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
.card b { display: block; font-size: 25px; line-height: 1.25; letter-spacing: -.01em; color: var(--strong); }
.card span { display: block; font-size: 14px; line-height: 1.4; color: var(--soft); }
.rows { display: grid; gap: 8px; margin-top: 20px; }
.row { display: grid; grid-template-columns: 88px 1fr; gap: 16px; align-items: center; }
.row h3 { overflow-wrap: anywhere; }
.tiles { display: grid; grid-template-columns: repeat(var(--n), minmax(0, 1fr)); gap: 8px; }
.tiles { max-width: calc(var(--n) * 124px - 8px); }
.pairs { display: grid; grid-template-columns: repeat(8, minmax(0, 1fr)); gap: 20px 8px; margin-top: 20px; }
figure { margin: 0; display: grid; gap: 4px; align-content: start; }
figcaption { font-size: 13px; line-height: 1.35; text-align: center; color: var(--soft); }
figcaption, table { font-variant-numeric: tabular-nums; }
.reveal { display: grid; grid-template-columns: 224px 1fr; gap: 28px; align-items: center; margin-top: 20px; }
.film { display: grid; grid-template-columns: repeat(6, minmax(0, 1fr)); gap: 8px; margin-top: 20px; }
.film img { image-rendering: auto; }
.again { display: flex; flex-wrap: wrap; gap: 4px 12px; align-items: baseline; margin-top: 20px; }
.again { font-size: 14px; color: var(--soft); }
code {
  display: block; max-width: 100%; overflow-x: auto; padding: 5px 10px; white-space: pre; color: var(--ink);
  background: var(--card); border: 1px solid var(--line); border-radius: 6px;
  font: 13px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace;
}
.tables { display: grid; grid-template-columns: 1.25fr 1fr; gap: 32px 40px; margin-top: 20px; }
.tables h3 { margin-bottom: 6px; color: var(--ink); }
table { width: 100%; border-collapse: collapse; font-size: 14px; }
th, td { padding: 5px 0 5px 12px; border-bottom: 1px solid var(--line); text-align: right; vertical-align: top; }
th { color: var(--soft); font-weight: 400; }
td { white-space: nowrap; }
tr > :first-child { padding-left: 0; text-align: left; }
.wide { grid-column: 1 / -1; }
.wide td { text-align: left; white-space: normal; }
footer { margin-top: 56px; padding-top: 16px; border-top: 1px solid var(--line); font-size: 14px; color: var(--soft); }
@media (max-width: 800px) {
  .cards { grid-template-columns: repeat(2, 1fr); }
  .tables { grid-template-columns: minmax(0, 1fr); }
  .wide { grid-column: auto; }
  .pairs { gap: 16px 6px; }
}
@media (max-width: 560px) {
  main { padding: 24px 16px 48px; }
  header { align-items: flex-start; gap: 14px; }
  header svg { width: 40px; height: 40px; }
  h1 { font-size: 27px; }
  h2 { margin-top: 48px; font-size: 20px; }
  .card { padding: 11px 12px; }
  .card b { font-size: 20px; }
  .row { grid-template-columns: minmax(0, 1fr); gap: 2px; }
  .rows { gap: 10px; }
  .tiles { gap: 3px; }
  .pairs { grid-template-columns: repeat(4, minmax(0, 1fr)); }
  .reveal { grid-template-columns: minmax(0, 1fr); gap: 16px; }
  .reveal picture { max-width: 224px; }
  .film { grid-template-columns: repeat(3, minmax(0, 1fr)); gap: 10px 6px; }
  td, th { padding-left: 8px; }
}
"""

PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>bitmosaic: $name</title>
<style>$style</style>
</head>
<body>
<main>
<header>
<svg viewBox="0 0 28 28" aria-hidden="true">
<path d="M0 0h8v8H0zM10 0h8v8h-8zM0 10h8v8H0zM20 10h8v8h-8zM10 20h8v8h-8zM20 20h8v8h-8z"/>
<path opacity=".3" d="M20 0h8v8h-8zM10 10h8v8h-8zM0 20h8v8H0z"/>
</svg>
<div>
<h1>bitmosaic</h1>
<p>Images as small grids of discrete codes. An image of the pipeline <b>$name</b> is $grid, $bits bits in all.</p>
</div>
</header>

<div class="cards">
$cards
</div>

<section>
<h2>New images of each class</h2>
<p>$class_text</p>
<div class="rows">
$classes
</div>
<div class="again">Again, as files: <code>$classes_command</code></div>
</section>

<section>
<h2>Real images, and what $bits bits keep of them</h2>
<p>$pair_text</p>
<div class="pairs">
$pairs
</div>
<div class="again">Again: <code>$reconstructions_command</code></div>
</section>

<section>
<h2>One image, place by place</h2>
<div class="reveal">
$reveal
<p><b>$revealed</b>, seed $seed. At first nothing is known. In each of $rounds rounds the prior looks at all that is
known, draws every hidden place, and keeps those of which it is most certain: $first of $places in the first round, more
in the later ones. Grey places are still hidden. What stands beside them changes a little as they become known, for the
decoder sees all places at once.</p>
</div>
<div class="film">
$film
</div>
<div class="again">Again, with this page: <code>$reveal_command</code></div>
</section>

<section>
<h2>How this was made</h2>
<div class="tables">
<div><h3>Time</h3>$timings</div>
<div><h3>Sampler</h3>$settings</div>
<div class="wide"><h3>Machine</h3>$machine</div>
</div>
</section>

<footer>The pictures are also files beside this page: <a href="classes.png">classes.png</a>,
<a href="reconstructions.png">reconstructions.png</a>, <a href="reveal.gif">reveal.gif</a>.</footer>
</main>
</body>
</html>
""")
