"""Device memory of one network: its maximum, and its growth over a thousand batches."""

from __future__ import annotations

import gc
import sys
from dataclasses import dataclass
from math import prod

import numpy as np

from matnet.benchmarks.models import Model
from matnet.benchmarks.peers.base import imported

BATCH = 16
BATCHES = 1000
MOST = 1.5  # maximum relative to the weights and the two largest activations
FLOAT_BYTES = 4


@dataclass
class DeviceMemory:
    """Bytes on the device after the first and after all batches, and the sizes for the target."""

    model: str
    batch: int
    batches: int
    used: int
    used_at_end: int
    weights: int
    two_largest_activations: int

    @property
    def share(self) -> float:
        """The used memory relative to the weights and the two largest activations."""
        return self.used_at_end / (self.weights + self.two_largest_activations)

    def line(self) -> str:
        grown = self.used_at_end - self.used
        return (
            f"{'PASS' if self.share <= MOST and grown <= 0 else 'miss'}  {self.model}, batch {self.batch}: "
            f"{self.used_at_end / 2**20:.0f} MiB, {self.share:.2f} times weights and two largest activations "
            f"(at most {MOST}); {grown / 2**20:+.1f} MiB over {self.batches} batches"
        )


def floor_bytes(model: Model, batch: int) -> tuple[int, int]:
    """Bytes of the weights, and of the two largest activations, in float32."""
    layers = model.net.upto([model.output])
    params = {name for layer in layers for name in layer.params}
    weights = FLOAT_BYTES * sum(model.net.params[name].value.size for name in params)
    written = [name for layer in layers for name in (*layer.inputs, *layer.outputs)]
    (name,) = [name for name in model.net.default_input_shapes(1) if name in written]
    shapes = model.net.infer_shapes({name: model.input_shape(batch)}, [model.output])
    sizes = sorted((prod(shapes[name]) for name in dict.fromkeys(written)), reverse=True)
    return weights, FLOAT_BYTES * sum(sizes[:2])


def device_memory(model: Model, batch: int = BATCH, batches: int = BATCHES) -> DeviceMemory:
    """Run many batches on the GPU engine; read the used memory before, after the first and after the last batch.

    A first run loads context and libraries, so that these do not count. Other processes on the same GPU would distort
    the figures.
    """
    cupy = imported("cupy", "cupy-cuda13x")
    weights, activations = floor_bytes(model, batch)
    _load_libraries(model)
    before = _used(cupy)
    x = np.random.default_rng(0).standard_normal(model.input_shape(batch)).astype(np.float32)
    engine = model.net.compile([model.output], backend="cupy")
    engine(x)
    first = _used(cupy) - before
    for _ in range(batches - 1):
        engine(x)
    return DeviceMemory(model.name, batch, batches, first, _used(cupy) - before, weights, activations)


def _load_libraries(model: Model) -> None:
    """Run one image, which loads CUDA's libraries and all kernels."""
    cupy = imported("cupy", "cupy-cuda13x")
    model.net.compile([model.output], backend="cupy")(np.zeros(model.input_shape(1), np.float32))
    cupy.get_default_memory_pool().free_all_blocks()
    cupy.get_default_pinned_memory_pool().free_all_blocks()


def _used(cupy: object) -> int:
    free, total = cupy.cuda.runtime.memGetInfo()  # type: ignore[attr-defined]
    return int(total - free)


def free() -> None:
    """Free device memory cached by CuPy and torch, for the next network."""
    gc.collect()
    if "cupy" in sys.modules:
        cupy = sys.modules["cupy"]
        cupy.get_default_memory_pool().free_all_blocks()
        cupy.get_default_pinned_memory_pool().free_all_blocks()
    if "torch" in sys.modules and sys.modules["torch"].cuda.is_available():
        from matnet.benchmarks.peers.torch_gpu import release

        release()
