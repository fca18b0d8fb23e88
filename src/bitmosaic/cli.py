"""The command line: the first word names a command; tyro parses the rest by the signature of the command's function.

ValueError and OSError are caused by input: one line on stderr and exit status 2. Any other exception is a bug and shows
its traceback; with BITMOSAIC_TRACEBACK set, so do all.
"""

from __future__ import annotations

import errno
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from importlib import import_module
from types import ModuleType
from typing import Any

from bitmosaic import __version__
from bitmosaic.commands.arguments import read
from bitmosaic.disk import FULL
from bitmosaic.memory import keep
from bitmosaic.names import plain
from bitmosaic.threads import share_processors

COMMANDS = {  # name -> what it does; each is the function of that name in bitmosaic.commands.NAME
    "demo": "Shows what a pipeline does, as a page: a class sheet, reconstructions, an image as it is revealed.",
    "sample": "New images of some classes, as PNG files and one sheet.",
    "inpaint": "Repaints what a mask covers; all other pixels stay as they are.",
    "outpaint": "Extends a picture beyond its edges.",
    "panorama": "Draws a picture several times as large as the pipeline's own, from nothing or around a picture, without seams.",
    "edit": "Changes the class of what a mask covers.",
    "interpolate": "Morphs from class to class: a strip and an animation.",
    "enrich": "Draws the fine detail of a coarse picture anew.",
    "reveal": "How an image is revealed: entropy maps, the order of the places, an animation.",
    "bits": "What each bit of a code means, as pictures.",
    "studio": "A page to generate, paint, blend and look inside, and an HTTP service for applications.",
    "encode": "Images to codes: one small file for any number of images.",
    "tokenize": "Any number of images to codes in shards, to train priors on; the same command again resumes.",
    "decode": "Codes back to images, as PNG files under their old names.",
    "compress": "Images to bytes: one small file each, by the model's own probabilities.",
    "decompress": "Compressed files back to images, also when part of a file is lost.",
    "index": "Images by their codes or features, as an index to search in; the same command again adds what is new.",
    "search": "The nearest images of an index, as a table, a sheet and a page.",
    "duplicates": "Groups of images of an index that are nearly the same.",
    "reconstruct": "Images beside what their codes give back, and how well they are kept.",
    "probe": "Linear probes: how well the features of every layer predict the classes.",
    "evaluate": "How far a pipeline's images are from real ones, in numbers with their floors.",
    "reproduce": "Repeats a paper's comparison at a small scale: trains, measures, writes a page.",
    "info": "Describes a pipeline, or the progress of a training run.",
    "plan": "What a training run will cost on some GPUs: memory, operations, hours, dollars.",
    "report": "Training runs on one page: curves, pictures over time, use of the codes, events.",
    "list": "Lists pipelines that ship, recipes, data sets and published systems.",
    "convert": "The authors' published checkpoints as a pipeline.",
    "train": "Trains a recipe, such as a tokenizer and a prior; the same command again resumes.",
}

BESIDE = {"edit": "inpaint"}  # commands defined in the module of another

EXAMPLES = (
    "bitmosaic demo",
    "bitmosaic sample fashion --classes bag 'ankle boot' --count 4",
    "bitmosaic inpaint fashion:1 --box 0 14 28 28 --class pullover",
    "bitmosaic studio",
    "bitmosaic compress photos -o small --packets 8",
    "bitmosaic train folder --data photos --out runs/photos",
)

HINTS = {
    errno.EACCES: "give a place that you may use",
    errno.EPERM: "give a place that you may use",
    errno.EROFS: "give a place that can be written",
    errno.ENOSPC: "make room, or give another place",
    errno.EDQUOT: "make room, or give another place",
    errno.EFBIG: "give a place where files may be larger",
    errno.ENOENT: "give another path",
    errno.ENOTDIR: "something in this path is a file and should be a folder; give another path",
    errno.EEXIST: "give another path",
    errno.EISDIR: "give a file",
    errno.ENAMETOOLONG: "give a shorter name",
}


