"""Engine, the base class of engines: selection of outputs and validation of inputs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from matnet.engines.options import EngineOptions
from matnet.errors import EngineError, NetworkError, OutOfMemoryError, ShapeError, in_words, nearest
from matnet.inference import AT_INFERENCE, PROBABILITIES
from matnet.mapped import in_memory
from matnet.meta.inputs import InputFacts
from matnet.network import Layer, Network
from matnet.params import owned
from matnet.shapes import Shape, text

DLPACK_CUDA = (2, 13)  # DLPack device types: CUDA memory and CUDA managed memory


class Engine(ABC):
    """A compiled network. Call it with inputs to get {output name: float32 array N x C x H x W}.

    Attributes: `net`; `wanted` (requested name -> variable); `layers` (in execution order); `inputs` (variables);
    `options`; `device` and `precision`, as stated in results; `notes` for the user on the choice of the engine;
    `damaged`, the params with NaN or infinite values (see `weights_not_finite`).
    """

    backend: ClassVar[str] = ""
    takes: ClassVar[frozenset[str]] = frozenset()  # its specific fields of EngineOptions
    device = "cpu"
    precision = "fp32"
    damaged: Sequence[str] = ()

    def __init__(
        self, net: Network, outputs: Sequence[str] | None = None, options: EngineOptions | None = None
    ) -> None:
        self.options = options or EngineOptions()
        release_files(net)
        self.net = net = network_to_run(net, outputs)
        self.wanted = wanted_variables(net, outputs)
        self.layers: list[Layer] = net.upto(self.wanted.values())
        self.notes: list[str] = [note for note in net.source.notes if note.startswith(AT_INFERENCE)]
        self.inputs = _inputs_of(self.layers, self.wanted.values())
        facts = InputFacts(net)
        self._channels = {name: facts.size(name).channels for name in self.inputs}
        net.check(self.wanted.values())

    @abstractmethod
    def __call__(self, x: Any) -> dict[str, np.ndarray]:
        """Compute the wanted variables from one array or a dict of arrays; errors as of `take_inputs` and `prepare`."""

    @classmethod
    def callers_for(cls, threads: int | None) -> int:
        """The number of threads that should call the engine concurrently, each with a batch, given `threads`."""
        return 1

    def prepare(self, inputs: Mapping[str, Shape]) -> None:
        """Compile for inputs of these shapes. Raises ShapeError, naming the layer, if they do not fit the network."""
        self.net.infer_shapes(inputs, self.wanted.values())

    def input_buffer(self, shape: Shape) -> np.ndarray:
        """A float32 array of zeros for inputs, in the memory that is fastest for this engine."""
        return np.zeros(shape, np.float32)

    @property
    def runtimes(self) -> list[str]:
        """The packages used so far, to record their versions: package names or names in RUNTIMES."""
        return []

    @property
    def variants(self) -> list[str]:
        """Descriptions of the ways used so far, for engines with several ways."""
        return []

    def search(self, calls: int | None = None) -> None:  # noqa: B027 - most engines have only one way
        """Search for a faster way to run the network during the next calls.

        calls: expected number of calls; None: many. During the search, results still come from the current way; later
        results come from the way found. No effect for engines with only one way.
        """

    @property
    def searching(self) -> bool:
        """Whether a search is running, so that the way may change."""
        return False

    @property
    def way(self) -> str:
        """The current way to run the network, as a value of option `runtime`; "" for engines with only one way."""
        return ""

    def take_inputs(self, x: Any) -> dict[str, np.ndarray]:
        """The inputs by variable, as float32 N x C x H x W. Raises NetworkError or ShapeError if they do not match."""
        if len(self.inputs) == 1 and _fits(x) and self._channels[self.inputs[0]] in (None, x.shape[1]):
            return {self.inputs[0]: x}
        given = dict(x) if isinstance(x, Mapping) else self._single(x)
        named = {}
        for name, array in given.items():
            if name in self.net.unread_inputs:
                continue
            variable = self._input_called(name)
            what = f"{self.net.source}, input {name!r}"
            named[variable] = self.as_activation(array, what)
            _refuse_channels_last(named[variable], self._channels.get(variable), what)
        missing = [name for name in self.inputs if name not in named]
        if missing:
            raise NetworkError(
                f"{self.net.source}: missing input{'s' if len(missing) > 1 else ''} {', '.join(map(repr, missing))}; "
                f"given: {', '.join(map(repr, given)) or 'none'}"
            )
        return named

    def as_activation(self, array: Any, what: str) -> Any:
        """One input converted for the engine. Raises NetworkError or ShapeError if it does not match."""
        if lies_on_gpu(array):
            raise EngineError(f"{what}: is in GPU memory; backend {self.backend!r} needs host memory, so copy it there")
        return as_activation(array, what)

    def _single(self, x: Any) -> dict[str, Any]:
        if not self.inputs:
            raise NetworkError(f"{self.net.source}: {', '.join(self.wanted)} depends on no input; pass an empty dict")
        if len(self.inputs) != 1:
            raise NetworkError(
                f"{self.net.source}: has {len(self.inputs)} inputs ({', '.join(self.inputs)}); pass a dict by name"
            )
        return {self.inputs[0]: x}

    def _input_called(self, name: Any) -> str:
        if not isinstance(name, str):
            raise NetworkError(f"{self.net.source}: expected names of inputs as keys, found {name!r:.60}")
        if name in self.inputs or name in self.net.inputs:
            return name
        for variable in self.inputs:
            if name in self.net.names_of_input(variable):
                return variable
        hint, inputs = nearest(name, self.inputs), ", ".join(self.inputs)
        raise NetworkError(f"{self.net.source}: has no input {name!r}{hint}; inputs: {inputs}")


def release_files(net: Network) -> None:
    """Copy params of a mapped file into memory, so that later changes to the file have no effect."""
    for param in net.params.values():
        if isinstance(param.value, np.ndarray):
            value = in_memory(param.value)
            if value is not param.value:
                param.value = owned(value)


def does_not_fit(values: Mapping[str, Any], where: str, reason: object) -> OutOfMemoryError:
    """The OutOfMemoryError for these inputs; its batch size is that of the first input."""
    sizes = ", ".join(text(value.shape) for value in values.values())
    batch = len(next(iter(values.values()))) if values else None
    why = str(reason).strip().split("\n")[0].rstrip(".") or "out of memory"
    what = f"inputs of {sizes} do" if sizes else "the network does"
    return OutOfMemoryError(f"{what} not fit in the memory of {where} ({why})", batch)


def wanted_variables(net: Network, outputs: Sequence[str] | None) -> dict[str, str]:
    """Requested name -> variable, for `outputs` or, by default, all outputs of the graph.

    By default, training-only layers are excluded, and their inputs count as outputs instead.
    """
    if outputs is not None:
        names = _names(outputs)
        return dict(zip(names, net.resolved(names), strict=True))
    dropped = {layer.name for layer in net.training_layers()}
    kept = [layer for layer in net.layers.values() if layer.name not in dropped]
    read = {name for layer in kept for name in layer.inputs}
    written = dict.fromkeys(name for layer in kept for name in layer.outputs)
    names = [name for name in written if name not in read] or net.outputs
    return {name: name for name in names}


def network_to_run(net: Network, outputs: str | Sequence[str] | None, given: Collection[str] | None = None) -> Network:
    """The form of `net` that computes `outputs`: the inference form by default, and for names that exist only there.

    A training-only layer requested by name is kept, and needs its labels, unless `given` (the names of the inputs to be
    given) does not include them. Flattened blobs become variables.
    """
    if outputs is not None:
        net = net.with_blobs(_names(outputs))
    training = net.training_layers()
    if not training:
        return net
    if outputs is None:
        return net if len(training) == len(net.layers) else net.for_inference()
    names = _names(outputs)
    try:
        needed = {layer.name for layer in net.upto(net.resolved(names))}
    except NetworkError:
        if PROBABILITIES not in names:
            raise
        return net.for_inference()
    if given is None or not needed.intersection(layer.name for layer in training):
        return net
    labels = [name for name in net.inputs if set(net.names_of_input(name)).intersection(given)]
    form = net.for_inputs({*net.data_inputs(), *labels})
    known = {*form.variables, *form.layers, *form.aliases}
    return form if known.issuperset(names) else net


def _names(outputs: Any) -> list[str]:
    """One or several names as a list. Raises NetworkError for anything else."""
    names = [outputs] if isinstance(outputs, str) else list(outputs) if isinstance(outputs, Iterable) else [outputs]
    if not names:
        raise NetworkError("outputs is empty; give names of variables or layers, or omit it for the network's outputs")
    if not all(isinstance(name, str) for name in names):
        raise NetworkError(f"outputs is {outputs!r:.60}; expected a name or a list of names of variables or layers")
    return names


def as_activation(array: Any, what: str) -> np.ndarray:
    """`array` as C-contiguous float32 N x C x H x W. Raises ShapeError unless it is numeric and 4-D."""
    found = np.asarray(array)
    check_activation(found, what)
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(found, dtype=np.float32)


def lies_on_gpu(array: Any) -> bool:
    """Whether the array is in GPU memory, according to DLPack or CUDA's array interface."""
    where = getattr(array, "__dlpack_device__", None)
    if where is not None:
        return int(where()[0]) in DLPACK_CUDA
    return hasattr(array, "__cuda_array_interface__")


