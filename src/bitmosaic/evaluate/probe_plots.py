"""Pictures of a probe: accuracy by layer, accuracy with few labels, images in the plane."""

from __future__ import annotations

import io
import statistics
from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

from bitmosaic.evaluate.probe import Vectors
from bitmosaic.images.text import families, shown

_COLOURS = {"layer": "#1f5fa8", "untrained": "#9a9a9a", "bits": "#d1495b", "pixels": "#66a182"}


def by_layer(found: dict, note: str) -> Image.Image:
    """Accuracy of every layer, of the untrained copy's, of bits and of pixels. `found`: as `bitmosaic probe` writes it."""
    figure, (left, right) = _figure(2)
    for axis, kind, title in ((left, "linear", "linear classifier"), (right, "neighbours", "20 nearest neighbours")):
        for name, label in (("layer", "trained prior"), ("untrained", "the same, untrained")):
            layers = [(int(key.split()[1]), 100 * a[kind]) for key, a in found["accuracy"].items() if key.startswith(name)]
            axis.plot(*zip(*layers, strict=True), marker="o", color=_COLOURS[name], label=label)
        for name, label in (("bits", "the tokenizer's bits"), ("pixels", "pixels")):
            axis.axhline(100 * found["accuracy"][name][kind], color=_COLOURS[name], linestyle="--", label=label)
        axis.set(title=title, xlabel="block", ylabel="test images right, %")
        axis.set_xticks([x for x, _ in layers])
    left.legend(frameon=False, fontsize=8)
    return _picture(figure, note)


def by_labels(found: dict, note: str) -> Image.Image:
    """Accuracy with few labelled images of each class, mean and range of the draws."""
    figure, (axis,) = _figure(1)
    for name, curve in found["few_labels"].items():
        if curve:
            n, runs = [int(k) for k in curve], [[100 * a for a in r] for r in curve.values()]
            colour = _COLOURS[name.split()[0]]
            axis.plot(n, [statistics.mean(r) for r in runs], marker="o", color=colour, label=name)
            axis.fill_between(n, [min(r) for r in runs], [max(r) for r in runs], color=colour, alpha=0.15, linewidth=0)
    axis.set_xscale("log")
    axis.set(title="linear classifier, few labels", xlabel="labelled images of each class", ylabel="test images right, %")
    axis.legend(frameon=False, fontsize=8)
    return _picture(figure, note)


def map_of(vectors: Vectors, class_names: Sequence[str], note: str, seed: int, most: int) -> Image.Image:
    """Test images in the plane by their vectors, by PCA and by t-SNE (van der Maaten and Hinton, 2008), coloured by class."""
    from sklearn.manifold import TSNE

    _, test, _ = vectors.scaled()
    test, labels = test[:most], vectors.test_labels[:most]
    centred = test - test.mean(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # pca_lowrank draws from the global generator
        _, _, axes = torch.pca_lowrank(centred, min(50, *centred.shape), center=False)
    main = torch.nn.functional.pad(centred @ axes, (0, 2))[:, : max(2, axes.shape[1])]  # two columns even of one image
    tsne = TSNE(perplexity=min(30.0, max(1.0, (len(test) - 1) / 3)), init="pca", random_state=seed)
    plane = torch.from_numpy(tsne.fit_transform(main.numpy())) if len(test) > 3 else main[:, :2]
    figure, (left, right) = _figure(2)
    for axis, points, title in ((left, main[:, :2], "PCA"), (right, plane, "t-SNE")):
        _scatter(axis, points, labels, class_names)
        axis.set(title=title, xticks=[], yticks=[])
    if len(class_names) <= 20:
        font = {"family": families(class_names), "size": 8}
        legend = figure.legend(*left.get_legend_handles_labels(), loc="outside right center", frameon=False, prop=font, markerscale=3)
        for line, name in zip(legend.get_texts(), class_names, strict=True):
            line.set(text=shown(name), parse_math=False)
    return _picture(figure, note)


def _scatter(axis, points: Tensor, labels: Tensor, class_names: Sequence[str]) -> None:
    import matplotlib

    colours = matplotlib.colormaps["tab10" if len(class_names) <= 10 else "turbo"]
    for c in range(len(class_names)):
        of_class = labels == c
        colour = colours(c) if len(class_names) <= 10 else colours(c / (len(class_names) - 1))
        axis.scatter(*points[of_class][:, :2].T.numpy(), s=5, color=colour, label=str(c), linewidths=0)


def _figure(panels: int):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((1 + 4.6 * panels, 4.4), dpi=120, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, panels, squeeze=False)[0]
    for axis in axes:
        axis.grid(color="#ececec")
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _picture(figure, note: str) -> Image.Image:
    figure.suptitle(shown(note), fontsize=9, x=0.01, ha="left", fontfamily=families([note]), parse_math=False)
    data = io.BytesIO()
    figure.savefig(data, format="png")
    return Image.open(data).convert("RGB")
