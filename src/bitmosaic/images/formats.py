"""File endings of pictures: those that are read, by Pillow and by the plug-ins for it that are installed, and those that are not."""

from __future__ import annotations

import functools
from contextlib import suppress
from importlib import import_module

from PIL import Image

GREY = {"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "F"}  # modes without colour
NO_DECODER = {"BUFR", "GRIB", "HDF5", "MPEG", "PDF", "WMF"}  # formats that Pillow names but cannot decode by itself
PLUG_INS = {  # endings of formats for which there is a plug-in
    "pillow-heif": (".heic", ".heics", ".heif", ".heifs", ".hif"),
    "pillow-jxl-plugin": (".jxl",),
    "Pillow 11.3 or newer": (".avif", ".avifs"),
}
NEVER = (  # pictures of formats that nothing here reads: cameras' raw data, drawings, films of a science, projects of other programs
    ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".iiq", ".k25", ".kdc", ".mef", ".mos", ".mrw", ".nef", ".nrw",
    ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f",
    ".ai", ".cdr", ".cgm", ".emf", ".eps", ".ps", ".svg", ".svgz", ".wmf",
    ".dcm", ".dicom", ".exr", ".hdr", ".hdp", ".jng", ".jls", ".jxr", ".mng", ".nii", ".wdp", ".xcf", ".kra", ".psb", ".bpg", ".flif",
)  # fmt: skip


@functools.cache
def plug_in() -> None:
    """Lets Pillow read HEIC and JPEG XL, where a plug-in for these is installed. An older or broken one is as none."""
    with suppress(Exception):
        import_module("pillow_heif").register_heif_opener()
    with suppress(Exception):
        import_module("pillow_jxl")  # which registers itself


@functools.cache
def endings() -> frozenset[str]:
    """The file endings of the formats that are read (MPO is read as JPEG)."""
    plug_in()
    known = Image.registered_extensions().items()
    readable = {ending for ending, name in known if (name in Image.OPEN or name == "MPO") and name not in NO_DECODER}
    return frozenset(readable - set(NEVER))  # PostScript is a program, which Pillow would have Ghostscript run


def needed(path: str) -> str:
    """The plug-in, not installed, that would read a file by what it begins with, whatever it is called, as phones' HEIC in .jpg; or ""."""
    try:
        with open(path, "rb") as file:
            start = file.read(12)
    except OSError:
        return ""
    if start[4:8] == b"ftyp" and start[8:11] in (b"hei", b"hev", b"mif", b"msf"):
        return "" if ".heic" in endings() else "pillow-heif"
    return "pillow-jxl-plugin" if start.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL ")) and ".jxl" not in endings() else ""


def unread(ending: str) -> str:
    """What to say of a picture's ending that is not read; empty where it is none of a picture."""
    for package, own in PLUG_INS.items():
        if ending in own:
            return f"{ending} pictures ({package} reads them)"
    return f"{ending} pictures (convert them)" if ending in NEVER else ""
