"""A network as a torch.nn.Module: an instance of the generated class with the network's weights."""

from __future__ import annotations

import linecache
import logging
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

import numpy as np

from matnet.errors import NetworkError
from matnet.meta.given import InputSize
from matnet.network import Network
from matnet.shapes import Shape
from matnet.torch.code import Module, write_module
from matnet.torch.shapes import known_shapes

log = logging.getLogger(__name__)
_number = count(1)


def to_torch(
    net: Network,
    outputs: Sequence[str] | None = None,
    *,
    size: InputSize | None = None,
    input_shapes: Mapping[str, Shape] | None = None,
) -> Any:
    """`net` as a torch.nn.Module in eval mode, for any batch size and any input size that the network supports.

    `outputs` are names of variables, layers or blobs (default: the network's outputs). The module returns a tensor
    N x C x H x W for one output, a dict for several. Submodules are named after the layers, changed to valid
    identifiers. `size` (height, width, or a mapping by input) and `input_shapes` (N x C x H x W by input) supply shapes
    missing in the file; only the channels matter. Training-only layers are omitted. Raises UnsupportedLayersError with
    all layers that torch cannot express, NetworkError if torch is not installed or an input shape is unknown.
    """
    require_torch()
    module = generated(net, outputs, size, input_shapes)
    for note in module.notes:
        log.warning("%s: %s", net.source, note)
    return built(module)


def require_torch() -> Any:
    """The torch package; NetworkError with the install command if it is missing."""
    try:
        import torch
    except ImportError:
        raise NetworkError(
            "PyTorch is not installed; install it with `pip install 'matnet[torch]'` (or torch and safetensors)"
        ) from None
    return torch


def require_safetensors() -> None:
    """NetworkError with the install command if safetensors is missing."""
    try:
        import safetensors.torch  # noqa: F401
    except ImportError:
        raise NetworkError(
            "safetensors, which saves the weights, is not installed; install it with `pip install 'matnet[torch]'` "
            "(or safetensors)"
        ) from None


def generated(
    net: Network,
    outputs: Sequence[str] | None = None,
    size: InputSize | None = None,
    input_shapes: Mapping[str, Shape] | None = None,
) -> Module:
    """The module as text and arrays; raises the errors of `to_torch`."""
    inference = net.for_inference().with_blobs(outputs)
    wanted = list(dict.fromkeys(inference.resolved(outputs or inference.outputs)))
    inference.check(wanted)
    unwritten = sorted(set(inference.inputs).intersection(wanted))
    if unwritten:
        raise NetworkError(f"{net.source}: {unwritten[0]!r} is an input; expected outputs of layers")
    given = {inference.resolve(name): shape for name, shape in (input_shapes or {}).items()}
    inputs, shapes = known_shapes(inference, wanted, size, given)
    return write_module(inference, wanted, inputs, shapes)


def built(module: Module) -> Any:
    """An instance of the generated class with its weights, each copied once."""
    torch = require_torch()
    file = f"<matnet network {next(_number)}>"
    linecache.cache[file] = (len(module.text), None, module.text.splitlines(keepends=True), file)  # for tracebacks
    names: dict[str, Any] = {"__name__": f"matnet_network_{module.name}"}
    exec(compile(module.text, file, "exec"), names)
    with torch.device("meta"):
        network = names[module.name]()
    network.load_state_dict({name: _tensor(torch, array) for name, array in module.state.items()}, assign=True)
    return network.eval()


def _tensor(torch: Any, array: np.ndarray) -> Any:
    """A new tensor: int64 for int64 counts, else float32."""
    dtype = np.int64 if array.dtype == np.int64 else np.float32
    return torch.from_numpy(np.array(array, dtype=dtype, order="C"))
