"""Cosine schedules that samplers, likelihoods and the codec share: how many places are hidden after a round, how guidance rises."""

import math


def hidden_after(step: int, total: int, hidden: int) -> int:
    """Places that stay hidden after step `step` of `total`, floor(cos(pi/2 step/total) hidden); counts the hidden places only."""
    return 0 if step >= total else math.floor(math.cos(math.pi / 2 * step / total) * hidden)


def power_cosine(scale: float, done: float, power: float) -> float:
    """Guidance that rises from 1 to `scale` (MDTv2, arXiv 2303.14389): 1 + (scale - 1) (1 - cos(pi done^power)) / 2, done in [0, 1]."""
    return 1 + (scale - 1) * (1 - math.cos(math.pi * done**power)) / 2
