"""Parses command lines into a function's arguments with tyro; its errors become a ValueError of one line."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import io
import re
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tyro

T = TypeVar("T")

Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]  # False unless given; there is no --no-... form
OwnPipeline = Annotated[str, tyro.conf.arg(metavar="PIPELINE", help_behavior_hint="(default: the one that ships for the picture)")]
PipelineName = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PIPELINE")]
Images = Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="IMAGE ...", help_behavior_hint="")]
Background = Annotated[str, tyro.conf.arg(metavar="COLOUR", help_behavior_hint="(default: the pipeline's own)")]
OwnNumber = Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: the pipeline's own)")]
OwnFloat = Annotated[float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint="(default: the pipeline's own)")]
OwnBox = Annotated[tuple[int, int, int, int] | None, tyro.conf.arg(metavar="LEFT TOP RIGHT BOTTOM", help_behavior_hint="")]

_PLAIN = (  # messages of Python and tyro -> ours
    (r"^Error parsing ", ""),
    (r"\('(--?[\w-]+)',( '[^)]*)?\)", r"\1"),  # as tyro 1.0 names an argument
    (r" Got errors:.*", ""),
    (r"invalid literal for int\(\) with base 10: ('.*')", r"got \1; want a whole number"),
    (r"could not convert string to float: ('.*')", r"got \1; want a number"),
    (r"no type matching (\{None\}\|)?INT could be instantiated from \['(.*)'\]\.?", r"got '\2'; want a whole number"),
    (r"no type matching (\{None\}\|)?FLOAT could be instantiated from \['(.*)'\]\.?", r"got '\2'; want a number"),
    (r"^Missing value for argument '(.*)'\. Expected 1 values\.", r"\1: a value is missing"),
    (r"^Missing value for argument '(.*)'\. Expected (\d+) values\.", r"\1: needs \2 values"),
    (r"^invalid choice ('.*') for argument '(.*)'\. Expected one of \((.*)\)\.", r"\2: got \1; want one of \3"),
    (r"^Missing from [^:]*: (--\S+ \S+|\S+) (.*?)\.? \(required\)", r"missing: \1 (\2)"),
)


def read(function: Callable[..., T], arguments: Sequence[str], prog: str) -> Callable[[], T]:
    """A call of `function` with these arguments. SystemExit after --help, ValueError for wrong arguments."""
    call, rest = split(function, arguments, prog)
    refuse(rest, flags(function), prog)
    return call


def split(function: Callable[..., T], arguments: Sequence[str], prog: str) -> tuple[Callable[[], T], list[str]]:
    """A call of `function` with the arguments that it has, and the remaining arguments."""

    @functools.wraps(function)
    def later(*args, **kwargs):
        return functools.partial(function, *args, **kwargs)

    with one_line_errors(prog):
        return tyro.cli(later, prog=prog, args=arguments, return_unknown_args=True)


def override(settings: T, arguments: Sequence[str], prog: str, known: Iterable[str] = ()) -> T:
    """A copy of a dataclass with the fields changed that `--part.field value` names. known: further flags to suggest in messages.

    ValueError for unknown flags and values that do not fit.
    """
    with one_line_errors(prog):
        config = (tyro.conf.AvoidSubcommands,)
        changed, rest = tyro.cli(
            type(settings), default=settings, prog=prog, args=arguments, return_unknown_args=True, config=config
        )
    refuse(rest, [*known, *fields(settings)], prog)
    return changed


def refuse(rest: Sequence[str], known: Sequence[str], prog: str) -> None:
    """ValueError for unknown arguments, with the known flags that are similar to the first."""
    if not rest:
        return
    wrong = next((a for a in rest if a.startswith("--")), rest[0]).split("=")[0]
    if not wrong.startswith("-"):
        raise ValueError(f"unexpected argument {wrong!r}; see '{prog} --help'")
    near = get_close_matches(wrong.replace("_", "-"), known, 2, 0.75)
    siblings = [flag for flag in known if flag.rpartition(".")[0] == wrong.rpartition(".")[0]]
    perhaps = f"; perhaps {' or '.join(near)}" if near else ""
    beside = f"; there are {', '.join(siblings)}" if siblings else f"; see '{prog} --help'"
    raise ValueError(f"no argument {wrong}{perhaps}{beside}")


def flags(function: Callable) -> list[str]:
    """The flags of a function's arguments, positional ones left out."""
    parameters = inspect.signature(function, eval_str=True).parameters.values()
    named = [p for p in parameters if tyro.conf.Positional not in getattr(p.annotation, "__metadata__", ())]
    together = [f.name for p in named if dataclasses.is_dataclass(p.default) for f in dataclasses.fields(p.default)]
    single = [p.name for p in named if not dataclasses.is_dataclass(p.default)]
    return [f"--{name.strip('_').replace('_', '-')}" for name in single + together]


def fields(settings: Any, prefix: str = "--") -> list[str]:
    """The flags of a dataclass's fields, nested ones too, such as --prior.depth."""
    found = []
    for field in dataclasses.fields(settings):
        value, flag = getattr(settings, field.name), prefix + field.name.replace("_", "-")
        found += fields(value, f"{flag}.") if dataclasses.is_dataclass(value) else [flag]
    return found


@contextlib.contextmanager
def one_line_errors(prog: str):
    """Turns tyro's box of errors on stderr into a ValueError of one line; SystemExit of --help passes through."""
    box = io.StringIO()
    try:
        with contextlib.redirect_stderr(box):
            yield
    except SystemExit as end:
        if end.code:
            raise ValueError(f"{in_one_line(box.getvalue())}; see '{prog} --help'") from None
        raise


def in_one_line(box: str) -> str:
    """The first error in one of tyro's boxes, reworded as our errors are; horizontal rules separate the errors below the title."""
    rows = [row.strip("│ ") for row in re.sub(r"\x1b\[[0-9;]*m", "", box).splitlines()[1:]]
    rules = [i for i, row in enumerate(rows) if row and set(row) <= set("─-╰╯")]
    start = 1 if 0 in rules else 0
    end = next((i for i in rules if i > 0), len(rows))
    text = " ".join(" ".join(rows[start:end]).split())
    for theirs, ours in _PLAIN:
        text = re.sub(theirs, ours, text)
    return text
