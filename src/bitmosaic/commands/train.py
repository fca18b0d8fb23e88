"""`bitmosaic train`: a recipe's arguments and every field of its run, as one command line."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import os
import re
import shlex
import typing
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated

import tyro

from bitmosaic import systems
from bitmosaic.commands.arguments import Flag, flags, override, split
from bitmosaic.commands.list import first_line
from bitmosaic.names import plain
from bitmosaic.train.claim import differences
from bitmosaic.train.dry_run import describe
from bitmosaic.train.run import Run, flat, retold
from bitmosaic.train.train import on_codes
from bitmosaic.train.train import train as train_run

FIELDS = """
Besides these, every field of the recipe's run can be set, as listed below, such as
--prior.depth 8 --prior-training.steps 100 --tokenizer-training.batch-size 32.
Parts that the recipe leaves out cannot be added here; write a recipe for that.
"""


def train(run: Run, out: str | Path | None = None, dry_run: bool = False, tensorboard: bool = False) -> Path:
    """Trains a run in a folder, or with `dry_run` only describes it; the same call again resumes.

    Args:
        run: what to train, as a recipe returns it.
        out: folder of the run; None: runs/ and the run's name.
        dry_run: print the run, its parameters and an estimate of its memory, and train nothing.
        tensorboard: write metrics into OUT/tensorboard as well, for 'tensorboard --logdir OUT/tensorboard'.

    Returns:
        The folder of the pipeline.
    """
    out = Path(out or Path("runs") / run.name)
    speaks = os.environ.get("RANK", "0") == "0"  # the others are torchrun's too
    if dry_run:
        if speaks:
            print(describe(run))
        return out / "pipeline"
    for reason in run.reasons if speaks else ():
        print(plain(f"chosen: {reason}"))
    train_run(run, out, tensorboard=tensorboard)
    if not speaks:
        return out / "pipeline"
    curves = ", ".join(str(path) for path in sorted(out.glob("curves-*.png")))
    pictures = ", ".join(str(path) for path in sorted(out.glob("*/pictures")))
    sample = shlex.join(["bitmosaic", "sample", str(out / "pipeline")])
    for name, text in (("pipeline:", out / "pipeline"), ("curves:", curves), ("pictures:", pictures), ("sample:", sample)):
        print(plain(f"{name:<9} {text}"))
    return out / "pipeline"


def read_arguments(arguments: Sequence[str]) -> Callable[[], Path]:
    """`train` with the run of a command line: RECIPE, the recipe's own arguments, and fields to override."""
    if not arguments:
        raise ValueError(f"recipe: name one of {', '.join(systems.recipes())}; see 'bitmosaic train --help'")
    name, *rest = arguments
    if name in ("-h", "--help"):
        print(overview())
        raise SystemExit(0)
    if name not in systems.recipes():
        near = get_close_matches(name, systems.recipes(), 1)
        raise ValueError(f"no recipe {name!r}; {f'perhaps {near[0]}; ' if near else ''}give one of {', '.join(systems.recipes())}")
    prog = f"bitmosaic train {name}"
    choose = chooser(name)
    if "-h" in rest or "--help" in rest:
        show_help(choose, [a for a in rest if a not in ("-h", "--help")], prog)
    call, rest = split(choose, rest, prog)
    run, out, dry_run, tensorboard = call()
    return functools.partial(train, with_reasons(run, with_fields(run, rest, prog, flags(choose))), out, dry_run, tensorboard)


def with_reasons(chosen: Run, run: Run) -> Run:
    """`run` with the reasons for the recipe's choices, and the fields that were overridden."""
    changes = differences(flat(chosen.to_json()), flat(run.to_json()), "run")
    asked = [f"as asked for: {name.removeprefix('run.')}" for name in changes]
    asked += [remark for stage in run.stages for remark in stage.remarks()]
    return dataclasses.replace(run, reasons=(*retold(chosen.reasons, run), *asked))


