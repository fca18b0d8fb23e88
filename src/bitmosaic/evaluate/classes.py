"""Figures by a classifier: the share of generated images in the class asked for, and the Inception Score."""

from __future__ import annotations

import torch
from torch import Tensor


def class_agreement(logits: Tensor, asked: Tensor) -> float:
    """The share of images whose most probable class is the one asked for; logits (n, classes), asked (n,)."""
    return float((logits.argmax(1) == asked.to(logits.device)).double().mean())


def classifier_score(logits: Tensor, parts: int = 10) -> float:
    """exp of the mean KL of p(class | image) from p(class), averaged over parts of the images (Salimans et al., arXiv 1606.03498).

    Section 4 there. logits (n, classes); with Inception's it is the Inception Score. It lies between 1 and the number of classes and
    depends on n / parts. Images are assigned to parts in a fixed random order, since they may be sorted by class. ValueError for other
    shapes.
    """
    if logits.ndim != 2 or not 1 <= parts <= len(logits):
        raise ValueError(f"logits {tuple(logits.shape)} must be (n, classes), parts {parts} in 1..n")
    order = torch.randperm(len(logits), generator=torch.Generator().manual_seed(0))
    log_p = logits.double().log_softmax(1)[order]
    scores = []
    for part in (log_p[i::parts] for i in range(parts)):
        marginal = part.logsumexp(0) - torch.tensor(float(len(part)), dtype=torch.float64).log()
        scores.append((part.exp() * (part - marginal)).sum(1).mean().exp())
    return float(torch.stack(scores).mean())
