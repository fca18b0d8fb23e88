"""bitmosaic: images as small grids of discrete codes, to generate, edit, understand, compress and search."""

from bitmosaic.codes import Codes
from bitmosaic.pipeline import Pipeline
from bitmosaic.spec import Spec

__version__ = "0.1.0"
__all__ = ["Codes", "Pipeline", "Spec", "__version__"]
