"""One part read from a checkpoint, and checks of its tensors."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from bitmosaic.folders import check_tensors
from bitmosaic.priors.base import PriorSpec
from bitmosaic.spec import Spec

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass(frozen=True)
class Converted:
    """One part read from a checkpoint: its description, and its weights under our names, still memory-mapped."""

    spec: Spec
    tensors: dict[str, Tensor]
    published: dict[str, str] = field(default_factory=dict)  # our name -> the published one

    def check_values(self, path: str | Path, dtype: torch.dtype | None = None) -> None:
        """ValueError names tensors of the file `path` with values that are not finite, or would not be in `dtype`."""
        wrong = [self.published.get(k, k) for k, v in self.tensors.items() if not bool(v.to(dtype or v.dtype).isfinite().all())]
        if wrong:
            as_ = f" as {dtype}" if dtype is not None else ""
            raise ValueError(f"{path}: not finite{as_}: {', '.join(wrong[:8])}{' and more' if len(wrong) > 8 else ''}")

    def build(self) -> nn.Module:
        """The part, with these tensors, not copies, as its weights."""
        with torch.device("meta"):
            part = self.spec.build()
        part.load_state_dict(self.tensors, assign=True)
        return part.eval()


def check_kind(state: dict[str, Tensor]) -> None:
    """ValueError names tensors that are not dense or not floating-point."""
    wrong = [k for k, v in state.items() if v.layout is not torch.strided or v.dtype not in FLOATS]
    if wrong:
        kinds = sorted({str(state[k].dtype if state[k].layout is torch.strided else state[k].layout) for k in wrong})
        raise ValueError(f"want dense floating-point tensors, got {', '.join(kinds)}: {', '.join(wrong[:8])}")


def shape(state: dict[str, Tensor], name: str, axes: int) -> torch.Size:
    """The shape of the tensor `name`; KeyError where it is missing, ValueError unless it has that many axes."""
    if state[name].ndim != axes:
        raise ValueError(f"{name}: got shape {tuple(state[name].shape)}; want {axes} axes")
    return state[name].shape


def highest(state: dict[str, Tensor], pattern: str) -> int:
    """The highest number in names that begin with `pattern`; KeyError where there is none."""
    found = {match[1] for match in (re.match(pattern, name) for name in state) if match}
    name = pattern.replace("\\", "").replace("(d+)", "{}")
    gap = next(i for i in range(len(found) + 1) if str(i) not in found)
    if gap == 0:
        raise KeyError(name.format(0))
    if gap < len(found):  # checked before building: an index may be huge
        other = min(found - {str(i) for i in range(gap)}, key=len)[:12]
        raise ValueError(f"{name.format(gap)} is missing, although there is {name.format(other)}")
    return gap - 1


def checked(spec: Spec, part: nn.Module, ours: dict[str, Tensor], theirs_of: dict[str, str], extra: list[str]) -> Converted:
    """`ours` as the weights of `spec`, or a ValueError with the published names of tensors that are missing, extra or of a wrong shape."""
    wanted = {k: tuple(v.shape) for k, v in part.state_dict().items()}
    found = {k: tuple(v.shape) for k, v in ours.items()}

    def named(shapes):
        return {theirs_of.get(k, k): shape for k, shape in shapes.items()}

    kind = "prior" if isinstance(spec, PriorSpec) else "tokenizer"
    check_tensors(f"not a published {kind}", named(wanted), {**named(found), **dict.fromkeys(extra, ())})
    return Converted(spec, ours, theirs_of)
