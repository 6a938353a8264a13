"""Image preprocessing: decoding, resizing, cropping, mean subtraction."""

from __future__ import annotations

from matnet.images.decode import decode, decode_uint8
from matnet.images.prepare import Preprocessing
from matnet.images.protocols import PROTOCOLS, Measured, card_meta, protocol_for
from matnet.images.resize import imresize

__all__ = ["PROTOCOLS", "Measured", "Preprocessing", "card_meta", "decode", "decode_uint8", "imresize", "protocol_for"]