def with_fields(run: Run, arguments: Sequence[str], prog: str, known: Iterable[str] = ()) -> Run:
    """`run` with the fields changed that a command line names, its own or those of its stages. known: further flags to suggest."""
    parts = [part for part in (run, *run.stages)]
    fields = []
    for part in parts:
        hints, said = typing.get_type_hints(type(part)), _comments(type(part))
        for field in dataclasses.fields(part):
            if field.name not in ("stages", "reasons"):
                hint = Annotated[hints[field.name], tyro.conf.arg(help=said.get(field.name, ""))]
                fields.append((field.name, hint, dataclasses.field(default=getattr(part, field.name))))
    kind = dataclasses.make_dataclass("Fields", fields, frozen=True)
    changed = override(kind(), arguments, prog, known)
    return run.changed(**{name: getattr(changed, name) for name, *_ in fields})


def _comments(kind: type) -> dict[str, str]:
    """The comment behind each field of a dataclass."""
    return {name: said for name, said in re.findall(r"^    (\w+): .*?  # (.*)$", inspect.getsource(kind), re.MULTILINE)}


def chooser(name: str) -> Callable[..., tuple[Run, Path, bool, bool]]:
    """A function with the recipe's arguments, `out`, `codes`, `dry_run`, `tensorboard`, for tyro to read.

    Returns the run, `out`, `dry_run` and `tensorboard`.
    """
    recipe = systems.recipes()[name]

    def choose(
        out: Path = Path("runs") / name, codes: str = "", dry_run: Flag = False, tensorboard: Flag = False, **own
    ) -> tuple[Run, Path, bool, bool]:  # fmt: skip
        run = recipe(**own)
        return on_codes(run, codes) if codes else run, out, dry_run, tensorboard

    own = inspect.signature(recipe, eval_str=True).parameters.values()
    ours = inspect.signature(choose, eval_str=True).parameters
    parameters = [p.replace(kind=p.KEYWORD_ONLY) for p in (*own, *(ours[name] for name in ("out", "codes", "dry_run", "tensorboard")))]
    choose.__signature__ = inspect.Signature(parameters)
    choose.__annotations__ = {p.name: p.annotation for p in parameters}
    choose.__doc__ = _google(recipe, [p.name for p in own])
    return choose


def _google(recipe: Callable, names: list[str]) -> str:
    """A recipe's docstring with its 'name: text' parts rewritten as an Args section, which tyro reads."""
    text, *said = (
        re.split(rf"\b({'|'.join(names)}): ", " ".join((inspect.getdoc(recipe) or "").split())) if names else [""]
    )
    lines = [f"    {name}: {what.strip()}" for name, what in zip(said[::2], said[1::2], strict=True)]
    lines += [
        "    out: folder of the run; the same command again resumes.",
        "    codes: folder that 'bitmosaic tokenize' wrote: only the prior is trained, on these codes and for their tokenizer.",
        "    dry_run: print the run, its parameters and an estimate of its memory; write nothing.",
        "    tensorboard: write metrics into OUT/tensorboard as well, for 'tensorboard --logdir OUT/tensorboard'.",
    ]
    return text.strip() + "\n\nArgs:\n" + "\n".join(lines) + "\n"


def overview() -> str:
    """What `bitmosaic train --help` shows."""
    recipes = "\n".join(f"  {name:<12}{first_line(recipe)}" for name, recipe in systems.recipes().items())
    return (
        "usage: bitmosaic train RECIPE [--out DIR] [--codes DIR] [--dry-run] [--tensorboard] [the recipe's arguments] [--FIELD VALUE]\n\n"
        "Trains a tokenizer and a prior and writes a pipeline. The same command again resumes.\n\n"
        f"{recipes}\n\n'bitmosaic train RECIPE --help' lists its arguments and every field of its run.\n\n"
        "  bitmosaic train folder --data photos --out runs/photos\n"
        "  bitmosaic train fashion --dry-run --prior.depth 8 --prior-training.steps 10000"
    )


def show_help(choose: Callable, rest: Sequence[str], prog: str) -> None:
    """Prints both halves of the help, the recipe's arguments and the fields of the run, and raises SystemExit."""
    try:
        split(choose, ["--help"], prog)
    except SystemExit:
        print(FIELDS)
    try:
        call, _ = split(choose, rest, prog)
        run = call()[0]
    except (ValueError, OSError):  # an argument is missing, so there is no run yet: show the fields of another
        run = systems.recipes()["fashion"]()
        print("The defaults below are those of the recipe fashion; this recipe chooses its own from its arguments.\n")
    with_fields(run, ["--help"], prog)
