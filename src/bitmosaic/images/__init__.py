"""Images: folders, arrays and named data sets, crops, batches, masks, sheets, and files."""

from .background import background_of
from .base import ArrayImages, ImageSet, ImagesGone
from .batches import Batch, Batches, blank_images, epoch_order, in_order, some_images
from .fashion import FASHION_CLASSES, fashion_mnist, fashion_sample
from .fit import Fit, check_exact, check_sizes, fitted
from .folder import Folder
from .heat import heat
from .idx import read_idx
from .landscapes import LANDSCAPE_KINDS, Landscapes, landscapes_sample
from .masks import crop_mask, crop_with_mask, places_of, read_mask, spread
from .named import NAMED_SETS, SET_OF, SHIPPED_SETS, shipped_image, shipped_name
from .read import UnreadableImage, centre_crop, flatten, read_image
from .scan import Scan, scan
from .write import SOFTWARE, Output, animation, captioned, check_output, grid, save, sheet, sheet_fits, to_output, to_pil, to_uint8

__all__ = [
    "ArrayImages", "Batch", "Batches", "FASHION_CLASSES", "Fit", "Folder", "ImageSet", "ImagesGone", "LANDSCAPE_KINDS", "Landscapes",
    "NAMED_SETS", "Output", "SET_OF", "SHIPPED_SETS", "SOFTWARE", "Scan", "UnreadableImage", "animation", "background_of",
    "blank_images", "captioned", "centre_crop", "check_exact", "check_output", "check_sizes", "crop_mask", "crop_with_mask",
    "epoch_order", "fashion_mnist", "fashion_sample", "fitted", "flatten", "grid", "heat", "in_order", "landscapes_sample", "places_of",
    "read_idx", "read_image", "read_mask", "save", "scan", "sheet", "sheet_fits", "shipped_image", "shipped_name", "some_images",
    "spread", "to_output", "to_pil", "to_uint8",
]
