"""bitmosaic: images as small grids of discrete codes, to generate, edit, understand, compress and search."""

from importlib import import_module

from .threads import limit

limit()  # torch reads how many threads it may have when it is loaded, and no later

__version__ = "0.1.0"
__all__ = ["Codes", "Pipeline", "Spec", "__version__", "hub"]

_HOMES = {"Codes": "bitmosaic.codes", "Pipeline": "bitmosaic.pipelines", "Spec": "bitmosaic.spec", "hub": "bitmosaic.pipelines"}


def __getattr__(name: str):
    """The public names, each imported when first asked for, so that `bitmosaic --help` does not wait for torch."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'bitmosaic' has no attribute {name!r}")
