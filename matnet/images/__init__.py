"""What stands between an image file and a network: decoding, resizing, cropping, mean subtraction."""

from __future__ import annotations

from matnet.images.decode import decode, decode_uint8
from matnet.images.prepare import PROTOCOLS, Preprocessing
from matnet.images.resize import imresize

__all__ = ["PROTOCOLS", "Preprocessing", "decode", "decode_uint8", "imresize"]