PATHS = ("Symlink loop", "Could not determine home")  # RuntimeErrors of pathlib that are caused by input begin so


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit status: 0, 2 for bad input, 130 after Ctrl-C."""
    name, *arguments = [*(sys.argv[1:] if argv is None else argv)] or ["--help"]
    try:
        if name in ("-h", "--help"):
            print(overview())
        elif name == "--version":
            print(f"bitmosaic {__version__}")
        else:
            command = find(name)(arguments)
            keep()
            share_processors()
            command()
            tell_unknown()
        sys.stdout.flush()
        return 0
    except SystemExit as end:  # tyro has shown a command's help
        return end.code or 0
    except KeyboardInterrupt:
        if argv is None:  # run as a program: a second Ctrl-C, while Python shuts down, ends it without a traceback
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        print(f"\nbitmosaic: interrupted; {resume(name)}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output, such as `head`, has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not str(error).startswith(PATHS):
            raise
        if os.environ.get("BITMOSAIC_TRACEBACK"):
            raise
        print(f"bitmosaic: error: {one_line(error)}", file=sys.stderr)
        return 2


def find(name: str) -> Callable[[Sequence[str]], Callable[[], Any]]:
    """A function of a command's arguments that returns the call to be made. ValueError where there is no such command."""
    if name not in COMMANDS:
        near = get_close_matches(name, COMMANDS, 1)
        perhaps = f"perhaps {near[0]}; " if near else ""
        raise ValueError(f"no command {name!r}; {perhaps}there are {', '.join(COMMANDS)}")
    module = module_of(name)
    if name in ("train", "plan"):  # their arguments depend on the recipe
        return module.read_arguments
    return lambda arguments: read(getattr(module, name), arguments, f"bitmosaic {name}")


def module_of(name: str) -> ModuleType:
    """The module in which a command's function stands."""
    return import_module(f"bitmosaic.commands.{BESIDE.get(name, name)}")


def overview() -> str:
    """What `bitmosaic --help` shows."""
    commands = "\n".join(f"  {name:<13}{text}" for name, text in COMMANDS.items())
    examples = "\n".join(f"  {line}" for line in EXAMPLES)
    return (
        "usage: bitmosaic COMMAND [arguments]\n\nImages as small grids of discrete codes.\n\n"
        f"{commands}\n\n'bitmosaic COMMAND --help' explains one of them; 'bitmosaic --version' tells the version.\n"
        f"\n{examples}"
    )


def tell_unknown() -> None:
    """One line on stderr that names the letters drawn into pictures which no font here has, if there were any."""
    text = sys.modules.get("bitmosaic.images.text")
    note = text.unknown_note(text.UNKNOWN) if text else ""
    if note:
        print(f"bitmosaic: {note}", file=sys.stderr)
        text.UNKNOWN.clear()


def resume(name: str) -> str:
    """What an interrupted command has kept, for the message after Ctrl-C."""
    again = {
        "train": "the same command again goes on from the last checkpoint", "tokenize": "the same command again goes on",
        "reproduce": "the same command again goes on",
        "sample": "what is drawn stays, and the same command again goes on",
    }  # fmt: skip
    return again.get(name, "nothing was written")


def one_line(error: Exception) -> str:
    """An error's text on one line; to an error of the operating system the path and a hint are added."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        stream = "standard output: " if error.errno in FULL else ""  # the one file whose failed writes carry no name
        where = f"{error.filename}: " if error.filename is not None else stream
        hint = f"; {HINTS[error.errno]}" if error.errno in HINTS else ""
        text = f"{where}{error.strerror[:1].lower()}{error.strerror[1:]}{hint}"
    if isinstance(error, RuntimeError):  # one of PATHS
        text = f"{text[:1].lower()}{text[1:].rstrip('.')}; give another path"
    return plain(re.sub(r"\s*\n\s+", " ", text).strip()) or type(error).__name__  # indented lines are a library's message
