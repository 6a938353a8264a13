"""Input arrays in GPU memory: from CuPy, torch, JAX or anything with DLPack or CUDA's array interface."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from matnet.engines.base import check_activation
from matnet.errors import EngineError

if TYPE_CHECKING:
    from matnet.engines.cupy.device import GpuDevice


def on_gpu(array: Any, device: GpuDevice, what: str) -> Any:
    """The array as C-contiguous float32 N x C x H x W of CuPy, copied only if necessary.

    With DLPack, CuPy's current stream waits for the producer of the array. Raises EngineError if the array cannot be
    read or is on another GPU, ShapeError as for arrays on the host.
    """
    cupy = device.cupy
    with device.translated({}), cupy.cuda.Device(device.gpu.index):
        try:
            if isinstance(array, cupy.ndarray):
                found = array
            else:
                found = cupy.from_dlpack(array) if hasattr(array, "__dlpack__") else cupy.asarray(array)
        except (BufferError, TypeError, ValueError, RuntimeError) as error:
            raise EngineError(f"{what}: cannot be read from the GPU ({error}); detach it, or pass a copy") from None
        if found.device.id != device.gpu.index:
            raise EngineError(
                f"{what}: is on gpu:{found.device.id}, but the engine runs on gpu:{device.gpu.index}; copy it "
                f"there, or compile with device 'gpu:{found.device.id}'"
            )
        check_activation(found, what)
        return cupy.ascontiguousarray(found, dtype=cupy.float32)
