"""The base class of runtimes: an ONNX model compiled for the CPU. Every subclass with a name is registered."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module, util
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from matnet.engines.device import processors
from matnet.errors import EngineError

if TYPE_CHECKING:
    from matnet.formats.onnx import OnnxModel

RUNTIMES: dict[str, type[Runtime]] = {}
"""The registered runtimes by name. The first one is the default."""


@dataclass(frozen=True)
class RuntimeSettings:
    """How models are compiled: the number of threads (None: all processors), whether the runtime optimises, and how
    many calls at a time share the threads.
    """

    threads: int | None = None
    optimize: bool = True
    callers: int = 1

    @property
    def all_threads(self) -> int:
        """The number of threads, with None resolved."""
        return self.threads or processors()


class Runtime(ABC):
    """A compiled model. Call it with the inputs by name; it returns the outputs by name.

    A subclass sets `name` and is then registered in RUNTIMES: `--runtime NAME` finds it, and `--runtime auto` times it
    where its package is installed. The package is imported by `load` only, not with the module of the class.
    """

    name: ClassVar[str] = ""  # of the option --runtime
    title: ClassVar[str] = ""  # in reports
    package: ClassVar[str] = ""  # the Python module that it needs
    install: ClassVar[str] = ""  # what to do where the module is missing
    # How layers are written for it.
    native_lrn: ClassVar[bool] = False  # its own LRN operator is faster than the composition of others
    product_as_conv: ClassVar[bool] = False  # products with large matrices are faster as convolutions
    product_by_columns: ClassVar[bool] = False  # matrix products are faster with the matrix transposed
    # Whether it needs all sizes (static), is faster with them (prefer_static), or is as fast without (dynamic).
    shapes: ClassVar[Literal["static", "prefer_static", "dynamic"]] = "dynamic"
    divisions: ClassVar[tuple[str, ...]] = ("threads", "images")  # the ways to divide a batch that may be faster

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        name = cls.__dict__.get("name")
        if name:
            if name in RUNTIMES:
                raise EngineError(f"a runtime with the name {name!r} is registered already")
            RUNTIMES[name] = cls

    @abstractmethod
    def __init__(self, model: OnnxModel, settings: RuntimeSettings, streams: int = 1) -> None:
        """Compile `model`; `streams` threads may call it at the same time and share the threads of `settings`.

        EngineError where the runtime cannot compile it.
        """

    @abstractmethod
    def __call__(self, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs for these inputs; OutOfMemoryError where they do not fit, EngineError for other failures."""

    @classmethod
    def load(cls) -> Any:
        """The imported package; EngineError where it is missing or damaged."""
        try:
            return import_module(cls.package)
        except ImportError as error:
            raise EngineError(f"runtime {cls.name!r} needs {cls.package} ({error}); {cls.install}") from None

    @classmethod
    def available(cls) -> bool:
        """Whether the package is installed; it is not imported."""
        return util.find_spec(cls.package) is not None
