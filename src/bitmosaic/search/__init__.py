"""Search for images by their codes or features: vectors in chunks on disk, a faiss index over them, and duplicates among them."""

from bitmosaic.search.about import locked
from bitmosaic.search.duplicates import Pair, duplicates, groups, within
from bitmosaic.search.files import known, move, note, root_of
from bitmosaic.search.index import Hit, Index
from bitmosaic.search.indexing import index_images, made_by
from bitmosaic.search.medians import medians, write_medians
from bitmosaic.search.vector_store import CHUNK, Damaged
from bitmosaic.search.vectors import BY, VectorSpec, vectors

__all__ = [
    "BY", "CHUNK", "Damaged", "Hit", "Index", "Pair", "VectorSpec", "duplicates", "groups", "index_images", "known", "locked",
    "made_by", "medians", "move", "note", "root_of", "vectors", "within", "write_medians",
]
