"""The interface of peers: a subject to prepare, and the runner they return."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from matnet.errors import EngineError
from matnet.network import Network
from matnet.shapes import Shape

Runner = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Subject:
    """The task of an engine: variable `output` of `net` for one input `name` of N x C x H x W.

    folder: a folder for temporary files, kept while the engines run.
    """

    net: Network
    output: str
    shape: Shape
    threads: int
    folder: Path
    precision: str = "fp32"

    @cached_property
    def name(self) -> str:
        """The only input that the output needs."""
        written = {name for layer in self.net.layers.values() for name in layer.outputs}
        return next(name for layer in self.net.upto([self.output]) for name in layer.inputs if name not in written)

    @cached_property
    def onnx_file(self) -> Path:
        """A plain export with native ONNX operators, including LRN, and fixed sizes."""
        from matnet.formats.onnx import to_onnx_model

        model = to_onnx_model(
            self.net,
            [self.output],
            self.shape[0],
            (self.shape[2], self.shape[3]),
            input_shapes={self.name: self.shape},
            native_lrn=True,
        )
        target = self.folder / "plain.onnx"
        target.write_bytes(b"".join(model.message().chunks()))
        return target


Factory = Callable[[Subject], Runner]


def imported(module: str, package: str) -> Any:
    """A peer's module; EngineError with the install command if it is missing."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise EngineError(f"not installed ({error}); python -m pip install {package}") from None
