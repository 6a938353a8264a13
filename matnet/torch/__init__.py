"""Networks as PyTorch modules: `to_torch` in memory, `save_torch` to a folder, `translation` for custom ops."""

from __future__ import annotations

from matnet.torch import activation, combine, convolution, normalization, pooling, reshape, sampling
from matnet.torch.build import generated, to_torch
from matnet.torch.package import Package, save_torch
from matnet.torch.registry import TRANSLATIONS, translation
from matnet.torch.writer import LayerWriter, NotExpressible

__all__ = [
    "TRANSLATIONS", "LayerWriter", "NotExpressible", "Package", "generated", "save_torch", "to_torch", "translation",
]  # fmt: skip
