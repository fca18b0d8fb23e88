"""Work for the model's thread: short calls, and sampling tasks, which are batched over requests."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any

import torch
from torch import Tensor

from bitmosaic.codes import Codes
from bitmosaic.conditions import Condition
from bitmosaic.samplers import Step
from bitmosaic.web.job import LOW, Account, Job

Ask = Callable[[Codes, Tensor, Condition | None, list[torch.Generator]], Iterator[Step]]  # a sampler with its prior


@dataclass(eq=False)
class Call:
    """A short computation; waiting calls with equal keys are batched."""

    job: Job
    key: Hashable
    many: Callable[[list], list]
    item: Any
    size: int = 1  # images in it
    inbox: SimpleQueue = field(default_factory=SimpleQueue)

    def joins(self, other: Call) -> bool:
        """Whether both may be in one batch."""
        return self.key is not None and (self.key, self.job.low) == (other.key, other.job.low)


@dataclass(eq=False)
class SamplingTask:
    """Images of one request that a sampler is to complete."""

    job: Job
    key: Hashable  # tasks with equal keys may be batched
    ask: Ask
    codes: Codes  # (b, places)
    known: Tensor  # (b, places), bool
    labels: Condition | None  # of b images
    generators: list[torch.Generator]  # one an image
    every: bool = True  # whether each step is reported, or the last one only
    alone: bool = False  # not batched with others again: a batch that it was in has failed
    told: int = 0  # steps reported so far, which are not reported again where a failed batch starts anew
    since: float = field(default_factory=time.monotonic)  # when it began to wait
    inbox: SimpleQueue = field(default_factory=SimpleQueue)


class Batch:
    """Sampling tasks that are computed together, step by step."""

    def __init__(self, parts: list[SamplingTask], used: float = 0.0):
        """used: the time that its account starts with, in seconds for each share."""
        self.parts, self.low = parts, parts[0].job.low
        self.images, self.seconds = sum(len(part.codes) for part in parts), 0.0
        self.account = Account(LOW if self.low else min(len(parts), math.sqrt(self.images)), self.low, used)
        labels = None if parts[0].labels is None else Condition.joined([part.labels for part in parts])
        codes = Codes(torch.cat([part.codes.digits for part in parts]), parts[0].codes.radix)
        generators = [rng for part in parts for rng in part.generators]
        self._states = [rng.get_state() for rng in generators] if len(parts) > 1 else []
        self._steps = parts[0].ask(codes, torch.cat([part.known for part in parts]), labels, generators)

    def round(self) -> bool:
        """One more sampling step. True while there are further steps, and a client that waits for them."""
        started = time.perf_counter()
        step = next(self._steps)
        took = time.perf_counter() - started
        self.seconds += took
        self.account.pay(took)
        start = 0
        for part in self.parts:
            own = slice(start, start := start + len(part.codes))
            if step.index > part.told and (part.every or step.index == step.total):
                part.inbox.put(Step(step.index, step.total, step.codes[own], step.known[own], step.entropy[own]))
                part.told = step.index
        if step.index == step.total or all(part.job.over for part in self.parts):
            self._steps.close()
            return False
        return True

    def failed(self, error: Exception) -> list[SamplingTask]:
        """The tasks to try again one by one, from their first step; a task that was alone gets the error instead."""
        if len(self.parts) == 1:
            self.parts[0].inbox.put(error)
            return []
        states = iter(self._states)
        for part in self.parts:
            part.alone = True
            for rng in part.generators:
                rng.set_state(next(states))
        return self.parts
