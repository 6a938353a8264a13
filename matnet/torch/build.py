"""A network as a torch.nn.Module: the generated class, made without weights and given those of the network."""

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
    """`net` as a torch.nn.Module in eval mode, of any batch, and of any size that the network itself runs on.

    `outputs` are variable, layer or blob names (default: the network's outputs); one gives a tensor N x C x H x W,
    several a dict. Submodules have the layers' names, made valid identifiers. `size` (height,
    width, or a mapping by input) and `input_shapes` (N x C x H x W by input) say what the file does not; only the
    channels matter. Layers that are
    needed in training alone are left out. Raises UnsupportedLayersError listing all layers that torch cannot express,
    NetworkError where torch is missing or an input's shape is not known.
    """
    require_torch()
    module = generated(net, outputs, size, input_shapes)
    for note in module.notes:
        log.warning("%s: %s", net.source, note)
    return built(module)


def require_torch() -> Any:
    """The torch package; NetworkError with the command that installs it where it is missing."""
    try:
        import torch
    except ImportError:
        raise NetworkError(
            "PyTorch is not installed; install it with `pip install 'matnet[torch]'` (or torch and safetensors)"
        ) from None
    return torch


def require_safetensors() -> None:
    """NetworkError with the command that installs safetensors where it is missing."""
    try:
        import safetensors.torch  # noqa: F401
    except ImportError:
        raise NetworkError(
            "safetensors, which stores the weights, is not installed; install it with `pip install 'matnet[torch]'` "
            "(or safetensors)"
        ) from None


def generated(
    net: Network,
    outputs: Sequence[str] | None = None,
    size: InputSize | None = None,
    input_shapes: Mapping[str, Shape] | None = None,
) -> Module:
    """The module as text and arrays; errors as for `to_torch`."""
    inference = net.for_inference().with_blobs(outputs)
    wanted = list(dict.fromkeys(inference.resolved(outputs or inference.outputs)))
    inference.check(wanted)
    unwritten = sorted(set(inference.inputs).intersection(wanted))
    if unwritten:
        raise NetworkError(f"{net.source}: {unwritten[0]!r} is an input; ask for outputs that a layer computes")
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
    """A tensor of its own, float32 unless it counts something."""
    dtype = np.int64 if array.dtype == np.int64 else np.float32
    return torch.from_numpy(np.array(array, dtype=dtype, order="C"))
