"""Images found by their codes or features: vectors on a shelf, and an index of faiss over them."""

from bitmosaic.search.index import Hit, Index
from bitmosaic.search.vectors import BY, VectorSpec, vectors

__all__ = ["BY", "Hit", "Index", "VectorSpec", "vectors"]
