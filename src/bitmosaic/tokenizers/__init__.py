"""Images <-> Codes; importing the room enters its specs in the table."""

from bitmosaic.tokenizers.base import Tokenizer
from bitmosaic.tokenizers.binary_autoencoder import BinaryAutoencoder, BinaryAutoencoderSpec

__all__ = ["BinaryAutoencoder", "BinaryAutoencoderSpec", "Tokenizer"]