def check_activation(found: Any, what: str) -> None:
    """Raise ShapeError for an array that is not N x C x H x W, is empty, or is not numeric."""
    if found.dtype.kind not in "fiub":
        of_image = found.dtype.kind in "USO"
        advice = in_words("; net.prepare(image) makes them from an image", "") if of_image else ""
        raise ShapeError(f"{what}: has type {found.dtype}; expected real numbers{advice}")
    if found.ndim != 4:
        raise ShapeError(
            f"{what}: has {found.ndim} dimensions ({text(found.shape) or 'a scalar'}); "
            "expected 4 (N x C x H x W); add axes of length 1 for a single image or channel"
        )
    if found.size == 0:
        raise ShapeError(f"{what}: is empty ({text(found.shape)})")


def _refuse_channels_last(array: np.ndarray, channels: int | None, what: str) -> None:
    """Raise ShapeError for an array that seems to be N x H x W x C."""
    if channels is not None and array.shape[1] != channels and array.shape[3] == channels:
        raise ShapeError(
            f"{what}: is {text(array.shape)}, probably N x H x W x C; expected N x C x H x W with {channels} channels: "
            "use transpose(0, 3, 1, 2)"
        )


def _fits(x: Any) -> bool:
    """Fast check whether `as_activation` would return x unchanged."""
    return type(x) is np.ndarray and x.dtype == np.float32 and x.ndim == 4 and x.size > 0 and x.flags.c_contiguous


def _inputs_of(layers: Sequence[Layer], wanted: Any) -> list[str]:
    written = {name for layer in layers for name in layer.outputs}
    read = dict.fromkeys(name for layer in layers for name in layer.inputs if name not in written)
    read.update(dict.fromkeys(name for name in wanted if name not in written))
    return list(read)
