"""Images <-> Codes; importing the room enters its specs in the table."""

from bitmosaic.tokenizers.base import Tokenizer, TokenizerSpec
from bitmosaic.tokenizers.binary_autoencoder import BinaryAutoencoder, BinaryAutoencoderSpec
from bitmosaic.tokenizers.vqgan import VQGAN, VQGANSpec

__all__ = ["BinaryAutoencoder", "BinaryAutoencoderSpec", "Tokenizer", "TokenizerSpec", "VQGAN", "VQGANSpec"]
