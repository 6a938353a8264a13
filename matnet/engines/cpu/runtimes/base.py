"""Runtime, the base class of runtimes, which execute ONNX models on the CPU."""

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
"""The registered runtimes by name; the first is the default."""


@dataclass(frozen=True)
class RuntimeSettings:
    """Number of threads (None: all processors), graph optimization of the runtime, and number of concurrent calls that
    share the threads.
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

    A subclass with a `name` is registered in RUNTIMES for `--runtime NAME`. `--runtime auto` times it if its package is
    installed. Only `load` imports the package.
    """

    name: ClassVar[str] = ""  # in option --runtime
    title: ClassVar[str] = ""  # in reports
    package: ClassVar[str] = ""  # required Python module
    install: ClassVar[str] = ""  # advice if the module is missing
    # Preferred ONNX forms of layers.
    native_lrn: ClassVar[bool] = False  # the LRN operator is faster than a composition
    product_as_conv: ClassVar[bool] = False  # large matrix products are faster as convolutions
    product_by_columns: ClassVar[bool] = False  # matrix products are faster with the matrix transposed
    # Whether fixed sizes are required (static), faster (prefer_static), or irrelevant (dynamic).
    shapes: ClassVar[Literal["static", "prefer_static", "dynamic"]] = "dynamic"
    divisions: ClassVar[tuple[str, ...]] = ("threads", "images")  # divisions of a batch that may be faster

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        name = cls.__dict__.get("name")
        if name:
            if name in RUNTIMES:
                raise EngineError(f"runtime {name!r} is already registered")
            RUNTIMES[name] = cls

    @abstractmethod
    def __init__(self, model: OnnxModel, settings: RuntimeSettings, streams: int = 1) -> None:
        """Compile `model`. Up to `streams` threads may call it concurrently; they share the threads of `settings`.

        Raises EngineError if the runtime cannot compile it.
        """

    @abstractmethod
    def __call__(self, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs for these inputs. Raises OutOfMemoryError, or EngineError for other failures."""

    @classmethod
    def load(cls) -> Any:
        """The imported package. Raises EngineError if it is missing or damaged."""
        try:
            return import_module(cls.package)
        except ImportError as error:
            raise EngineError(f"runtime {cls.name!r} needs {cls.package} ({error}); {cls.install}") from None

    @classmethod
    def available(cls) -> bool:
        """Whether the package is installed, without importing it."""
        return util.find_spec(cls.package) is not None
